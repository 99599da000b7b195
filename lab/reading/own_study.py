"""Asks our own documents, in every format, alone and amid other text: `python -m lab.reading.own_study -o FILE`."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.reading.own_formats import questions, write_all
from lab.reading.tasks.documents import default_cache, haystacks
from lab.reading.tasks.scoring import normalise, score_reply
from simmim.cli.document_worker import read_documents
from simmim.cli.documents import Extracted
from simmim.errors import DataError
from simmim.reading.answering import Passage, answer
from simmim.reading.reader import Reader, ReadingSettings
from simmim.tasks.reading import load_reader, open_library

_CHARACTERS = 4.4  # of a president's speech in a token of the default model
_NAME = "document"


def main() -> int:
    """Run the study, or go on with one that was interrupted; print its table and its answers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--around", type=int, default=30_000, help="tokens of other text, half before, half behind")
    parser.add_argument("--formats", default="md,docx,pdf,epub,html")
    parser.add_argument("--passages", type=int, default=3)
    parser.add_argument("--model", default=None)
    parser.add_argument("--output", "-o", type=Path, required=True, help="JSON lines, one for an answer")
    options = parser.parse_args()
    reader = load_reader(options.model, ReadingSettings(keep="text"))
    filler = " ".join(haystacks(default_cache())["scored"].draw(random.Random(0), int(options.around * _CHARACTERS)))
    before, behind = filler[: len(filler) // 2] + "\n\n", "\n\n" + filler[len(filler) // 2 :]
    with tempfile.TemporaryDirectory() as place:
        files = [f for f in write_all(Path(place) / "files") if f.suffix[1:] in options.formats.split(",")]
        reader.read(Path(place) / "before", before, _NAME)
        for file in sorted(files, key=lambda f: options.formats.split(",").index(f.suffix[1:])):
            text = extracted(file)
            for amid in (False, True):
                missing = [q for q in questions() if q["document"] == file.stem and not _done(options, file, amid, q)]
                if not missing:
                    continue
                folder = Path(place) / f"{file.name}-{amid}"
                if amid:  # the text before is the same for all: it is read once
                    shutil.copytree(Path(place) / "before", folder)
                reader.read(folder, before + text + behind if amid else text, _NAME)
                for question in missing:
                    row = ask(reader, folder, question, options.passages)
                    row = {"document": file.stem, "format": file.suffix[1:], "amid": amid} | row
                    with options.output.open("a", encoding="utf-8") as stream:
                        stream.write(json.dumps(row, ensure_ascii=False) + "\n")
                shutil.rmtree(folder)
    show(_rows(options.output))
    return 0


def extracted(file: Path) -> str:
    """Return the text of a file as the commands get it."""
    [document] = read_documents([str(file)], None, lambda *_: False)
    if document is None or not isinstance(document.extracted, Extracted):
        raise DataError(f"{file}: expected a document that can be read, got {document}")
    return document.extracted.text


def ask(reader: Reader, folder: Path, question: dict[str, Any], passages: int) -> dict[str, Any]:
    """Answer a question and score the answer; `found` tells whether the evidence was read."""
    library = open_library(folder, reader)
    message = {"role": "user", "content": question["question"]}
    parts = library.reader, library.opened, library.finder
    got = answer(*parts, [message], passages=passages, max_new_tokens=64, do_sample=False)
    return {
        **{"question": question["question"], "wording": question["wording"], "answers": question["answers"]},
        **{"answer": got.text, "score": score_reply(question["answers"], "any", got.text)},
        **{"found": holds_evidence(got.passages, question["evidence"]), "seconds": round(got.seconds, 1)},
    }


def holds_evidence(passages: Sequence[Passage], evidence: str) -> bool:
    """Tell whether the evidence, as it is in Markdown, was among the passages, whatever their format.

    Formats break lines and tables differently: most of the words, in their order, are enough.
    """
    wanted = normalise(evidence).lower().split()
    for passage in passages:
        words = normalise(passage.text).lower().split()
        for begin in range(len(words)):
            part = words[begin : begin + len(wanted) + 4]
            if sum(word in part for word in wanted) >= 0.9 * len(wanted):
                return True
    return False


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print how many evidences were read and answers right, then every answer of the first format."""
    cells: dict[tuple[str, bool], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        cells[row["format"], row["amid"]].append(row)
    print("| format | where | questions | evidence read | answers right |\n| --- | --- | --- | --- | --- |")
    for (kind, amid), found in cells.items():
        where = "amid other text" if amid else "alone"
        right, read = sum(row["score"] for row in found), sum(row["found"] for row in found)
        print(f"| {kind} | {where} | {len(found)} | {read} | {right:.0f} |")
    for row in rows:
        if row["format"] == rows[0]["format"]:
            mark = "right" if row["score"] else "WRONG"
            where = "amid" if row["amid"] else "alone"
            read = "read" if row["found"] else "not read"
            print(f"- {row['document']}, {where}, passage {read}, {mark}: {row['question']} -> {row['answer']!r}")


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _done(options: argparse.Namespace, file: Path, amid: bool, question: dict[str, Any]) -> bool:
    key = (file.stem, file.suffix[1:], amid, question["question"])
    return any((r["document"], r["format"], r["amid"], r["question"]) == key for r in _rows(options.output))


if __name__ == "__main__":
    sys.exit(main())
