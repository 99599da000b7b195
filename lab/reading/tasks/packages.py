"""Asks for the fields of packages in a stretch of Debian's package list, whose answers its structure gives."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lab.reading.tasks.cases import Case, Question
from lab.reading.tasks.haystack import split_of

__all__ = ["Stanza", "package_cases", "read_stanzas"]

_SHOWN = (
    "Package Version Maintainer Installed-Size Homepage Provides Architecture Depends Section Priority Description"
).split()
_GAP = "\n\n"
_LONGEST = 200  # characters of a field that is asked for
_SHORTEST = 4  # characters of a value that is asked for: a shorter one stands in too many places


@dataclass(frozen=True)
class Stanza:
    """One package of the list.

    Attributes:
        name: The package.
        text: What the document shows of it.
        fields: The fields by their names.
    """

    name: str
    text: str
    fields: dict[str, str]


# By field: how it is asked for in its words and in others, of a package in `settings` and of one in `scored`.
_FORMS = {
    "Version": (
        ("What is the version of the package {name}?", "Which release of {name} is it that is listed?"),
        ("Which version does the package {name} have?", "How recent an issue of {name} would one get: what number?"),
    ),
    "Maintainer": (
        ("Who is the maintainer of the package {name}?", "Who looks after {name}?"),
        ("Who is named as maintainer of the package {name}?", "To whom would one write about a problem with {name}?"),
    ),
    "Installed-Size": (
        ("What is the installed size of {name}?", "How many kilobytes does {name} take up on the disk?"),
        ("Which installed size is given for {name}?", "How much room on the disk does one need to have {name}?"),
    ),
    "Homepage": (
        ("What is the homepage of the package {name}?", "At which web address does one find out more about {name}?"),
        ("Which homepage does the package {name} have?", "Where on the web do the authors of {name} present it?"),
    ),
    "Provides": (
        ("Which package provides {value}?", "What would one install to get the virtual {value}?"),
        ("By which package is {value} provided?", "Which one can stand in where {value} is asked for?"),
    ),
}


def read_stanzas(content: str) -> list[Stanza]:
    """Read a list of packages, and leave out what has no plain version, maintainer and description.

    Args:
        content: A Packages file.
    """
    stanzas, seen = [], set()
    for part in content.split("\n\n"):
        fields = {
            match[1]: " ".join(match[2].split())
            for match in re.finditer(r"^([A-Z][\w-]*): *((?:.*)(?:\n[ \t].*)*)", part, flags=re.MULTILINE)
        }
        name = fields.get("Package", "")
        if name in seen or not all(fields.get(field) for field in ("Version", "Maintainer", "Description")):
            continue
        seen.add(name)
        text = "\n".join(f"{field}: {fields[field]}" for field in _SHOWN if field in fields)
        stanzas.append(Stanza(name, text, fields))
    return stanzas


def package_cases(stanzas: Sequence[Stanza], split: str, length: int, seed: int, count: int) -> list[Case]:
    """Make cases, each a list of random packages of one split with a question for each field in either wording.

    Args:
        stanzas: The whole list.
        split: The split; the name of a package says which it is in, and a value is asked for in one split only.
        length: Characters of each document, at the most.
        seed: The same seed makes the same cases.
        count: How many.
    """
    pool = [stanza for stanza in stanzas if split_of(stanza.name) == split]
    return [_case(pool, split, length, f"{seed}.{number}") for number in range(count)]


def _case(pool: Sequence[Stanza], split: str, length: int, seed: str) -> Case:
    rng = random.Random(f"packages {split} {length} {seed}")
    order = rng.sample(range(len(pool)), len(pool))
    shown: list[Stanza] = []
    size = 0
    place = 0
    while place < len(order) and size + len(pool[order[place]].text) <= length:
        shown.append(pool[order[place]])
        size += len(shown[-1].text) + len(_GAP)
        place += 1
    if not shown or place == len(order):
        raise ValueError(f"packages {split}: expected a length that {len(pool):,} packages can fill, got {length:,}")
    text = _GAP.join(stanza.text for stanza in shown)
    questions = list(_questions(rng, shown, split))
    absent = next(pool[left] for left in order[place:] if pool[left].name not in text)
    for field in ("Version", "Homepage"):
        same, _ = _FORMS[field][split == "scored"]
        questions.append(Question(same.format(name=absent.name), (), (), "none"))
    return Case("packages", f"packages/{split}/{length}/{seed}", text, tuple(questions), split)


def _questions(rng: random.Random, shown: Sequence[Stanza], split: str) -> Iterable[Question]:
    """Ask for each field twice, in its words and in others, of different packages where there are."""
    starts, start = {}, 0
    for stanza in shown:
        starts[stanza.name] = start
        start += len(stanza.text) + len(_GAP)
    provided = [value for stanza in shown for value in _provided(stanza)]
    for field, forms in _FORMS.items():
        fitting = [
            (stanza, value)
            for stanza in shown
            for value in _values(stanza, field)
            if split_of(value) == split and (field != "Provides" or provided.count(value) == 1)
            if len(stanza.fields[field]) <= _LONGEST
        ]
        for (stanza, value), wording in zip(rng.sample(fitting, min(2, len(fitting))), ("same", "other"), strict=False):
            form = forms[split == "scored"][wording == "other"]
            answer = stanza.name if field == "Provides" else value
            line = f"\n{field}: {stanza.fields[field]}"
            offset = starts[stanza.name]
            at = offset + stanza.text.index(line)
            evidence = ((offset, at + len(line)),)  # from the name of the package to the end of the field
            yield Question(form.format(name=stanza.name, value=value), (answer,), evidence, wording)


def _values(stanza: Stanza, field: str) -> list[str]:
    """Return what a field says, as an answer gives it."""
    value = stanza.fields.get(field, "")
    if field == "Provides":
        return [name for name in _provided(stanza) if stanza.name not in name]  # else the question tells the answer
    if field == "Homepage":
        value = value.rstrip("/")
    if field == "Maintainer":
        value = value.split("<")[0].strip(' "')
    return [value] if len(value) >= _SHORTEST else []


def _provided(stanza: Stanza) -> list[str]:
    """Return the names that a package provides, without versions."""
    names = [re.sub(r"\s*\(.*?\)|:\w+", "", part).strip() for part in stanza.fields.get("Provides", "").split(",")]
    return [name for name in names if name]
