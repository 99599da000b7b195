"""Data files: damaged rows in JSON lines, CSV, TSV and Parquet, plain and in gzip."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import Random
from typing import Any

from lab.fuzz.cases import Verdict
from lab.fuzz.commands import judge, run
from lab.fuzz.mutations import damage_bytes, damage_file, mutate_json, to_json

__all__ = ["data_files"]

_NAMES = ("data.jsonl", "data.csv", "data.tsv", "data.parquet", "data.jsonl.gz", "data.csv.gz")


def data_files(rng: Random, good: Path, workdir: Path) -> Verdict:
    """Check a data file with changes in its bytes, its uncompressed bytes, its rows, or the file itself."""
    name = rng.choice(_NAMES)
    content, path = (good / name).read_bytes(), workdir / name
    action = rng.random()
    if action < 0.3 and name.startswith("data.jsonl"):
        rows: Any = [json.loads(line) for line in (good / "data.jsonl").read_bytes().splitlines()]
        rows = mutate_json(rng, rows, 3)
        lines = isinstance(rows, list) and rng.random() < 0.8
        changed = b"\n".join(to_json(row) for row in rows) if lines else to_json(rows)
        content = gzip.compress(changed) if name.endswith(".gz") else changed
    elif action < 0.5 and name.endswith(".gz"):
        content = gzip.compress(damage_bytes(rng, gzip.decompress(content)))
    else:
        content = damage_bytes(rng, content)
    path.write_bytes(content)
    if rng.random() < 0.08:
        damage_file(rng, path)
    columns = rng.choice(([], [], ["--text", "document"], ["--messages", "document"], ["--document", "\x1b[31m"]))
    return judge(run(workdir, "data", "check", path, *columns))
