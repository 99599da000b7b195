"""Tells the tokens that steer a model from those that belong to texts, and encodes texts without the former."""

import copy
import json
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from tokenizers import Tokenizer
from transformers import BatchEncoding, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from simmim.data.unicode import check_text
from simmim.errors import DataError

__all__ = ["check_no_control_token", "control_tokens", "encode_plain_text"]

_NAMES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
# Of each tokenizer with special tokens that belong to texts: its copy without them, and what it was made from.
_readers: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[Any, PreTrainedTokenizerBase]] = WeakKeyDictionary()


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the tokens that steer a model: start, end, padding and such, and the special ones of the chat template.

    Every other special token was added by somebody for use in texts.

    Args:
        tokenizer: Any tokenizer.
    """
    named = [str(token) for name in _NAMES if (token := getattr(tokenizer, f"{name}_token", None)) is not None]
    templates = tokenizer.chat_template or ""
    written = templates if isinstance(templates, str) else "".join(templates.values())
    turns = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return list(dict.fromkeys([*named, *(token for token in turns if token in written)]))


def encode_plain_text(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], **settings: Any) -> BatchEncoding:
    """Encode texts so that nothing in them is read as a control token, while added tokens are.

    A call of the tokenizer either splits every special token in a text or none. Here `</s>` in a text is four
    characters, and `<ORG>` is one token, whether it was added by `add_tokens` or by `add_special_tokens`.
    A Unigram tokenizer (T5) whose own vocabulary has `</s>` as a piece still finds it in a text.

    Args:
        tokenizer: Any tokenizer; of one that is not fast, special tokens of one's own are split, too.
        texts: The texts.
        **settings: What a call of the tokenizer takes. What the tokenizer puts around a text is added unless
            `add_special_tokens=False`.

    Raises:
        DataError: One of the texts is no string, or no valid Unicode.
    """
    for place, text in enumerate(texts, start=1):
        check_text(f"text {place}", text)
    return _plain_reader(tokenizer)(list(texts), split_special_tokens=True, **settings)


def check_no_control_token(name: str, text: str, refused: Sequence[str]) -> None:
    """Refuse a control token in a text that a chat template writes: nothing tells it from those of the template.

    Args:
        name: What the error calls the text.
        text: The text.
        refused: What `control_tokens` returns.

    Raises:
        DataError: There is one.
    """
    found = next((token for token in refused if token in text), None)
    if found is not None:
        raise DataError(
            f"{name}: expected no control token of the tokenizer in the text, got {found!r}; write it in another way"
        )


def _plain_reader(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Return a tokenizer whose special tokens are control tokens alone: a copy, where this one has others."""
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        return tokenizer
    control, added = set(control_tokens(tokenizer)), tokenizer.added_tokens_decoder.values()
    special = {token.content for token in added if token.special}
    if special == control.intersection(token.content for token in added):
        return tokenizer
    state = (control, special, len(tokenizer), repr(tokenizer.backend_tokenizer.post_processor))
    known = _readers.get(tokenizer)
    if known is not None and known[0] == state:
        return known[1]
    written = json.loads(tokenizer.backend_tokenizer.to_str())
    for token in written["added_tokens"]:
        token["special"] = token["content"] in control
    reader = copy.copy(tokenizer)
    reader._tokenizer = Tokenizer.from_str(json.dumps(written))
    _readers[tokenizer] = (state, reader)
    return reader
