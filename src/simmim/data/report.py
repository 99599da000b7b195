"""Counts the rows of a file, the broken ones by reason and with their first positions."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["RowReport"]

_POSITIONS = 10


@dataclass
class RowReport:
    """What was found in a source of rows.

    Attributes:
        source: The file, folder or dataset.
        rows: How many rows are whole.
        broken: How many are not, by reason.
        positions: The first ten positions of each reason.
        first: The first broken row, in a sentence; empty where there is none.
        bytes: The size of the source when it was read.
        sha256: Its digest.
        table_sha256: The digest of the table that its rows were written into.
    """

    source: str
    rows: int = 0
    broken: dict[str, int] = field(default_factory=dict)
    positions: dict[str, list[str]] = field(default_factory=dict)
    first: str = ""
    bytes: int = 0
    sha256: str = ""
    table_sha256: str = ""

    @property
    def total_broken(self) -> int:
        """Return how many rows are broken."""
        return sum(self.broken.values())

    def add_broken(self, position: str, reason: str, message: str) -> None:
        """Count a broken row.

        Args:
            position: Where it stands in the source.
            reason: Why it is broken, in a few words: rows are counted by it.
            message: What was expected and what came.
        """
        self.first = self.first or f"{self.source}, {position}: {message}"
        self.broken[reason] = self.broken.get(reason, 0) + 1
        positions = self.positions.setdefault(reason, [])
        if len(positions) < _POSITIONS:
            positions.append(position)

    def __str__(self) -> str:
        reasons = "; ".join(
            f"{reason}: {count:,} ({', '.join(self.positions[reason])}{', …' if count > _POSITIONS else ''})"
            for reason, count in self.broken.items()
        )
        return f"{self.total_broken:,} of {self.rows + self.total_broken:,} rows are broken: {reasons or 'none'}"

    def save(self, path: Path) -> None:
        """Write the report as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "RowReport":
        """Read a report that `save` wrote."""
        content: Mapping[str, object] = json.loads(path.read_text(encoding="utf-8"))
        return cls(**content)  # type: ignore[arg-type]  # as it was written
