"""Tests that the code speaks the field's words: those that have a better one, and can be searched for, do not occur."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "simmim"
FILES = [
    file
    for file in sorted(PACKAGE.rglob("*.py"))
    if "pretrained" not in file.relative_to(PACKAGE).parts[:-1] and "reference" not in file.stem
]

WORDS = {
    "told, tells": r"\b(told|tells)\b",
    "held": r"\bheld\b(?!_out)",
    "said": r"\bsaid\b",
    "room": r"\brooms?\b",
    "share_of, sharpen": r"\b(share_of|sharpen)\b",  # `sharpness` is a parameter: a key of saved models
    "few_turn, rotate_few": r"\b(few_turn|rotate_few)\b",
    "by_rows": r"\bby_rows\b",
    "Columns, See, Some as classes": r"\bclass (Columns|See|Some|Turn)\b",
    "place of a token, a row or a file": r"\b[Pp]laces?\b(?<!in place)(?<!into place)(?<!to place)",
    "nobody, somebody, whoever": r"\b(nobody|somebody|whoever)\b",
    "summarisation": r"summari[s]ation",
}
ALLOWED = {
    ("room", "cache_files.py"),  # the old name of the capacity, in saved caches
    ("place of a token, a row or a file", "calibrating.py"),  # its questions are about places
    ("summarisation", "sections.py"),  # the old name of the task, in recipes of saved models
}


@pytest.mark.parametrize("name", WORDS)
def test_a_word_of_the_glossary_is_gone(name: str) -> None:
    for file in FILES:
        if (name, file.name) in ALLOWED:
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            assert not re.search(WORDS[name], line), f"{file.relative_to(PACKAGE)}, line {number}: {line.strip()}"


@pytest.mark.parametrize("name", ["made", "messages", "confetti", "utils", "helpers", "misc", "common"])
def test_files_say_what_is_in_them(name: str) -> None:
    assert not [*PACKAGE.rglob(f"{name}.py")]
