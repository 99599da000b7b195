"""Measures how well the segment with the answer is found: `python -m lab.reading.finding -o FILE`.

It asks the questions by hand of the split `settings` and those of `finding.toml`, by each index alone and by all. Half
of the questions, by their hash, are `tuning`: settings may be chosen on them. The others are `final`. Each question is
a line of the output file; a study that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lab.reading.study import rows
from lab.reading.tasks.cases import Case, Question
from lab.reading.tasks.documents import default_cache, documents, finding_documents
from lab.reading.tasks.written import finding_cases, written_cases

_FIRST = (1, 3, 8)


def main() -> int:
    """Run the study, or go on with one that was interrupted, and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--longest", type=int, default=300_000, help="characters of a document, at most")
    parser.add_argument("--work", type=Path, default=default_cache() / "finding", help="folder for what was read")
    parser.add_argument("--table", action="store_true", help="print the table of the file, and ask nothing")
    parser.add_argument("--output", "-o", type=Path, required=True, help="JSON lines, one for a question")
    options = parser.parse_args()
    if not options.table:
        run(options)
    print(table(rows(options.output)))
    return 0


def cases() -> list[Case]:
    """Return the documents and their questions."""
    written = [case for case in written_cases(documents(default_cache())) if case.split == "settings"]
    return [*finding_cases(finding_documents(default_cache())), *written]


def run(options: argparse.Namespace) -> None:
    """Look for every question's segment by each index; questions that the file holds are not asked again."""
    from simmim.reading.finder import fuse
    from simmim.reading.reader import ReadingSettings
    from simmim.tasks.reading import load_reader, open_library

    done = {(row["case"], row["question"]) for row in rows(options.output)}
    reader = load_reader(None, ReadingSettings(keep="text"))
    for case in sorted(cases(), key=lambda case: len(case.text)):
        asked = [q for q in case.questions if q.answers and (case.name, q.text) not in done]
        if not asked or len(case.text) > options.longest:
            continue
        folder = options.work / hashlib.sha256(case.text.encode()).hexdigest()[:16]
        reader.read(folder, case.text, case.name)
        library = open_library(folder, reader)
        document = library.opened.documents[0]
        spans = [document.span(number, number) for number in range(document.segments)]
        for question in asked:
            scores = library.finder.scores(question.text)
            scores["all"] = fuse(scores)[0]
            ranks = {name: rank(values, right(question, spans)) for name, values in scores.items()}
            row: dict[str, Any] = {
                "case": case.name,
                "question": question.text,
                "wording": question.wording,
                "half": half(question),
            }
            row |= {"segments": document.segments, "ranks": ranks}
            with options.output.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        print(f"{case.name}: {document.about.tokens:,} tokens, {len(asked)} questions", file=sys.stderr)


def half(question: Question) -> str:
    """Return `tuning` for half of all questions and `final` for the others, always the same."""
    return "tuning" if hashlib.sha256(question.text.encode()).digest()[0] % 2 else "final"


def right(question: Question, spans: Sequence[tuple[int, int]]) -> list[int]:
    """Return the segments in which a part of the evidence stands."""
    return [
        number
        for number, (begin, end) in enumerate(spans)
        if any(begin < last and first < end for first, last in question.evidence)
    ]


def rank(scores: np.ndarray, wanted: Sequence[int]) -> float:
    """Return how many segments score more than the best of the wanted ones; of equal ones, half."""
    best = scores[list(wanted)].max()
    return float((scores > best).sum() + ((scores == best).sum() - 1) / 2)


def table(answers: Sequence[dict[str, Any]], draws: int = 2000) -> str:
    """Return the shares of questions whose segment is among the first, with 90 % intervals by bootstrap."""
    names = list(answers[0]["ranks"]) if answers else []
    lines = ["| wording, half | n | index | " + " | ".join(f"first {n}" for n in _FIRST) + " | median |"]
    lines.append("| --- " * (len(_FIRST) + 4) + "|")
    for wording in ("same", "other"):
        for part in (("tuning",), ("final",), ("tuning", "final")):
            chosen = [row for row in answers if row["wording"] == wording and row["half"] in part]
            for name in names if chosen else ():
                ranks = np.array([row["ranks"][name] for row in chosen])
                cells = [_interval(ranks < most, draws) for most in _FIRST]
                head = f"| {wording}, {' and '.join(part)} | {len(chosen)} | {name} | "
                lines.append(head + " | ".join(cells) + f" | {np.median(ranks):.0f} |")
    return "\n".join(lines)


def _interval(hits: np.ndarray, draws: int) -> str:
    rng = np.random.default_rng(0)
    means = hits[rng.integers(0, len(hits), (draws, len(hits)))].mean(1)
    low, high = np.quantile(means, [0.05, 0.95])
    return f"{hits.mean():.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    sys.exit(main())
