"""Conversations as rows of a corpus: what speakers of a play or transcript say, as messages of users and assistant."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from simmim.data.chat_template import TURN_TOKENS
from simmim.data.corpora import Row
from simmim.data.tokenizer import SPECIAL_TOKENS

__all__ = ["Conversation", "Message", "fit_conversations", "from_turns", "replies_by"]


@dataclass(frozen=True)
class Message:
    """What one speaker says in one turn.

    Attributes:
        role: `system`, `user` or `assistant`.
        content: What is said.
        name: The speaker; None where nobody is named.
    """

    role: str
    content: str
    name: str | None = None


@dataclass(frozen=True)
class Conversation:
    """A conversation to learn replies from.

    Attributes:
        messages: Its messages, in order.
        group: The play, the episode or the campaign; a group is never divided between splits.
        name: The conversation's own name.
    """

    messages: tuple[Message, ...]
    group: str
    name: str

    @property
    def texts(self) -> tuple[str, ...]:
        """All that is said, as one text."""
        return ("\n".join(message.content for message in self.messages),)

    @classmethod
    def describe(cls, rows: Sequence[Row]) -> dict[str, object]:
        """Return counts, and the mean length in words."""
        talks = [row.messages for row in rows if isinstance(row, Conversation)]
        return {
            "conversations": len(talks),
            "groups": len({row.group for row in rows}),
            "messages": sum(map(len, talks)),
            "mean_words": round(sum(len(row.texts[0].split()) for row in rows) / max(len(talks), 1), 2),
        }


def from_turns(turns: Iterable[tuple[str, str]]) -> tuple[Message, ...]:
    """Make messages out of turns: the last speaker is the assistant, all others are users.

    Args:
        turns: Speaker and text; turns of one speaker that follow each other become one.

    Returns:
        A message a turn, with the speaker's name.
    """
    joined = [
        (speaker, "\n".join(text for _, text in following))
        for speaker, following in itertools.groupby(turns, key=lambda turn: turn[0])
    ]
    messages = tuple(Message("user", text, speaker) for speaker, text in joined)
    return replies_by(messages[-1].name, messages) if messages else ()


def replies_by(name: str | None, messages: Sequence[Message]) -> tuple[Message, ...]:
    """Make one speaker the assistant and all others users; what the system says stays."""
    return tuple(
        message if message.role == "system" else replace(message, role="assistant" if message.name == name else "user")
        for message in messages
    )


def fit_conversations(rows: Iterable[Conversation], dropped: Counter[str], *, messages: int) -> Iterator[Conversation]:
    """Pass on the conversations in which somebody replies to somebody else.

    Args:
        rows: The conversations.
        dropped: Gains the number of conversations dropped, by reason.
        messages: The fewest messages of a conversation.
    """
    for row in rows:
        if any(token in row.texts[0] for token in (*SPECIAL_TOKENS, *TURN_TOKENS, "\0")):
            dropped["control token or NUL character"] += 1
        elif len(row.messages) < messages:
            dropped[f"conversation of under {messages} messages"] += 1
        elif any(not message.content.strip() for message in row.messages):
            dropped["message without text"] += 1
        else:
            yield row
