"""What a column of a user's rows may hold: texts, or conversations; each says why a value is broken."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from simmim.data.chat_template import ROLES, TURN_TOKENS
from simmim.data.tokenizer import SPECIAL_TOKENS
from simmim.data.unicode import unicode_fault

__all__ = ["Column", "ConversationColumn"]


@dataclass(frozen=True)
class Column:
    """A column of texts that are not blank.

    Attributes:
        name: The column's name.
        holds: What a value of it is called.
    """

    name: str
    arrow_type: ClassVar[pa.DataType] = pa.large_string()

    holds: ClassVar[str] = "text"

    def fault(self, fields: Mapping[str, object]) -> tuple[str, str]:
        """Return why the value in a row is broken, in a few words and in more; empty where it is not."""
        if self.name not in fields:
            return _missing(f"`{self.name}` must be a text that is not blank", fields)
        return _text_fault(fields[self.name], f"`{self.name}`")

    def take(self, value: Any) -> Any:
        """Return what is kept of a whole value."""
        return str(value)

    def size(self, value: Any) -> int:
        """Return the characters of what is kept."""
        return len(value)

    def texts(self, value: Any) -> Iterator[str]:
        """Go through the texts of what is kept."""
        yield value


class ConversationColumn(Column):
    """A column of conversations: lists of messages with `role`, `content` and perhaps `name`, one reply at least.

    `content` is a text, or a list of parts `{"type": "text", "text": …}`, which are joined by line breaks. Other fields
    of a message are left out.
    """

    holds = "conversation"
    arrow_type = pa.list_(pa.struct([("role", pa.string()), ("content", pa.large_string()), ("name", pa.string())]))

    def fault(self, fields: Mapping[str, object]) -> tuple[str, str]:
        """Return why the value in a row is broken, in a few words and in more; empty where it is not."""
        wanted = f"`{self.name}` must be a list of messages"
        if self.name not in fields:
            return _missing(wanted, fields)
        messages = fields[self.name]
        if not isinstance(messages, list) or not messages:
            return "no conversation", f"{wanted}, got {ascii(messages)[:60]}"
        for number, message in enumerate(messages, start=1):
            reason, detail = _message_fault(message)
            if reason:
                return reason, f"message {number} of `{self.name}`: {detail}"
        if not any(message["role"] == "assistant" for message in messages):
            return "no reply", f"`{self.name}` must have a message with the role assistant, got none to learn from"
        return "", ""

    def take(self, value: Any) -> Any:
        """Return role, content and name of every message."""
        return [
            {"role": message["role"], "content": _joined(message["content"]), "name": message.get("name")}
            for message in value
        ]

    def size(self, value: Any) -> int:
        """Return the characters of what is kept."""
        return sum(map(len, self.texts(value)))

    def texts(self, value: Any) -> Iterator[str]:
        """Go through the contents of the messages."""
        return (message["content"] for message in value)


def _missing(wanted: str, fields: Mapping[str, object]) -> tuple[str, str]:
    return "missing field", f"{wanted}, got no such field (fields: {sorted(map(str, fields))})"


def _message_fault(message: object) -> tuple[str, str]:
    if not isinstance(message, dict):
        return "no message", f"an object with role and content is wanted, got {ascii(message)[:60]}"
    role, name = message.get("role"), message.get("name")
    if role not in ROLES:
        return "unknown role", (
            f"role must be one of {', '.join(ROLES)}, got {ascii(role)[:60]} (a speaker goes into `name`)"
        )
    content = _joined(message.get("content"))
    for called, text in (("content", content), *([] if name is None else [("name", name)])):
        reason, detail = _text_fault(text, called)
        if reason:
            return reason, detail
        for token in (*SPECIAL_TOKENS, *TURN_TOKENS):
            if token in text:
                return "control token", f"{called} must have no control token of a tokenizer, got {token}"
    return "", ""


def _joined(content: Any) -> Any:
    """Return parts of text as one text, and anything else as it is."""
    if not isinstance(content, list):
        return content
    parts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in content]
    return "\n".join(parts) if all(isinstance(part, str) for part in parts) else content  # type: ignore[arg-type]


def _text_fault(value: object, called: str) -> tuple[str, str]:
    wanted = f"{called} must be a text that is not blank, got"
    if not isinstance(value, str):
        return "not a text", f"{wanted} {ascii(value)[:60]}"
    if not value.strip():
        return "blank text", f"{wanted} {ascii(value)[:60]}"
    if "\0" in value:
        return "NUL character", f"{called} has a NUL character at offset {value.index(chr(0))}"
    fault = unicode_fault(value)
    return ("not UTF-8", f"{called} is no valid Unicode: {fault}") if fault else ("", "")
