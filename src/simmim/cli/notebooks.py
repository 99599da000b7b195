"""Takes the text out of Jupyter notebooks: their Markdown and their code, not what the code has printed."""

from __future__ import annotations

import json
import re
from typing import Any

from simmim.errors import DataError

__all__ = ["notebook_markdown"]


def notebook_markdown(name: str, content: bytes) -> tuple[str, str]:
    """Return a notebook as Markdown, and a note of what is left out.

    Args:
        name: of the file, for errors.
        content: its bytes.

    Raises:
        DataError: it is no notebook of format 4.
    """
    try:
        found: Any = json.loads(content)
        cells = found["cells"]
        parts = [_cell(cell["cell_type"], "".join(cell["source"])) for cell in cells]
        printed = sum(bool(cell.get("outputs")) for cell in cells)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{name}: expected a Jupyter notebook of format 4; open it in Jupyter and save it again"
        ) from error
    note = f"what {printed} cell{'s have' if printed > 1 else ' has'} printed is left out" if printed else ""
    return "\n\n".join(part for part in parts if part), note


def _cell(kind: str, source: str) -> str:
    if kind != "code" or not source.strip():
        return source if kind != "raw" else ""
    longest = max((len(run) for run in re.findall("`+", source)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{source}\n{fence}"
