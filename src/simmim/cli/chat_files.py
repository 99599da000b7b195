"""Saves a conversation in a file and reads it back; such a file is a row of training data, too."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from simmim.atomic import replaced_file
from simmim.data.unicode import check_text
from simmim.errors import DataError

__all__ = ["SavedChat", "cache_file", "read_chat", "write_chat"]

_LARGEST = 2**28  # bytes of a saved chat


@dataclass(frozen=True)
class SavedChat:
    """Holds what a file says of a conversation.

    Attributes:
        messages: the conversation.
        ids: what it gives as its tokens, where its cache was saved beside it; else none. `Chat.resume` checks them.
    """

    messages: list[dict[str, Any]]
    ids: list[Any]


def cache_file(path: Path) -> Path:
    """Return where the cache of a saved chat lies: beside it."""
    return path.with_name(path.name + ".cache")


def write_chat(
    path: Path, messages: Sequence[Mapping[str, Any]], model: str, keep: Callable[[Path], list[int]]
) -> None:
    """Write a conversation and, in a file beside, its cache: each whole or not at all.

    Args:
        path: the file; one that is there must be a saved chat.
        messages: the conversation.
        model: what the model is called.
        keep: writes the cache and returns the tokens that it stands for; none where there is no cache.

    Raises:
        DataError: the file holds something else.
        OSError: it cannot be written.
    """
    if path.exists():
        try:
            read_chat(path)
        except DataError as error:
            raise DataError(
                f"{path}: expected a new file or a saved chat, this one holds something else; choose another name"
            ) from error
    with replaced_file(path) as stream:
        ids = keep(cache_file(path))
        saved = {"model": model, "messages": list(messages), **({"ids": ids} if ids else {})}
        stream.write(json.dumps(saved, ensure_ascii=False) + "\n")


def read_chat(path: Path) -> SavedChat:
    """Read the conversation that `write_chat` wrote, or any file with one object that has `messages`.

    Raises:
        DataError: the file holds no conversation.
        OSError: it cannot be read.
    """
    expected = f"{path}: expected a saved chat, one JSON object with `messages`"
    if path.exists() and not path.is_file():  # a pipe would never end
        raise DataError(f"{expected}; this is no file")
    with path.open("rb") as stream:
        content = _read(stream, expected)
    try:
        saved = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{expected}; got no JSON ({error})") from error
    messages = saved.get("messages") if isinstance(saved, dict) else None
    if not isinstance(messages, list):
        raise DataError(f"{expected}; got {type(saved).__name__ if messages is None else type(messages).__name__}")
    ids = saved.get("ids", [])
    return SavedChat(
        [_message(message, f"{expected}; message {number}") for number, message in enumerate(messages, start=1)],
        ids if isinstance(ids, list) else [ids],
    )


def _read(stream: BinaryIO, expected: str) -> bytes:
    """Return what a file holds, which the system may not let one read and whose size it may not tell."""
    try:
        content = stream.read(_LARGEST + 1)
    except OSError as error:
        raise DataError(f"{expected}; cannot read it: {error.strerror}") from error
    if len(content) > _LARGEST:
        raise DataError(f"{expected}, of at most {_LARGEST:,} bytes; got more")
    return content


def _message(message: object, name: str) -> dict[str, Any]:
    """Return what a chat template gets of a message: other fields are left out, as they are of training data."""
    if not isinstance(message, dict):
        raise DataError(f"{name} is no object")
    kept = {key: message[key] for key in ("role", "content", "name") if key in message}
    if kept.get("name", "") is None:
        del kept["name"]
    for key in dict.fromkeys(("role", "content", *kept)):
        if not isinstance(kept.get(key), str):
            raise DataError(f"{name} must have a text as {key}, got {ascii(kept.get(key))[:60]}")
        check_text(f"{name}: {key}", kept[key])
    return kept
