"""The types of parameters with several forms, and of known parameters that are refused."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

__all__ = ["Bias", "Content", "Ignored", "Prompts", "Stops", "Texts", "Unserved"]

_MAX_STOPS, _MAX_STOP_LENGTH = 4, 1000
_MAX_BIASES, _MAX_BIAS = 1024, 100
_MAX_PROMPTS = 16
_MAX_TEXTS = 2048
_MAX_ID = 1 << 31

Prompt = str | list[int]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _content(value: Any) -> str:
    """Join the text parts of a message, as in training data."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        raise ValueError("expected a text or a list of text parts")
    texts = []
    for index, part in enumerate(value):
        if not isinstance(part, dict) or part.get("type") != "text":
            raise ValueError(f"part {index}: expected a part of the type 'text'; this model reads nothing else")
        if not isinstance(part.get("text"), str):
            raise ValueError(f"part {index}: expected `text` to be a text")
        if unknown := part.keys() - {"type", "text"}:
            raise ValueError(f"part {index}: expected `type` and `text` alone, got {ascii(min(unknown))[:60]}")
        texts.append(part["text"])
    return "\n".join(texts)


def _stops(value: Any) -> tuple[str, ...]:
    stops = () if value is None else (value,) if isinstance(value, str) else value
    if not isinstance(stops, (list, tuple)) or len(stops) > _MAX_STOPS:
        raise ValueError(f"expected a text or a list of at most {_MAX_STOPS} texts")
    if not all(isinstance(stop, str) and 0 < len(stop) <= _MAX_STOP_LENGTH for stop in stops):
        raise ValueError(f"expected texts of 1 to {_MAX_STOP_LENGTH} characters")
    return tuple(stops)


def _bias(value: Any) -> dict[int, float]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > _MAX_BIASES:
        raise ValueError(f"expected an object of at most {_MAX_BIASES} tokens, such as {{'50': -100}}")
    biases = {}
    for token, bias in value.items():
        if not (token.isascii() and token.isdigit() and len(token) < 10):
            raise ValueError(f"expected ids of tokens as keys, got {ascii(token)[:60]}")
        if isinstance(bias, bool) or not isinstance(bias, (int, float)) or not -_MAX_BIAS <= bias <= _MAX_BIAS:
            raise ValueError(f"expected numbers from -{_MAX_BIAS} to {_MAX_BIAS}, got {ascii(bias)[:60]} for {token}")
        biases[int(token)] = float(bias)
    return biases


def _prompts(value: Any) -> list[Prompt]:
    """Return a list of prompts, each a text or token ids."""
    prompts = value if isinstance(value, list) and value and not _is_whole(value[0]) else [value]
    if len(prompts) > _MAX_PROMPTS:
        raise ValueError(f"expected at most {_MAX_PROMPTS} prompts")
    for prompt in prompts:
        ids = isinstance(prompt, list) and bool(prompt) and all(_is_whole(token) for token in prompt)
        if not ids and not isinstance(prompt, str):
            raise ValueError("expected a text, a list of texts, a list of ids of tokens, or a list of such lists")
        if ids and not all(0 <= token < _MAX_ID for token in prompt):
            raise ValueError("expected ids of tokens of the model")
    return prompts


def _texts(value: Any) -> list[str]:
    """Return a list of texts; ids of tokens are of another model than the encoder."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError("expected a text or a list of texts; in a client that sends ids of tokens turn that off")
    if len(texts) > _MAX_TEXTS:
        raise ValueError(f"expected at most {_MAX_TEXTS} texts")
    if not all(text.strip() for text in texts):
        raise ValueError("expected texts that are not blank")
    return texts


def _unserved(value: Any) -> None:
    """Refuse a parameter that this server does not support, unless its value is empty."""
    empty = value is None or value is False or (isinstance(value, (str, list, dict)) and not value)
    if not empty and value != "none":
        raise ValueError("not served here; expected it to be left out")


Content = Annotated[str, BeforeValidator(_content)]
Stops = Annotated[tuple[str, ...], BeforeValidator(_stops)]
Bias = Annotated[dict[int, float], BeforeValidator(_bias)]
Prompts = Annotated[list[Prompt], BeforeValidator(_prompts)]
Texts = Annotated[list[str], BeforeValidator(_texts)]
Unserved = Annotated[None, BeforeValidator(_unserved)]
Ignored = Annotated[Any, "has no effect on the text"]
