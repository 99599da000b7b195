"""Puts aligned pages into splits without a block of the held-out pages in training, and writes them with a manifest."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.corpora.splits import split_of
from simmim.data.corpora import SPLITS
from simmim.data.near_duplicates import normalise
from simmim.tasks.translation.marks import MARK

__all__ = ["Page", "in_splits", "write_corpus"]


@dataclass(frozen=True)
class Page:
    """A page in two languages.

    Attributes:
        source_language: the language of `source`.
        target_language: the language of `target`.
        origin: the name of its source.
        name: its own name, the same in all languages.
        source: its blocks.
        target: their translations, one each.
        held_out: whether it may be in validation or test; message catalogues have no text around a message.
    """

    source_language: str
    target_language: str
    origin: str
    name: str
    source: Sequence[str]
    target: Sequence[str]
    held_out: bool = True

    @property
    def split(self) -> str:
        """Its split, which is that of the page in every language."""
        return split_of(f"{self.origin}/{self.name}") if self.held_out else "train"

    def record(self) -> dict[str, Any]:
        """Return what is written about it."""
        return {
            "source_language": self.source_language,
            "target_language": self.target_language,
            "origin": self.origin,
            "name": self.name,
            "source": list(self.source),
            "target": list(self.target),
        }


def in_splits(pages: Iterable[Page], dropped: Counter[str]) -> dict[str, list[Page]]:
    """Put pages into splits.

    A pair of blocks occurs once in a split. A block of validation or test that occurs in training, in whatever pair of
    languages and on whichever side, case, digits and marks aside, leaves validation or test; so does one of validation
    that occurs in test.

    Args:
        pages: all pages.
        dropped: gains the number of pairs of blocks that were dropped, by reason.
    """
    splits: dict[str, list[Page]] = {split: [] for split in SPLITS}
    for page in pages:
        splits[page.split].append(page)
    taken: set[str] = set()
    for split in ("train", "test", "validation"):
        seen: set[tuple[str, ...]] = set()
        kept: list[Page] = []
        blocks: set[str] = set()
        for page in splits[split]:
            pairs = []
            for source, target in zip(page.source, page.target, strict=True):
                key = _folded(source), _folded(target)
                blocks.update(key)
                if (page.source_language, page.target_language, *key) in seen:
                    dropped[f"repeated in {split}"] += 1
                elif taken.intersection(key):
                    dropped[f"block of {split} that occurs in a split before"] += 1
                else:
                    seen.add((page.source_language, page.target_language, *key))
                    pairs.append((source, target))
            if pairs:
                sources, targets = zip(*pairs, strict=True)
                kept.append(Page(**{**page.__dict__, "source": sources, "target": targets}))
        taken |= blocks
        splits[split] = kept
    return splits


def _folded(text: str) -> str:
    return normalise(MARK.sub("", text))


def write_corpus(folder: Path, splits: dict[str, list[Page]], about: dict[str, Any]) -> dict[str, Any]:
    """Write a file of JSON lines a split, and the manifest.

    Args:
        folder: where to.
        splits: the pages of each split.
        about: what the manifest says about their origin.

    Returns:
        The manifest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {**about, "splits": {}}
    for split, pages in splits.items():
        content = "".join(json.dumps(page.record(), ensure_ascii=False) + "\n" for page in pages).encode()
        (folder / f"{split}.jsonl").write_bytes(content)
        manifest["splits"][split] = {"sha256": hashlib.sha256(content).hexdigest(), "counts": _counts(pages)}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return manifest


def _counts(pages: Sequence[Page]) -> dict[str, dict[str, dict[str, int]]]:
    """Count pages, pairs of blocks and characters, by pair of languages and by origin."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for page in pages:
        pair = f"{page.source_language}-{page.target_language}"
        one = counts.setdefault(pair, {}).setdefault(page.origin, {"pages": 0, "blocks": 0, "characters": 0})
        one["pages"] += 1
        one["blocks"] += len(page.source)
        one["characters"] += sum(map(len, page.source)) + sum(map(len, page.target))
    return counts
