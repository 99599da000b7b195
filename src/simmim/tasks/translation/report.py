"""Looks for what is wrong with translated pages: lengths that do not fit, untranslated and misaligned blocks."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from simmim.tasks.translation.faults import missing_numbers
from simmim.tasks.translation.marks import MARK
from simmim.tasks.translation.pages import Page

__all__ = ["PagesReport", "check_pages"]

_FAR = math.log(3)  # a block whose length ratio is three times, or a third of, the median is an outlier
_SHORT = 20  # characters: below, the ratio says little
_RUN = 4  # so many neighbours that lack numbers or marks are likely shifted against each other


@dataclass
class PagesReport:
    """What was found in the pages of one pair of languages.

    Attributes:
        pages: how many.
        source_lengths: characters of each source block.
        target_lengths: characters of each translation.
        faults: how many blocks have each fault.
        positions: the first blocks that have it.
    """

    pages: int = 0
    source_lengths: list[int] = field(default_factory=list)
    target_lengths: list[int] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    positions: dict[str, list[str]] = field(default_factory=dict)

    def add(self, fault: str, position: str) -> None:
        """Count a block with a fault."""
        self.faults[fault] += 1
        positions = self.positions.setdefault(fault, [])
        if len(positions) < 3:
            positions.append(position)


def check_pages(pages: Iterable[Page]) -> dict[str, PagesReport]:
    """Read pages from beginning to end and look for blocks that are no translations of each other.

    Args:
        pages: the pages.

    Returns:
        A report for each direction, such as `en-fr`. Faults are: `blank`; `untranslated` (the same on both sides);
        `length ratio` (three times the median of the direction, or a third); `marks differ`; `numbers differ`;
        `repeated`; `misaligned` (four blocks in a row whose numbers or marks differ).
    """
    kept = list(pages)
    ratios = _median_ratios(kept)
    reports: dict[str, PagesReport] = {}
    seen: set[tuple[str, str, str]] = set()
    for page in kept:
        direction = f"{page.source_language}-{page.target_language}"
        report = reports.setdefault(direction, PagesReport())
        report.pages += 1
        run = 0
        for number, (source, target) in enumerate(zip(page.source, page.target, strict=True), start=1):
            position = f"{page.name} block {number}"
            report.source_lengths.append(len(source))
            report.target_lengths.append(len(target))
            faults = _faults(source, target, ratios[direction])
            if (direction, source, target) in seen:
                faults.append("repeated")
            seen.add((direction, source, target))
            run = run + 1 if {"marks differ", "numbers differ"}.intersection(faults) else 0
            if run == _RUN:
                faults.append("misaligned")
            for fault in faults:
                report.add(fault, position)
    return reports


def _median_ratios(pages: Iterable[Page]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for page in pages:
        ratios = found.setdefault(f"{page.source_language}-{page.target_language}", [])
        for source, target in zip(page.source, page.target, strict=True):
            if min(len(source), len(target)) > 0 and max(len(source), len(target)) >= _SHORT:
                ratios.append(math.log(len(target) / len(source)))
    return {direction: statistics.median(ratios) if ratios else 0.0 for direction, ratios in found.items()}


def _faults(source: str, target: str, ratio: float) -> list[str]:
    if not source.strip() or not target.strip():
        return ["blank"]
    faults = []
    if source.strip() == target.strip() and any(map(str.isalpha, MARK.sub("", source))):
        faults.append("untranslated")
    if max(len(source), len(target)) >= _SHORT and abs(math.log(len(target) / len(source)) - ratio) > _FAR:
        faults.append("length ratio")
    if sorted(MARK.findall(source)) != sorted(MARK.findall(target)):
        faults.append("marks differ")
    if missing_numbers(source, target) or missing_numbers(target, source):
        faults.append("numbers differ")
    return faults
