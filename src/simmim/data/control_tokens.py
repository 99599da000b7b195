"""Finds the control tokens of a tokenizer, and encodes texts without them."""

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
# For each tokenizer with special tokens for use in texts: the state of its copy, and the copy, where these are normal.
_readers: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[Any, PreTrainedTokenizerBase]] = WeakKeyDictionary()


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the control tokens: start, end, padding and such, and the special tokens of the chat template.

    All other special tokens are meant for use in texts.
    """
    named = [str(token) for name in _NAMES if (token := getattr(tokenizer, f"{name}_token", None)) is not None]
    templates = tokenizer.chat_template or ""
    template_text = templates if isinstance(templates, str) else "".join(templates.values())
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return list(dict.fromkeys([*named, *(token for token in special if token in template_text)]))


def encode_plain_text(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], **settings: Any) -> BatchEncoding:
    """Encode texts with their added tokens, but with control tokens as plain characters.

    A call of the tokenizer either splits every special token in a text or none. Here `</s>` in a text is four
    characters, and `<ORG>` is one token, whether it was added by `add_tokens` or by `add_special_tokens`.
    A Unigram tokenizer (T5) whose own vocabulary has `</s>` as a piece still finds it in a text.

    Args:
        tokenizer: Any tokenizer; one that is not fast splits added special tokens, too.
        texts: The texts.
        **settings: Arguments of a call of the tokenizer, such as `add_special_tokens=False`.

    Raises:
        DataError: A text is not a string, or not valid Unicode.
    """
    for number, text in enumerate(texts, start=1):
        check_text(f"text {number}", text)
    return _plain_reader(tokenizer)(list(texts), split_special_tokens=True, **settings)


def check_no_control_token(name: str, text: str, refused: Sequence[str]) -> None:
    """Refuse a control token in a text for a chat template, whose own tokens look the same.

    Raises:
        DataError: The text contains one.
    """
    found = next((token for token in refused if token in text), None)
    if found is not None:
        raise DataError(
            f"{name}: expected no control token of the tokenizer in the text, got {found!r}; write it in another way"
        )


def _plain_reader(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Return a tokenizer whose only special tokens are control tokens: a copy if this one has others."""
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
    serialized = json.loads(tokenizer.backend_tokenizer.to_str())
    for token in serialized["added_tokens"]:
        token["special"] = token["content"] in control
    reader = copy.copy(tokenizer)
    reader._tokenizer = Tokenizer.from_str(json.dumps(serialized))
    _readers[tokenizer] = (state, reader)
    return reader
