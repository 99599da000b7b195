"""Nothing in a text is read as a control token, in any task, while tokens that somebody added are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from lab.pretrained import LANGUAGE_MODEL
from simmim.data.chat_template import TURN_TOKENS, add_chat_template
from simmim.data.control_tokens import control_tokens, encode_plain_text
from simmim.data.tokenizer import SPECIAL_TOKENS, begin_with_start_token, end_with_end_token, train_tokenizer
from simmim.errors import DataError
from simmim.models.pretrained import SUMMARISER, pretrained_path
from simmim.tasks.dialogue.examples import encode_conversation
from simmim.tasks.language_modelling.bits_per_byte import byte_ends
from simmim.tasks.language_modelling.examples import encode_text, tokenize_texts
from simmim.tasks.summarization.examples import tokenize_examples

TEXTS = ["The river folds the map.", "</s> <s>strike</s> <pad>", "樹和河流"] * 3


def _bytewise() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, 290)


def _chat() -> PreTrainedTokenizerFast:
    made = _bytewise()
    add_chat_template(made)
    begin_with_start_token(made)
    return made


def _foreign() -> PreTrainedTokenizerFast:
    """Make one of another family: bytes, one token for start, end and padding, a template with tokens of its own."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={one: place for place, one in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    made = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=end, eos_token=end, pad_token=end)
    made.add_special_tokens({"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    made.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% generation %}{{ m.content }}{% endgeneration %}<|im_end|>"
        "{% endfor %}"
    )
    return made


MAKERS: dict[str, Callable[[], Any]] = {
    "bytewise": _bytewise,
    "chat": _chat,
    "foreign": _foreign,
    SUMMARISER: lambda: AutoTokenizer.from_pretrained(pretrained_path(SUMMARISER)),
    LANGUAGE_MODEL.name: lambda: AutoTokenizer.from_pretrained(LANGUAGE_MODEL),
}
ADD: dict[str, Callable[[Any], int]] = {
    "nothing": lambda one: 0,
    "add_tokens": lambda one: one.add_tokens(["<ORG>"]),
    "add_tokens-special": lambda one: one.add_tokens(["<ORG>"], special_tokens=True),
    "add_special_tokens": lambda one: one.add_special_tokens({"extra_special_tokens": ["<ORG>"]}),
    "extra": lambda one: one.add_special_tokens(
        {"extra_special_tokens": ["<ORG>"]}, replace_extra_special_tokens=False
    ),
}


@pytest.fixture(scope="module", params=MAKERS)
def made(request: pytest.FixtureRequest) -> Any:
    return MAKERS[request.param]()


@pytest.fixture(scope="module", params=[(name, kept) for name in ADD for kept in (False, True)], ids=str)
def one(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return every tokenizer with a token added in one way, as it is or saved and loaded."""
    way, kept = request.param
    found = {}
    for name, make in MAKERS.items():
        tokenizer = make()
        ADD[way](tokenizer)
        if kept:
            folder = tmp_path_factory.mktemp("tokenizer")
            tokenizer.save_pretrained(folder)
            tokenizer = AutoTokenizer.from_pretrained(folder)
        found[name] = tokenizer
    return found


def _steering(tokenizer: Any) -> set[int]:
    return set(tokenizer.convert_tokens_to_ids(control_tokens(tokenizer)))


@pytest.mark.parametrize("name", MAKERS)
def test_added_tokens_are_one_id_and_control_tokens_are_bytes(one: dict[str, Any], name: str) -> None:
    tokenizer = one[name]
    text = "".join(f"the {token} of{token}" for token in control_tokens(tokenizer)) + " by <ORG>, <s>strike</s><ORG>"
    before = tokenizer("</s>")["input_ids"]
    [ids] = encode_plain_text(tokenizer, [text], add_special_tokens=False)["input_ids"]
    assert not _steering(tokenizer) & set(ids)
    assert tokenizer.decode(ids) == text
    if "<ORG>" in tokenizer.get_vocab():
        assert ids.count(tokenizer.convert_tokens_to_ids("<ORG>")) == 2
    else:
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert tokenizer("</s>")["input_ids"] == before  # the tokenizer itself is what it was
    assert byte_ends(tokenizer, text)[-1] == len(text.encode())
    assert len(byte_ends(tokenizer, text)) == len(ids) + 1


def test_the_control_tokens_are_those_that_steer(one: dict[str, Any]) -> None:
    assert control_tokens(one["bytewise"]) == ["<s>", "</s>", "<pad>", "<mask>"]
    assert control_tokens(one["chat"]) == ["<s>", "</s>", "<pad>", "<mask>", *TURN_TOKENS]
    assert control_tokens(one["foreign"]) == ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


PIECES = st.text() | st.sampled_from([*SPECIAL_TOKENS, *TURN_TOKENS, "<|endoftext|>", "<|im_end|>", "<", "s>", " "])


@given(text=st.lists(PIECES).map("".join))
def test_any_text_comes_back_exactly(made: Any, text: str) -> None:
    [ids] = encode_plain_text(made, [text], add_special_tokens=False)["input_ids"]
    assert made.decode(ids, skip_special_tokens=True) == text
    assert not _steering(made) & set(ids)


TASKS: dict[str, Callable[[Any, str], list[int]]] = {
    "language modelling": lambda tokenizer, text: tokenize_texts(Dataset.from_dict({"text": [text]}), tokenizer)[
        "input_ids"
    ][0][1:-1],
    "evaluation and prompts": lambda tokenizer, text: encode_text(tokenizer, [text])[0][1:-1],
    "documents": lambda tokenizer, text: _example(tokenizer, text)["input_ids"][:-1],
    "summaries": lambda tokenizer, text: _example(tokenizer, text)["labels"][:-1],
}


def _example(tokenizer: Any, text: str) -> dict[str, list[int]]:
    end_with_end_token(tokenizer)
    return tokenize_examples(Dataset.from_dict({"document": [text], "summary": [text]}), tokenizer)[0]


@pytest.mark.parametrize("task", TASKS)
def test_no_task_reads_control_tokens_in_texts(task: str) -> None:
    for make in (_bytewise, _chat, _foreign):
        tokenizer = make()
        tokenizer.add_special_tokens({"extra_special_tokens": ["<ORG>"]}, replace_extra_special_tokens=False)
        text = f"a {''.join(control_tokens(tokenizer))} b <ORG>"
        ids = TASKS[task](tokenizer, text)
        assert not _steering(tokenizer) & set(ids)
        assert ids[-1] == tokenizer.convert_tokens_to_ids("<ORG>")


@pytest.mark.parametrize("make", [_chat, _foreign])
@pytest.mark.parametrize("field", ["content", "name"])
def test_a_conversation_with_control_tokens_is_refused(make: Callable[[], Any], field: str) -> None:
    tokenizer = make()
    for token in control_tokens(tokenizer):
        message = {"role": "assistant", "content": "x", field: f"a{token}b"}
        with pytest.raises(DataError, match="row 3: .*message 2: expected no control token") as caught:
            encode_conversation([{"role": "user", "content": "x"}, message], tokenizer, 3)
        assert token in str(caught.value)


def test_added_tokens_are_read_in_conversations() -> None:
    tokenizer = _bytewise()
    tokenizer.add_special_tokens({"extra_special_tokens": ["<ORG>"]})
    add_chat_template(tokenizer)
    ids, said = encode_conversation([{"role": "assistant", "content": "the <ORG>"}], tokenizer, 0)
    assert said[ids.index(tokenizer.convert_tokens_to_ids("<ORG>"))] == 1


@pytest.mark.parametrize("make", [_bytewise, _chat, _foreign])
def test_a_tokenizer_begins_or_ends_texts(make: Callable[[], Any], tmp_path: Path) -> None:
    tokenizer = make()
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    inner = tokenizer("the river", add_special_tokens=False)["input_ids"]
    for around, expected, side in (
        (begin_with_start_token, [start, *inner], "left"),
        (end_with_end_token, [*inner, end], "right"),
        (begin_with_start_token, [start, *inner], "left"),
    ):
        around(tokenizer)
        around(tokenizer)
        tokenizer.save_pretrained(tmp_path)
        for same in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
            assert same("the river")["input_ids"] == expected
            assert encode_plain_text(same, ["the river", ""])["input_ids"] == [
                expected,
                [(start, end)[side == "right"]],
            ]
            assert same.padding_side == side
