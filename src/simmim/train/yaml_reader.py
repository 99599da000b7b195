"""Reads YAML the way people write it: 1e-3 is a number, and a key given twice is an error with its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from simmim.errors import ConfigError

__all__ = ["parse_yaml", "read_yaml"]


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with two habits of YAML 1.1 mended."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping, refusing a key that was given before."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"expected a name as a key, got {key!r}", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


# YAML 1.1 wants a point in every number with an exponent and reads 1e-3 as text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def parse_yaml(text: str, source: str) -> Any:
    """Parse one YAML document.

    Args:
        text: the document.
        source: what to call it in an error, a path for instance.

    Returns:
        What the document holds: a mapping, a list, a scalar or None.

    Raises:
        ConfigError: it is no YAML, or gives a key twice.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{source}{where}: expected YAML; {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: expected YAML; {' '.join(str(error).split())}") from error


def read_yaml(path: Path) -> Any:
    """Read and parse a YAML file.

    Raises:
        ConfigError: the file cannot be read, or is no YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the recipe: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: expected UTF-8 text, got byte 0x{error.object[error.start]:02x} at {error.start}"
        ) from error
    return parse_yaml(text, str(path))
