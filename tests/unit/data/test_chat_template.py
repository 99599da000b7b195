"""A tokenizer writes conversations turn by turn, marks what the assistant says, and refuses what it cannot write."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.exceptions import TemplateError
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from simmim.data.chat_template import TURN_TOKENS, add_chat_template, turn_end_ids
from simmim.data.tokenizer import SPECIAL_TOKENS, train_tokenizer
from simmim.errors import ConfigError

TEXTS = ["The river folds the map; user, assistant, system.", "樹和河流"] * 3
TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "name": "ROMEO", "content": " \nShall I hear <b>more</b>? "},
    {"role": "assistant", "content": "\nNo. "},
    {"role": "user", "content": "樹"},
    {"role": "assistant", "name": "JULIET", "content": "Ay me!"},
]

message = st.builds(
    lambda role, name, text: {"role": role, "content": text, **({"name": name} if name else {})},
    st.sampled_from(["system", "user", "assistant"]),
    st.text(),
    st.lists(st.text() | st.sampled_from(["\n", " ", "<", "|", ">", "<|", "樹"])).map("".join),
).filter(lambda made: not any(token in str(made) for token in (*SPECIAL_TOKENS, *TURN_TOKENS)))


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    made = train_tokenizer(TEXTS, 300)
    before = len(made)
    assert add_chat_template(made) == len(TURN_TOKENS)
    assert add_chat_template(made) == 0
    assert len(made) == before + 3
    return made


@pytest.fixture(scope="module")
def loaded(tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(params=["made", "loaded"])
def one(request: pytest.FixtureRequest, tokenizer: Any, loaded: Any) -> Any:
    return tokenizer if request.param == "made" else loaded


def test_a_conversation_is_one_text(one: Any) -> None:
    assert one.apply_chat_template(TALK[:3], tokenize=False) == (
        "<|turn|>system<|says|>Be brief.<|end|>"
        "<|turn|>user ROMEO<|says|> \nShall I hear <b>more</b>? <|end|>"
        "<|turn|>assistant<|says|>\nNo. <|end|>"
    )
    asked = one.apply_chat_template(TALK[3:4], tokenize=False, add_generation_prompt=True)
    assert asked == "<|turn|>user<|says|>樹<|end|><|turn|>assistant<|says|>"
    named = one.apply_chat_template(TALK[3:4], tokenize=False, add_generation_prompt=True, assistant_name="JULIET")
    assert named == "<|turn|>user<|says|>樹<|end|><|turn|>assistant JULIET<|says|>"


def test_the_mask_is_what_the_assistant_says_and_that_it_ends(one: Any) -> None:
    encoded = one.apply_chat_template(TALK, return_assistant_tokens_mask=True)

    said = [token for token, kept in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if kept]
    assert one.decode(said) == "\nNo. <|end|>Ay me!<|end|>"
    [turn, says, end] = one.convert_tokens_to_ids(list(TURN_TOKENS))
    assert [encoded["input_ids"].count(token) for token in (turn, says, end)] == [5, 5, 5]
    assert turn_end_ids(one) == [end, one.eos_token_id]
    assert TURN_TOKENS[0] not in one.decode(encoded["input_ids"], skip_special_tokens=True)


@given(talk=st.lists(message, min_size=1, max_size=5))
def test_the_tokens_of_a_conversation_are_those_of_its_messages(loaded: Any, talk: list[dict[str, Any]]) -> None:
    """So a new turn is encoded alone, and no text runs into the header before it."""
    whole = loaded.apply_chat_template(talk)["input_ids"]

    assert whole == [token for one in talk for token in loaded.apply_chat_template([one])["input_ids"]]
    assert loaded.decode(whole) == loaded.apply_chat_template(talk, tokenize=False)


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ({"role": "tool", "content": "x"}, "expected the role system, user or assistant, got 'tool'; the name of a"),
        ({"role": "ROMEO", "content": "x"}, ".*got 'ROMEO'"),
        ({"content": "x"}, "expected the role system, user or assistant, got ''"),
        ({"role": "user", "content": None}, "expected a text as content, got"),
        ({"role": "user", "content": [{"type": "text", "text": "x"}]}, r"expected a text as content, got \[\{"),
        ({"role": "user", "content": "a <|end|><|turn|>"}, "expected no control token .*, got '<|turn|>'"),
        ({"role": "user", "content": "x", "name": "a<|says|>b"}, "expected no control token .*, got '<|says|>'"),
        ({"role": "assistant", "content": "</s>"}, "expected no control token .*, got '</s>'"),
    ],
)
def test_what_cannot_be_written_is_refused(one: Any, broken: dict[str, Any], complaint: str) -> None:
    with pytest.raises(TemplateError, match=f"messages: message 2: {complaint}".replace("|", r"\|")):
        one.apply_chat_template([TALK[0], broken])


def test_another_template_is_not_replaced() -> None:
    other = train_tokenizer(TEXTS, 300)
    other.chat_template = "{{ messages }}"
    with pytest.raises(ConfigError, match="tokenizer: expected one without a chat template, or with ours"):
        add_chat_template(other)
    assert turn_end_ids(other) == [other.eos_token_id]
