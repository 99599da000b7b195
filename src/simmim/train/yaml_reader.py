"""Reads the subset of YAML for recipes; anything else is an error with its line."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from simmim.errors import ConfigError
from simmim.files import open_regular

__all__ = ["parse_yaml", "read_yaml"]

_DEEPEST = 32  # maximum nesting of sections and lists
_NODES = 100_000  # maximum number of values, with aliases expanded
_BYTES = 1_000_000
_LARGEST = 2**63 - 1


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without the surprising types of YAML 1.1."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012  # as PyYAML declares it

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping; refuse duplicate keys."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _refused(key_node, f"expected a name as a key, got {key!r:.60}")
            if key == "<<":
                raise _refused(key_node, "merge keys (<<) are not read; write the settings out")
            if key in seen:
                raise _refused(key_node, f"key {key!r:.60} is given twice")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Build an integer of at most 64 bits."""
        digits = self.construct_scalar(node).replace("_", "")
        value = int(digits, 16) if "0x" in digits.lower() else int(digits) if len(digits) < 40 else _LARGEST + 1
        if abs(value) > _LARGEST:
            raise _refused(node, f"expected a whole number of at most 64 bits, got {digits[:40]}")
        return value

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        """Build a finite number."""
        text = self.construct_scalar(node).replace("_", "").lower()
        value = math.nan if "." in text and text.strip("+-.") in ("inf", "nan") else float(text)
        if not math.isfinite(value):
            raise _refused(node, f"expected a finite number, got {text[:40]}")
        return value

    def construct_yaml_str(self, node: yaml.ScalarNode) -> str:
        """Build a text without control characters and surrogates."""
        text = str(self.construct_scalar(node))
        bad = next((one for one in text if (one < " " and one not in "\t\n") or "\ud800" <= one <= "\udfff"), None)
        if bad is not None or "\x7f" in text:
            raise _refused(node, f"expected a text without control characters, got {(bad or chr(127))!r}")
        return text


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)
_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.construct_yaml_str)
# YAML 1.1 reads 1e-3 as text (for want of a point), 010 as 8, 1:30 as 90 and 2024-01-01 as a date. Here the first is a
# number and the others are texts.
for _tag, _pattern, _first in (
    ("bool", r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", "yYnNtTfFoO"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?([0-9]+(_[0-9]+)*\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|"
        r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def parse_yaml(text: str, source: str) -> Any:
    """Parse one YAML document.

    Returns:
        A mapping, a list, a scalar or None. Numbers are finite; integers have at most 64 bits.

    Raises:
        ConfigError: it is not YAML, repeats a key, or has what recipes do not support: tags, merge keys, control
            characters, or deep nesting.
    """
    try:
        _check_size(text)
        return yaml.load(text, Loader=_Loader)  # a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{source}{where}: expected YAML; {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{source}, line {line}: expected YAML; the character U+{error.character:04X} is not allowed"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: expected YAML; {' '.join(str(error).split())}") from error


def read_yaml(path: Path) -> Any:
    """Read and parse a YAML file.

    Raises:
        ConfigError: the file cannot be read, or is not YAML.
    """
    try:
        with open_regular(path) as stream:
            content = stream.read(_BYTES + 1)
        text = content.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the recipe: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}, line {line}: expected UTF-8 text, got byte 0x{error.object[error.start]:02x} at {error.start}"
        ) from error
    if len(content) > _BYTES:
        raise ConfigError(f"{path}: expected a recipe of at most {_BYTES:,} bytes; name a recipe")
    return parse_yaml(text, str(path))


def _refused(node: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _check_size(text: str) -> None:
    """Refuse tags, and nesting and aliases beyond the limits, from the parser's events before anything is loaded."""
    sizes: dict[str, int] = {}  # number of values under each anchor, with aliases expanded
    opened: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        anchor = getattr(event, "anchor", None)
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise _refused(event, f"tags such as {tag:.60} are not read; write the value alone")
        if isinstance(event, yaml.AliasEvent):
            if anchor not in sizes:  # an alias inside its own anchor, which has not ended yet
                raise _refused(event, f"the alias *{anchor:.60} has no anchor before it, or is inside it")
            total += sizes[anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append((anchor, total))
            total += 1
            if len(opened) > _DEEPEST:
                raise _refused(event, f"expected at most {_DEEPEST} sections within each other")
        elif isinstance(event, yaml.CollectionEndEvent):
            name, start = opened.pop()
            if name is not None:
                sizes[name] = total - start
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if anchor is not None:
                sizes[anchor] = 1
        if total > _NODES:
            raise _refused(event, f"expected at most {_NODES:,} values, aliases included")
