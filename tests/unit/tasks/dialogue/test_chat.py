"""A conversation reads every token once, goes on from any history, and survives whatever goes wrong in a turn."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LogitsProcessor, LogitsProcessorList
from transformers.generation import BaseStreamer

from simmim.errors import CheckpointError, ConfigError, DataError
from simmim.tasks.checkpoints import load_model
from simmim.tasks.dialogue.chat import Chat, cache_bytes

TURNS = 20
GREEDY = {"do_sample": False, "max_new_tokens": 6}
CHATML = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nDefault.<|im_end|>\n{% endif %}{% for m in messages %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NAMES, NO_NAMES, STEER = (
    ("user_name", "assistant_name"),
    ("", " ", "A\nB", "A\n", "A\u2028B"),
    ("</s>", "<|end|>", "<pad>"),
)
FORGETFUL = "{{ messages | length }}{% for m in messages %}[{{ m.content }}]{% endfor %}"


@pytest.fixture(scope="module")
def loaded(tiny_chat_model: Path) -> tuple[Any, Any]:
    return load_model(tiny_chat_model, "cpu", auto_class=AutoModelForCausalLM)


@pytest.fixture
def model(loaded: tuple[Any, Any]) -> Any:
    return loaded[0]


@pytest.fixture
def tokenizer(loaded: tuple[Any, Any]) -> Any:
    return copy.deepcopy(loaded[1])


@pytest.fixture
def read(model: Any) -> Iterator[list[list[int]]]:
    """Keep the tokens of every forward pass."""
    passes: list[list[int]] = []
    hook = model.decoder.register_forward_pre_hook(lambda _, inputs: passes.append(inputs[0][0].tolist()))
    yield passes
    hook.remove()


class EndsAfter(LogitsProcessor):
    """Have the model end its turn after so many tokens, with this one."""

    def __init__(self, tokens: int, end: int) -> None:
        self.tokens, self.end = tokens, end

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.tokens -= 1
        wanted = torch.full_like(scores, -torch.inf)
        wanted[:, self.end] = 0
        return wanted if self.tokens < 0 else scores


def ending(tokens: int, end: int) -> dict[str, Any]:
    return {"logits_processor": LogitsProcessorList([EndsAfter(tokens, end)])}


def test_twenty_turns_read_every_token_once(model: Any, tokenizer: Any, read: list[list[int]]) -> None:
    """So the time of a token depends on the turn only through the cache."""
    chat = Chat(model, tokenizer, system="a system")
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    sizes, pending = [], 0
    for turn in range(TURNS):
        read.clear()
        never = {"suppress_tokens": [end, tokenizer.eos_token_id]}
        reply = chat.reply("a user asks", **GREEDY, **(ending(turn % 6, end) if turn % 3 else never))
        assert reply.complete == bool(turn % 3)
        assert sum(map(len, read)) == pending + reply.read_tokens + max(0, reply.new_tokens - 1 + reply.complete)
        assert len(read[0]) == pending + reply.read_tokens
        pending = 1 - reply.complete
        sizes.append(reply.read_tokens)
    assert len(chat.messages) == 1 + 2 * TURNS
    assert len(set(sizes[1:])) == 1, "a turn of the same words is of the same tokens, however long the conversation"
    assert sizes[0] > sizes[1]
    # What was read, in one piece, gets the same reply from a model without a past.
    read.clear()
    chat.reset()
    for _ in range(4):
        last = chat.reply("who is it", **GREEDY)
    fed = [token for one in read for token in one]
    prompt = torch.tensor([fed[: last.context_tokens - last.new_tokens]])
    whole = model.generate(prompt, attention_mask=torch.ones_like(prompt), **GREEDY)
    assert tokenizer.decode(whole[0, prompt.shape[1] :], skip_special_tokens=True) == last.text
    assert last.context_tokens == len(fed) + 1


def test_what_is_read_is_what_the_template_writes(model: Any, tokenizer: Any, read: list[list[int]]) -> None:
    end, eos = tokenizer.convert_tokens_to_ids("<|end|>"), tokenizer.eos_token_id
    chat = Chat(model, tokenizer, system="s", user_name="A", assistant_name="B")
    for stop in (end, eos, end):  # the end of a text ends a turn as well, and is not read
        said = chat.reply("a user", **GREEDY, **ending(3, stop))
        assert said.complete
    chat.reply("樹", **GREEDY)
    fed = [token for one in read for token in one]
    written = tokenizer.apply_chat_template(chat.messages[:-1], tokenize=False) + "<|turn|>assistant B<|says|>"
    assert tokenizer.decode(fed).startswith(written)
    assert [message.get("name") for message in chat.messages] == [None, *("A", "B") * 4]


def test_a_conversation_is_gone_on_with_and_begun_anew(model: Any, tokenizer: Any) -> None:
    chat = Chat(model, tokenizer, system="s")
    first = chat.reply("a user", **GREEDY)
    kept = copy.deepcopy(chat.messages)
    second = chat.reply("asks", **GREEDY)
    assert cache_bytes(None) == 0 < first.cache_bytes <= second.cache_bytes

    other = Chat(model, tokenizer)
    other.resume(kept)
    assert other.messages == kept
    again = other.reply("asks", **GREEDY)
    assert again.read_tokens > second.read_tokens
    assert other.messages[:-1] == chat.messages[:-1]

    chat.reset()
    assert chat.messages == [{"role": "system", "content": "s"}]
    assert chat.reply("a user", **GREEDY).text == first.text
    assert kept[-1]["content"] == first.text, "what was taken out of a chat is not changed by it"


def test_a_cache_in_a_file_stands_for_the_conversation(
    model: Any, tokenizer: Any, read: list[list[int]], tmp_path: Path
) -> None:
    chat = Chat(model, tokenizer)
    assert chat.keep(tmp_path / "nothing") == []
    assert not chat.reply("the assistant", **GREEDY).complete, "its last token waits to be read"
    ids, messages = chat.keep(tmp_path / "kept"), copy.deepcopy(chat.messages)
    said = chat.reply("asks", **GREEDY)

    other = Chat(model, tokenizer)
    other.resume(messages, ids, tmp_path / "kept")
    read.clear()
    again = other.reply("asks", **GREEDY)
    assert again.text == said.text
    assert len(read[0]) == again.read_tokens + 1 == said.read_tokens + 1
    with pytest.raises(CheckpointError, match="kept was made from, got another text"):
        other.resume(messages, [1, 2, 3], tmp_path / "kept")
    assert len(other.messages) == 4


@pytest.mark.parametrize("template", [CHATML, FORGETFUL])
def test_other_templates_work(template: str, model: Any, tokenizer: Any, read: list[list[int]]) -> None:
    tokenizer.chat_template = template
    chat = Chat(model, tokenizer)
    for _ in range(3):
        read.clear()
        reply = chat.reply("a user", **GREEDY)
    written = tokenizer.apply_chat_template(chat.messages[:-1], tokenize=False, add_generation_prompt=True)
    first = tokenizer.decode(read[0])
    if template == CHATML:
        assert not reply.complete
        assert first.endswith("<|im_end|>\n<|im_start|>user\na user<|im_end|>\n<|im_start|>assistant\n")
        assert reply.read_tokens < len(tokenizer(written)["input_ids"]) / 2
    else:  # writes what was said before in another way at every turn: read anew, not wrongly
        assert first == written


class Breaks(BaseStreamer):
    def put(self, value: torch.Tensor) -> None:
        if value.dim() == 1:
            raise KeyboardInterrupt

    def end(self) -> None: ...


def test_a_turn_that_fails_leaves_the_conversation_as_it_was(model: Any, tokenizer: Any, read: list[list[int]]) -> None:
    chat = Chat(model, tokenizer)
    chat.reply("a user", **GREEDY)
    before = copy.deepcopy(chat.messages)
    for text, settings, error in (
        ("asks", {"streamer": Breaks()}, KeyboardInterrupt),
        ("asks", {"max_new_tokens": -1}, ValueError),
        (" \n", {}, DataError),
        ("</s>", {}, DataError),
    ):
        with pytest.raises(error):
            chat.reply(text, **GREEDY | settings)
        assert chat.messages == before
    read.clear()
    reply = chat.reply("asks", **GREEDY)
    whole = tokenizer.apply_chat_template(chat.messages[:-1], add_generation_prompt=True)["input_ids"]
    assert read[0] == whole, "the half-filled cache is not gone on with"
    assert reply.read_tokens == len(whole)


def test_a_conversation_beyond_the_window_is_refused(model: Any, tokenizer: Any) -> None:
    chat = Chat(model, tokenizer)
    reply = chat.reply("a user", **GREEDY)
    before = copy.deepcopy(chat.messages)
    tokenizer.model_max_length = reply.context_tokens + 40
    with pytest.raises(DataError, match=r"at most \d+ tokens with the reply.*got \d+; begin a new conversation"):
        chat.reply("asks " * 40, **GREEDY)
    assert chat.messages == before
    chat.reply("asks", **GREEDY)


def test_what_cannot_be_said_is_refused(model: Any, tokenizer: Any) -> None:
    chat = Chat(model, tokenizer)
    with pytest.raises(DataError, match="prompt: expected a text, got an empty one; say something"):
        chat.reply("\t ")
    with pytest.raises(DataError, match=r"message 1: expected no control token of the tokenizer .*, got '<\|end\|>'"):
        chat.reply("<|end|>")
    with pytest.raises(DataError, match="message 1: expected the role system, user or assistant, got 'narrator'"):
        chat.resume([{"role": "narrator", "content": "x"}])
    assert chat.messages == []
    tokenizer.chat_template = None
    with pytest.raises(ConfigError, match="tokenizer: expected one with a chat template, this one has none; take"):
        Chat(model, tokenizer)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        *[({name: text}, f"{name}: expected a name in one line") for name in NAMES for text in NO_NAMES],
        *[
            ({name: f"a{token}"}, f"{name}: expected no control token")
            for name in (*NAMES, "system")
            for token in STEER
        ],
    ],
)
def test_kind_6_names_are_lines_without_control_tokens(
    model: Any, tokenizer: Any, settings: dict[str, str], complaint: str
) -> None:
    with pytest.raises(DataError, match=f"^{complaint}"):
        Chat(model, tokenizer, **settings)


@pytest.mark.parametrize("said", ["</s>", "<|im_end|>", "<|im_start|>system"])
def test_kind_6_no_template_lets_a_message_steer_the_model(model: Any, tokenizer: Any, said: str) -> None:
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHATML  # which refuses nothing itself
    chat = Chat(model, tokenizer)
    with pytest.raises(DataError, match="message 1: expected no control token of the tokenizer"):
        chat.reply(f"a{said}b")
    with pytest.raises(DataError, match="message 1: expected no control token of the tokenizer"):
        chat.resume([{"role": "user", "content": said}])


def test_kind_5_a_cache_is_of_a_template_and_a_vocabulary(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    chat = Chat(model, tokenizer)
    chat.reply("a user", **GREEDY)
    ids = chat.keep(tmp_path / "cache")
    Chat(model, tokenizer).resume(chat.messages, ids, tmp_path / "cache")
    other, more = copy.deepcopy(tokenizer), copy.deepcopy(tokenizer)
    other.chat_template += "\n"
    more.add_tokens(["<ORG>"])
    for changed in (other, more):
        with pytest.raises(CheckpointError, match="made_from: expected what .* was made from"):
            Chat(model, changed).resume(chat.messages, ids, tmp_path / "cache")
    with pytest.raises(CheckpointError, match="expected the cache of tokens from 0"):
        Chat(model, tokenizer).resume(chat.messages, [10**30], tmp_path / "cache")
