"""Makes cases of documents that people know out of questions that were written by hand, with the quoted evidence."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from lab.reading.tasks.cases import SPLITS, Case, Question
from lab.reading.tasks.documents import MANUALS
from lab.reading.tasks.scoring import holds

__all__ = ["QUESTIONS", "finding_cases", "locate", "written_cases"]

QUESTIONS = Path(__file__).parent / "questions"


def written_cases(texts: Mapping[str, str], folder: Path = QUESTIONS) -> list[Case]:
    """Make a case of each document that questions were written about.

    Args:
        texts: The documents by their names.
        folder: Holds a file for each split, with the questions by document: `wording`, `ask`, `answers`, the
            `quote` that is the evidence, and `also` where the document says the same elsewhere.

    Raises:
        ValueError: A document is missing, an evidence does not stand in it exactly once, or holds no answer.
    """
    cases = []
    for split in SPLITS:
        asked = tomllib.loads((folder / f"{split}.toml").read_text(encoding="utf-8"))
        for name, entries in asked.items():
            if name not in texts:
                raise ValueError(f"{split}.toml: expected the document {name} in the cache, found none")
            questions = tuple(_question(name, texts[name], entry) for entry in entries)
            task = "manuals" if name in MANUALS else "standards"
            cases.append(Case(task, f"{task}/{name}", texts[name], questions, split))
    return cases


def finding_cases(texts: Mapping[str, str], folder: Path = QUESTIONS) -> list[Case]:
    """Make the cases that only the study of finding asks; see `written_cases`.

    Here the evidence may tell the answer with a word of the place where it stands: the term that it explains.

    Args:
        texts: The documents by their names.
        folder: Holds `finding.toml`.
    """
    asked = tomllib.loads((folder / "finding.toml").read_text(encoding="utf-8"))
    return [
        Case(
            "finding",
            f"finding/{name}",
            texts[name],
            tuple(_question(name, texts[name], e, told=False) for e in entries),
            "scored",
        )
        for name, entries in asked.items()
    ]


def locate(text: str, quote: str) -> tuple[int, int]:
    """Find a quote, whatever the space between its words.

    Raises:
        ValueError: It does not stand in the text, or more than once.
    """
    found = list(re.finditer(r"\s+".join(map(re.escape, quote.split())), text))
    if len(found) != 1:
        raise ValueError(f"expected the evidence once, found it {len(found)} times: {quote!r}")
    return found[0].span()


def _question(name: str, text: str, entry: Mapping[str, object], *, told: bool = True) -> Question:
    """Read one entry and check it against its document; `told` where the evidence must hold an answer word for word."""
    ask, answers, also = str(entry["ask"]), entry.get("answers", []), entry.get("also", [])
    assert isinstance(answers, list)
    assert isinstance(also, list)
    evidence = []
    for quote in [str(entry["quote"]), *also] if answers else []:
        try:
            evidence.append(locate(text, quote))
        except ValueError as error:
            raise ValueError(f"{name}: {ask}: {error}") from error
        if told and not any(holds(quote, answer) for answer in answers):
            raise ValueError(f"{name}: {ask}: expected one of {answers} in the evidence {quote!r}")
    return Question(ask, tuple(answers), tuple(evidence), str(entry["wording"]))
