"""Reads a million tokens, closes and reopens them, and asks for ten hidden facts: `python -m lab.reading.million F`.

The reading goes on where it was interrupted. Questions are asked by a process of its own, whose memory is measured.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lab.reading.tasks.documents import default_cache, haystacks
from lab.reading.tasks.needles import Maker
from lab.reading.tasks.scoring import score_reply
from simmim.reading.answering import answer
from simmim.reading.reader import ReadingSettings
from simmim.tasks.process_memory import peak_memory
from simmim.tasks.reading import load_reader, open_library

_DEPTHS = 10
_CHARACTERS = 4.35  # of a president's speech in a token of the default model


def main() -> int:
    """Read, then ask; print a JSON object of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where to read into")
    parser.add_argument("--tokens", type=int, default=1_000_000, help="about")
    parser.add_argument("--keep", choices=["text", "keys"], default="text")
    parser.add_argument("--ask", action="store_true", help="only ask, in this process")
    options = parser.parse_args()
    text, facts = document(options.tokens)
    if options.ask:
        ask(options.folder, options.keep, facts)
        return 0
    reader = load_reader(None, ReadingSettings(keep=options.keep))
    began, spent, already = time.perf_counter(), time.process_time(), _read_so_far(options.folder)
    number = reader.read(options.folder, text, "million")
    tokens = reader.open_manifest(options.folder).documents[number].tokens
    sizes = {p.name: p.stat().st_size for p in sorted(options.folder.iterdir()) if p.is_file()}
    total = sum(p.stat().st_size for p in options.folder.rglob("*") if p.is_file())
    row: dict[str, Any] = {"tokens": tokens, "already_read": already, "seconds": round(time.perf_counter() - began)}
    row |= {"processor_seconds": round(time.process_time() - spent), "bytes": total, "files": sizes}
    row["peak_memory_mib"] = round(peak_memory() or 0)
    print(json.dumps(row), flush=True)
    arguments = [str(options.folder), "--tokens", str(options.tokens), "--keep", options.keep, "--ask"]
    return subprocess.run([sys.executable, "-m", "lab.reading.million", *arguments], check=False).returncode


def document(tokens: int) -> tuple[str, list[tuple[str, str]]]:
    """Return prose with facts at ten depths, and each fact's question and answer."""
    rng = random.Random(0)
    units = haystacks(default_cache())["scored"].draw(rng, int(tokens * _CHARACTERS))
    maker = Maker(rng, "scored", "".join(units))
    facts = []
    for number in reversed(range(_DEPTHS)):
        fact = maker.fact()
        units.insert(int(len(units) * (number + 0.5) / _DEPTHS), fact.text + " ")
        facts.append((maker.theme.same.format(key=fact.key), fact.value))
    return "".join(units), facts[::-1]


def ask(folder: Path, keep: str, facts: list[tuple[str, str]]) -> None:
    """Open the folder and ask for each fact."""
    reader = load_reader(None, ReadingSettings(keep="text" if keep == "text" else "keys"))
    began = time.perf_counter()
    library = open_library(folder, reader)
    opened = round(time.perf_counter() - began, 3)
    rows: list[dict[str, Any]] = []
    for question, value in facts:
        parts = library.reader, library.opened, library.finder
        got = answer(*parts, [{"role": "user", "content": question}], max_new_tokens=32, do_sample=False)
        found = any(value in passage.text for passage in got.passages)
        rows.append(
            {
                **{"question": question, "answer": got.text, "right": score_reply([value], "any", got.text)},
                **{"found": found, "first_token_seconds": round(got.first_token_seconds, 2)},
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    row: dict[str, Any] = {
        "open_seconds": opened,
        "found": sum(r["found"] for r in rows),
        "right": sum(r["right"] for r in rows),
    }
    row["first_token_seconds"] = sorted(r["first_token_seconds"] for r in rows)
    print(json.dumps(row | {"peak_memory_mib": round(peak_memory() or 0)}), flush=True)


def _read_so_far(folder: Path) -> int:
    path = folder / "manifest.json"
    return 0 if not path.exists() else int(json.loads(path.read_text())["documents"][0]["read"])


if __name__ == "__main__":
    sys.exit(main())
