"""Load documents with their summaries: a named corpus, built once into the cache, or a file of the user's own."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeAlias

import datasets

from simmim.data.splits import SPLITS, Pair, normalise
from simmim.errors import DataError

__all__ = ["CorpusBuilder", "load_corpus", "load_examples", "load_manifest", "register_corpus"]

# Returns the pairs of each split, and what the manifest says about their origin.
CorpusBuilder: TypeAlias = Callable[[], tuple[Mapping[str, Sequence[Pair]], Mapping[str, object]]]

_BUILDERS: dict[str, CorpusBuilder] = {}


def register_corpus(name: str, builder: CorpusBuilder) -> None:
    """Make a corpus known by name.

    Args:
        name: The name, also of its folder in the cache.
        builder: Called without arguments where the cache does not hold the corpus yet.

    Raises:
        DataError: The name is taken.
    """
    if name in _BUILDERS:
        raise DataError(f"name: a corpus {name!r} is registered already. Choose another name.")
    _BUILDERS[name] = builder


def load_corpus(name: str, cache_dir: str | os.PathLike[str] | None = None) -> datasets.DatasetDict:
    """Load a named corpus; the first call builds it into the cache.

    Args:
        name: A registered corpus, such as `debian-descriptions`.
        cache_dir: The folder that holds one folder a corpus; `$SIMMIM_CACHE` or `~/.cache/simmim` where not given.

    Returns:
        The splits `train`, `validation` and `test`, with the columns `document`, `summary`, `group` and `name`.

    Raises:
        DataError: The name is unknown, the corpus cannot be built, or its folder is damaged.
    """
    folder = _built(name, cache_dir)
    columns = [field.name for field in fields(Pair)]
    return datasets.DatasetDict({split: _read_rows(folder / f"{split}.jsonl", columns) for split in SPLITS})


def load_manifest(name: str, cache_dir: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Load what is recorded about a corpus: its origin, licence, counts and hashes; builds it as `load_corpus` does."""
    manifest: dict[str, Any] = json.loads((_built(name, cache_dir) / "manifest.json").read_text(encoding="utf-8"))
    return manifest


def load_examples(path: str | os.PathLike[str]) -> datasets.Dataset:
    """Load a JSON-lines file of one's own: an object a line, with the texts `document` and `summary`.

    Args:
        path: The file, in UTF-8. Other fields are left out; empty lines are skipped.

    Returns:
        The rows, with the columns `document` and `summary`.

    Raises:
        DataError: The file cannot be read, holds no row, or a row is malformed.
    """
    return _read_rows(Path(path), ["document", "summary"])


def _built(name: str, cache_dir: str | os.PathLike[str] | None) -> Path:
    """Return the folder of a corpus, which is built where it does not exist."""
    if name not in _BUILDERS:
        raise DataError(f"name: expected one of the known corpora {sorted(_BUILDERS)}, got {name!r}.")
    cache = Path(cache_dir or os.environ.get("SIMMIM_CACHE") or Path.home() / ".cache" / "simmim")
    folder = cache / name
    if folder.exists():
        return folder
    splits, origin = _BUILDERS[name]()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=cache, ignore_cleanup_errors=True) as workshop:
        draft = Path(workshop) / name
        draft.mkdir()
        statistics = {split: _write_split(draft / f"{split}.jsonl", splits[split]) for split in SPLITS}
        manifest = {"corpus": name, **origin, "splits": statistics}
        (draft / "manifest.json").write_text(
            json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        try:
            draft.replace(folder)
        except OSError:
            if not folder.exists():  # else another process has built it meanwhile: that one is as good
                raise
    return folder


def _write_split(path: Path, pairs: Sequence[Pair]) -> dict[str, object]:
    """Write the pairs of a split as JSON lines and return what the manifest says of them."""
    content = "".join(json.dumps(asdict(pair), ensure_ascii=False) + "\n" for pair in pairs).encode("utf-8")
    path.write_bytes(content)
    count = max(len(pairs), 1)
    return {
        "pairs": len(pairs),
        "groups": len({pair.group for pair in pairs}),
        "mean_document_words": round(sum(len(pair.document.split()) for pair in pairs) / count, 2),
        "mean_summary_words": round(sum(len(pair.summary.split()) for pair in pairs) / count, 2),
        "summary_occurs_in_document": sum(normalise(pair.summary) in normalise(pair.document) for pair in pairs),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _read_rows(path: Path, columns: Sequence[str]) -> datasets.Dataset:
    """Read the named columns of a JSON-lines file; every value is a text that is not blank."""
    rows: dict[str, list[str]] = {column: [] for column in columns}
    try:
        # utf-8-sig: some editors begin a file with a byte order mark
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    row = _parse_row(line, f"{path}, line {number}", columns)
                    for column in columns:
                        rows[column].append(row[column])
    except OSError as error:
        raise DataError(f"{path}: expected a JSON-lines file, cannot read it ({error}). Check the path.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text in UTF-8, got {error}. Save the file as UTF-8.") from error
    if not rows[columns[0]]:
        raise DataError(f"{path}: expected at least one row, the file is empty.")
    return datasets.Dataset.from_dict(rows)


def _parse_row(line: str, place: str, columns: Sequence[str]) -> dict[str, str]:
    """Parse one line of a JSON-lines file."""
    expected = f"an object with the texts {', '.join(columns)}"
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{place}: expected {expected}, got no valid JSON ({error}).") from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: expected {expected}, got {type(row).__name__}.")
    for column in columns:
        value = row.get(column)
        if not isinstance(value, str) or not value.strip():
            got = ascii(value)[:60] if column in row else f"no such field (fields: {sorted(row)})"
            raise DataError(f"{place}: expected {expected}; `{column}` must be a text that is not blank, got {got}.")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(f"{place}: expected {expected}; `{column}` is no valid Unicode ({error}).") from error
    return row


def _build_debian_descriptions() -> tuple[Mapping[str, Sequence[Pair]], Mapping[str, object]]:
    """Build the corpus of package descriptions; its parser is needed only here."""
    try:
        from simmim.data.debian_descriptions import build
    except ModuleNotFoundError as error:
        raise DataError(
            f"corpus debian-descriptions: expected the package python-debian, which is missing ({error}). "
            f"Install it: pip install python-debian."
        ) from error
    return build()


register_corpus("debian-descriptions", _build_debian_descriptions)
