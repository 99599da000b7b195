"""Compares ways to answer questions about long documents: `python -m lab.reading.study --length 8192 -o FILE`.

Each answer is a line of the output file. A study that was interrupted goes on where it stopped, and systems and tasks
can be studied one after another into one file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lab.reading.sizing import fit_length
from lab.reading.systems import NEED_A_FOLDER, SYSTEMS, Document
from lab.reading.tasks.cases import Case, Question, embed, score
from lab.reading.tasks.catalogue import TASKS, WRITTEN, make_cases
from lab.reading.tasks.documents import default_cache, haystacks

_QUESTION = 160
"""Tokens that a question and its answer take of the wanted length."""


def main() -> int:
    """Run the study, or go on with one that was interrupted, and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=8192, help="tokens of a document with question and answer")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    parser.add_argument("--split", default="scored")
    parser.add_argument("--count", type=int, default=2, help="documents of each made task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--questions", type=int, default=4, help="questions of a document, at most")
    parser.add_argument("--passages", type=int, default=3)
    parser.add_argument("--model", default=None)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--work", type=Path, default=default_cache() / "study", help="folder for what was read")
    parser.add_argument("--table", action="store_true", help="print the table of the file, and answer nothing")
    parser.add_argument("--output", "-o", type=Path, required=True, help="JSON lines, one for an answer")
    options = parser.parse_args()
    unknown = sorted({*options.systems.split(",")} - {*SYSTEMS})
    if unknown:
        parser.error(f"--systems: expected some of {', '.join(SYSTEMS)}, got {', '.join(unknown)}")
    if not options.table:
        run(options)
    print(table(options.output))
    return 0


def run(options: argparse.Namespace) -> None:
    """Answer every question by every system; answers that the file holds are not written again."""
    import torch

    from simmim.reading.reader import Keep, ReadingSettings
    from simmim.tasks.reading import load_reader

    if options.threads:
        torch.set_num_threads(options.threads)
    systems = options.systems.split(",")
    done = {_key(row) for row in rows(options.output)}
    keep: Keep = "keys" if "ours" in systems else "text"
    reader = load_reader(options.model, ReadingSettings(keep=keep))

    def tokens(text: str) -> int:
        return len(reader.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    for case in cases(options, tokens):
        asked = [(question, system) for question in chosen(case, options.questions) for system in systems]
        missing = [(q, s) for q, s in asked if (case.name, q.text, s, options.passages) not in done]
        if not missing:
            continue
        digest = hashlib.sha256(case.text.encode()).hexdigest()[:16]
        began, folder = time.process_time(), options.work / f"{digest}-{keep}.simmim"
        document = Document(reader, case.text, options.passages, tokens=40)
        if any(system in NEED_A_FOLDER for _, system in missing):
            document.read(folder, case.name)
        print(f"{case.name}: {len(document.ids):,} tokens, {time.process_time() - began:.0f} s", file=sys.stderr)
        for question, system in missing:
            began = time.process_time()
            found = SYSTEMS[system](document, question.text)
            row = record(document, case, question, found.text, found.found)
            row |= {"system": system, "keys": found.keys, "length": options.length, "seed": options.seed}
            row |= {"passages": options.passages, "seconds": round(time.process_time() - began, 3)}
            with options.output.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def cases(options: argparse.Namespace, tokens: Callable[[str], int]) -> Iterator[Case]:
    """Make the cases: documents of about the wanted tokens, never more.

    Args:
        options: of the study.
        tokens: counts the tokens of a text.
    """
    wanted = options.length - _QUESTION
    filler = haystacks(default_cache())[options.split]
    common = {"splits": [options.split], "count": options.count, "seed": options.seed}
    for task in options.tasks.split(","):

        def made(characters: int, task: str = task) -> list[Case]:
            return make_cases(default_cache(), tasks=[task], length=characters, **common)

        if task not in WRITTEN:
            yield from fit_length(made, wanted, tokens)
            continue
        for number, case in enumerate(made(1)):
            if tokens(case.text) > wanted:
                continue

            def embedded(characters: int, case: Case = case, number: int = number) -> list[Case]:
                longer = characters > 1.02 * len(case.text)
                return [embed(case, characters, filler, (number % 5) / 4, options.seed) if longer else case]

            yield from fit_length(embedded, wanted, tokens)


def chosen(case: Case, most: int) -> list[Question]:
    """Return some questions of a case, of all wordings by turns."""
    by_wording: dict[str, list[Question]] = defaultdict(list)
    for question in case.questions:
        by_wording[question.wording].append(question)
    turns = [wording[i] for i in range(most) for wording in by_wording.values() if i < len(wording)]
    return turns[:most]


def record(document: Document, case: Case, question: Question, answer: str, found: list[int]) -> dict[str, Any]:
    """Score an answer, and look up where the evidence was among the segments that were found."""
    spans = [document.span(number) for number in found]
    ranks = []
    for begin, end in question.evidence:
        hits = [rank for rank, span in enumerate(spans) if span[0] < end and span[1] > begin]
        ranks.append(hits[0] if hits else None)
    return {
        **{"task": case.task, "case": case.name, "question": question.text, "wording": question.wording},
        **{"answers": list(question.answers), "needs": question.needs, "answer": answer},
        **{"score": score(question, answer), "ranks": ranks, "tokens": len(document.ids)},
    }


def rows(path: Path) -> list[dict[str, Any]]:
    """Return what a file of answers holds; a last line that a stop cut off is removed."""
    if not path.exists():
        return []
    content = path.read_text(encoding="utf-8")
    whole = content[: content.rfind("\n") + 1]
    if whole != content:
        path.write_text(whole, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def _key(row: dict[str, Any]) -> tuple[str, str, str, int]:
    return row["case"], row["question"], row["system"], row.get("passages", 3)


def table(path: Path) -> str:
    """Return the mean score of each task and system, and the share of evidence among the best 3 and 8 segments."""
    scores: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows(path):
        kind = row["task"] if row["task"] not in (*WRITTEN, "packages") else f"{row['task']}/{row['wording']}"
        scores[kind, row["system"]].append(row["score"])
        if any(rank is not None for rank in row["ranks"]) or row["system"] in NEED_A_FOLDER:
            for most in (3, 8) if row["ranks"] else ():
                right = [rank is not None and rank < most for rank in row["ranks"]]
                hit = sum(right) / len(right) if row["needs"] == "all" else float(any(right))
                scores[f"  {kind}: found among {most}", row["system"]].append(hit)
    systems = [name for name in SYSTEMS if any(system == name for _, system in scores)]
    kinds = sorted({kind for kind, _ in scores}, key=lambda kind: (kind.strip(), kind))
    lines = ["| task | n | " + " | ".join(systems) + " |", "| --- " * (len(systems) + 2) + "|"]
    for kind in kinds:
        values = [scores.get((kind, system), []) for system in systems]
        count = max(len(value) for value in values)
        cells = [f"{sum(value) / len(value):.2f}" if value else "-" for value in values]
        lines.append(f"| {kind} | {count} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
