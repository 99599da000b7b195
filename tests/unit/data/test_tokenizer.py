"""The tokenizer gives back every text exactly, at any length, also after a round trip over the disk."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from simmim.data.tokenizer import SPECIAL_TOKENS, train_tokenizer
from simmim.errors import ConfigError

TEXTS = ["The river folds the map.", "A map of the river, folded; the boats of the river.", "樹和河流"] * 3

# Text of every kind, and what a tokenizer may take for something else.
ANY_TEXT = st.lists(st.text() | st.sampled_from([*SPECIAL_TOKENS, "  ", " n't", " ,", "\r\n", "🙂", "河", "Ġ"])).map(
    "".join
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer(TEXTS, 280)


@pytest.fixture(scope="module")
def loaded(tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_special_tokens_have_their_ids(tokenizer: PreTrainedTokenizerBase, loaded: PreTrainedTokenizerBase) -> None:
    for one in (tokenizer, loaded):
        ids = (one.pad_token_id, one.bos_token_id, one.eos_token_id, one.mask_token_id)
        assert ids == (0, 1, 2, 3)
        assert one.convert_ids_to_tokens([0, 1, 2, 3]) == ["<pad>", "<s>", "</s>", "<mask>"]
        assert len(one) == 280


def test_a_text_ends_with_the_closing_token(tokenizer: PreTrainedTokenizerBase) -> None:
    encoded = tokenizer(["the river", ""])

    assert sorted(encoded) == ["attention_mask", "input_ids"]
    assert [ids.count(2) for ids in encoded["input_ids"]] == [1, 1]
    assert [ids[-1] for ids in encoded["input_ids"]] == [2, 2]
    assert tokenizer("a", "b")["input_ids"] == tokenizer("a")["input_ids"] + tokenizer("b")["input_ids"]


@given(text=ANY_TEXT)
def test_any_text_comes_back_exactly(
    tokenizer: PreTrainedTokenizerBase, loaded: PreTrainedTokenizerBase, text: str
) -> None:
    ids = tokenizer(text)["input_ids"]

    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert set(ids[:-1]).isdisjoint(range(4))
    assert loaded(text)["input_ids"] == ids
    assert loaded.decode(ids, skip_special_tokens=True) == text


def test_special_tokens_can_be_asked_for(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer("<s>x<mask>", split_special_tokens=False)["input_ids"][::2] == [1, 3]


def test_merges_what_is_frequent(tokenizer: PreTrainedTokenizerBase) -> None:
    assert len(tokenizer("the river")["input_ids"]) == 3  # "the", " river", "</s>"


def test_learns_the_same_from_the_same_texts(tokenizer: PreTrainedTokenizerBase) -> None:
    again = train_tokenizer(iter(TEXTS), 280)

    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_long_texts_are_neither_cut_nor_warned_about(
    loaded: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)

    ids = loaded("河" * 50_000)["input_ids"]

    assert loaded.decode(ids, skip_special_tokens=True) == "河" * 50_000
    assert not caplog.records


def test_the_vocabulary_holds_all_bytes() -> None:
    assert len(train_tokenizer(TEXTS, 260)) == 260
    with pytest.raises(
        ConfigError, match=r"vocab_size: expected at least 260 \(256 bytes and 4 special tokens\), got 259"
    ):
        train_tokenizer(TEXTS, 259)


def test_says_that_the_texts_give_a_smaller_vocabulary(caplog: pytest.LogCaptureFixture) -> None:
    assert len(train_tokenizer(["aab"], 300)) == 262

    assert "vocab_size=300: the texts give 262 tokens" in caplog.text
