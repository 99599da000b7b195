"""What the benchmarks of quality, which run in several sittings, do with their options."""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from simmim.errors import ConfigError

__all__ = ["given_options", "held_data", "refuse_below"]


def refuse_below(parser: argparse.ArgumentParser, arguments: argparse.Namespace, *free: str) -> None:
    """Refuse numbers that are not above 0, but in the options that are free to have any."""
    for name, value in vars(arguments).items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int | float) and name not in free and one <= 0:
                parser.error(f"--{name.replace('_', '-')}: expected more than 0, got {one}")


def held_data(known: Path, settings: dict[str, Any], made: str) -> dict[str, Any] | None:
    """Return what is known of the data in a folder that an earlier sitting made; None if none did.

    Args:
        known: the file in which it was written.
        settings: what the folder depends on.
        made: how an error says what is in the folder, with {} for its name: "the cells in {} were made with".

    Raises:
        ConfigError: the folder was made with other settings.
    """
    if not known.exists():
        return None
    held: dict[str, Any] = json.loads(known.read_text(encoding="utf-8"))
    for name, value in settings.items():
        before = held["settings"].get(name)
        if before != value:
            raise ConfigError(
                f"--{name.replace('_', '-')}: {made.format(known.parent)} {before!r}, got {value!r}; "
                "pass the same, or another --work"
            )
    data: dict[str, Any] = held["data"]
    return data


def given_options(arguments: argparse.Namespace, without: Collection[str]) -> list[str]:
    """Return all options that results depend on, said or not."""
    given = []
    for name, value in vars(arguments).items():
        if name not in without and value is not None:
            values = value if isinstance(value, list) else [value]
            given += [
                f"--{name.replace('_', '-')}",
                *(f"{one:g}" if isinstance(one, float) else str(one) for one in values),
            ]
    return given
