"""Makes the notebooks of the article from its pages: the same text, the same code, and what the code prints.

``python -m lab.notebook`` writes both; a test holds them to what this writes, and another runs the code.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
NOTEBOOKS = {"docs/article.md": "examples/article.ipynb", "docs/zh/article.md": "examples/article.zh.ipynb"}

NEEDS_MODEL = "<!-- needs the default model -->\n"
BLOCK = re.compile(rf"({NEEDS_MODEL})?^```python\n(.*?)^```\n(?:\n^```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)")

TO_THE_ROOT = """\
import os

if os.path.basename(os.getcwd()) == "examples":
    os.chdir("..")  # files are named from the root of the repository
"""


class Block(NamedTuple):
    """A block of Python, what the page shows below it, and whether it needs the default model."""

    code: str
    printed: str
    needs_model: bool


def read(page: str) -> str:
    """Return the text of a page, which is named from the root of the repository."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    """Return the blocks of Python of a page, in order."""
    return [Block(code, printed, bool(marker)) for marker, code, printed in BLOCK.findall(read(page))]


def notebook(page: str) -> str:
    """Return a page as a notebook (nbformat 4.4): a cell for each block of Python, with its output."""
    folder = posixpath.dirname(page)
    text = LINK.sub(lambda link: posixpath.relpath(posixpath.join(folder, link[1]), "examples"), read(page))
    cells, end = [code_cell(TO_THE_ROOT, "")], 0
    for found in BLOCK.finditer(text):
        cells += [markdown_cell(text[end : found.start()]), code_cell(found[2], found[3] or "")]
        end = found.end()
    title, rest = cells[1], [cells[0], *cells[2:], markdown_cell(text[end:])]
    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": [title, *rest], "metadata": {"kernelspec": python}, "nbformat": 4, "nbformat_minor": 4}
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def markdown_cell(text: str) -> dict[str, Any]:
    """Return a cell of text."""
    return {"cell_type": "markdown", "metadata": {}, "source": text.strip().splitlines(keepends=True)}


def code_cell(code: str, printed: str) -> dict[str, Any]:
    """Return a cell of code that printed this."""
    lines = printed.splitlines(keepends=True)
    outputs = [{"name": "stdout", "output_type": "stream", "text": lines}] if lines else []
    source = code.rstrip("\n").splitlines(keepends=True)
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": outputs, "source": source}


if __name__ == "__main__":
    for page, path in NOTEBOOKS.items():
        (ROOT / path).write_text(notebook(page), encoding="utf-8")
        print(f"{page} -> {path}")
