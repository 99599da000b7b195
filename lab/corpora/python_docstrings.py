"""Builds the corpus 'Python module -> its docstring' from the standard library and from wheels that pip fetches."""

import ast
import email
import hashlib
import logging
import platform
import re
import sysconfig
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lab.corpora.cleaning import fit_pairs, split_cleanly
from lab.corpora.pip_packages import download
from lab.corpora.sources import PYTHON_WHEELS
from simmim.data.splits import Pair

__all__ = ["build", "cut_docstring"]

logger = logging.getLogger(__name__)

LICENCE = "The standard library is under the PSF licence, each wheel under the permissive one that `packages` names."
# What some packages begin and end every docstring with: the module's name as a heading, and whose it is.
_HEADING = re.compile(r"\A[\w.]+\n[~=*-]{3,}\n+")
_OWNER = re.compile(r"^:(copyright|license|licence|authors?):.*(\n[ \t]+\S.*)*\n?", flags=re.MULTILINE | re.IGNORECASE)
# Wheels that any machine can read.
_ANYWHERE = "--only-binary=:all: --platform any --implementation py --abi none --python-version 3.11".split()
_FOLDERS = ("test", "tests", "site-packages", "dist-packages", "__pycache__", "_vendor", "vendor", "vendored")


def build() -> tuple[dict[str, list[Pair]], dict[str, object]]:
    """Fetch the wheels and make the corpus.

    Returns:
        The pairs of each split, and what the manifest says about their origin.

    Raises:
        DataError: pip cannot fetch the wheels.
    """
    dropped: Counter[str] = Counter()
    raw = list(_pairs_of("cpython", _standard_library(), dropped))
    entries: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="simmim-pip-") as folder:
        logger.info("downloading %d wheels", len(PYTHON_WHEELS))
        download(PYTHON_WHEELS, Path(folder), *_ANYWHERE)
        for path in sorted(Path(folder).glob("*.whl")):
            with zipfile.ZipFile(path) as wheel:
                entry = _describe(path, wheel)
                logger.info("reading %s", entry["name"])
                raw += _pairs_of(str(entry["name"]), _modules(wheel), dropped)
            entries.append(entry)
    read = len(raw) + dropped.total()
    splits = split_cleanly(fit_pairs(raw, dropped, summary_words=5, document_words=50), dropped)
    return splits, {
        "fetched_by": f"pip download; the standard library of {platform.python_implementation()}",
        "python": platform.python_version(),
        "licence": LICENCE,
        "modules_read": read,
        "dropped": dict(dropped),
        "packages": entries,
    }


def cut_docstring(source: bytes) -> tuple[str, str] | None:
    """Cut the docstring out of a module.

    Args:
        source: The module.

    Returns:
        The module without its docstring but otherwise as it was, and the docstring without its margin, a heading that
        is the module's name, and fields that name its owner and licence; None where the module has none.

    Raises:
        ValueError: It is no module of the running Python (a SyntaxError is one, too).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that Python will refuse one day
        try:
            module = ast.parse(source)
        except (SyntaxError, RecursionError, MemoryError) as error:
            raise ValueError(str(error)) from error
    docstring = ast.get_docstring(module)
    if docstring is None:
        return None
    # ast counts lines and bytes of the source as the parser reads it: in UTF-8, with newlines
    text = _decode(source)
    lines = text.encode("utf-8").splitlines(keepends=True)
    node = module.body[0]
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    before = b"".join(lines[: node.lineno - 1]) + lines[node.lineno - 1][: node.col_offset]
    after = lines[node.end_lineno - 1][node.end_col_offset :] + b"".join(lines[node.end_lineno :])
    return (before + after.lstrip(b"; \t")).decode("utf-8").strip("\n"), _OWNER.sub(
        "", _HEADING.sub("", docstring)
    ).strip()


def _decode(source: bytes) -> str:
    """Decode a module as Python does: by its coding line, without a byte order mark, with newlines."""
    import io
    import tokenize

    encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    return source.decode(encoding).replace("\r\n", "\n").replace("\r", "\n").replace("\f", " ")


def _standard_library() -> Iterator[tuple[str, bytes]]:
    """Yield name and source of the standard library's modules, its tests left out."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if not set(name.parts[:-1]) & set(_FOLDERS):
            yield str(name), path.read_bytes()


def _modules(wheel: zipfile.ZipFile) -> Iterator[tuple[str, bytes]]:
    """Yield name and source of a wheel's modules, tests and the copies of other packages left out."""
    for name in sorted(wheel.namelist()):
        if name.endswith(".py") and not set(name.split("/")[:-1]) & set(_FOLDERS):
            yield name, wheel.read(name)


def _pairs_of(group: str, modules: Iterator[tuple[str, bytes]], dropped: Counter[str]) -> Iterator[Pair]:
    for name, source in modules:
        try:
            parts = cut_docstring(source)
        except (ValueError, LookupError):
            dropped["not a module of this Python"] += 1
            continue
        if parts is None:
            dropped["no docstring"] += 1
        else:
            yield Pair(*parts, group=group, name=f"{group}/{name}")


def _describe(path: Path, wheel: zipfile.ZipFile) -> dict[str, object]:
    """Return what the manifest says about a wheel."""
    metadata = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    fields = email.message_from_bytes(wheel.read(metadata))
    classifiers = [
        line.rpartition(" :: ")[2] for line in fields.get_all("Classifier", []) if line.startswith("License")
    ]
    licence = fields["License-Expression"] or ", ".join(classifiers) or (fields["License"] or "unknown").split("\n")[0]
    return {
        "name": fields["Name"],
        "version": fields["Version"],
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "licence": licence,
    }
