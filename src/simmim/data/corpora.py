"""Load documents, with summaries or without, or conversations by the name of a corpus, from the cache.

A corpus gets there when a builder that is registered makes it, once, or when a tool such as `python -m lab.corpora` has
built it before.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import datasets

from simmim.atomic import replaced_path
from simmim.data.cache import cache_folder, made_once
from simmim.data.columns import Column, ConversationColumn
from simmim.data.examples import load_examples, read_table
from simmim.data.splits import SPLITS, Pair, Row
from simmim.errors import DataError, SimMIMError, is_full

__all__ = [
    "CORPORA",
    "Corpus",
    "CorpusBuilder",
    "load_corpus",
    "load_examples",
    "load_manifest",
    "register_corpus",
]

# Returns the rows of each split (`Pair`, `Text`, `Conversation`), and what the manifest says about their origin.
CorpusBuilder: TypeAlias = Callable[[], tuple[Mapping[str, Sequence[Row]], Mapping[str, object]]]


@dataclass(frozen=True)
class Corpus:
    """A corpus that can be built.

    Attributes:
        build: Makes its rows.
        about: What it holds, in a line.
        redistributable: Whether its texts, and weights that have learnt from them, may be passed on.
    """

    build: CorpusBuilder
    about: str
    redistributable: bool = True


CORPORA: dict[str, Corpus] = {}


def register_corpus(name: str, builder: CorpusBuilder, about: str = "", *, redistributable: bool = True) -> None:
    """Make a corpus known by name.

    Args:
        name: The name, also of its folder in the cache.
        builder: Called without arguments where the cache does not hold the corpus yet.
        about: What it holds, in a line.
        redistributable: Whether its texts, and weights that have learnt from them, may be passed on; the manifest says
            so.

    Raises:
        DataError: The name is taken.
    """
    if name in CORPORA:
        raise DataError(f"name: a corpus {name!r} is registered already. Choose another name.")
    CORPORA[name] = Corpus(builder, about, redistributable)


def load_corpus(name: str, cache_dir: str | os.PathLike[str] | None = None) -> datasets.DatasetDict:
    """Load a named corpus; the first call builds a registered one into the cache.

    Args:
        name: A corpus that is registered or built, such as `debian-descriptions`.
        cache_dir: The folder that holds one folder a corpus; `$SIMMIM_CACHE` or `~/.cache/simmim` where not given.

    Returns:
        The splits `train`, `validation` and `test`, with the texts `document` and `summary`, or `text`, or the
        conversation `messages`, and `group` and `name`, and the truth value `near_duplicate`: whether a document of
        validation or test is nearly one of a split before it.

    Raises:
        DataError: The name is unknown, the corpus cannot be built, or its folder is damaged.
    """
    folder = _built(name, cache_dir)
    with _damage_named(folder):
        return _load(folder, load_manifest(name, cache_dir), cache_dir)


def _load(folder: Path, manifest: Mapping[str, Any], cache_dir: str | os.PathLike[str] | None) -> datasets.DatasetDict:
    flags = _near_duplicates(folder)
    splits = datasets.DatasetDict()
    for split in SPLITS:
        rows, report = read_table(folder / f"{split}.jsonl", _columns(folder), cache_dir=cache_dir)
        if report.sha256 != manifest["splits"][split].get("sha256", report.sha256):
            raise ValueError(f"{split}.jsonl is not what manifest.json says")
        near = set(flags.get(split, []))
        splits[split] = rows.add_column("near_duplicate", [place in near for place in range(len(rows))])
    return splits


def load_manifest(name: str, cache_dir: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Load what is recorded about a corpus: its origin, licence, counts and hashes; builds it as `load_corpus` does."""
    folder = _built(name, cache_dir)
    with _damage_named(folder):
        manifest: dict[str, Any] = dict(json.loads((folder / "manifest.json").read_text(encoding="utf-8")))
    return manifest


def _built(name: str, cache_dir: str | os.PathLike[str] | None) -> Path:
    """Return the folder of a corpus, which is built where it does not exist."""
    cache = cache_folder(cache_dir)
    if name not in CORPORA:
        built = sorted(manifest.parent.name for manifest in cache.glob("*/manifest.json"))
        if name in built:
            return cache / name
        known = ", ".join(sorted({*CORPORA, *built})) or "there is none"
        raise DataError(
            f"name: expected a corpus that is registered or built ({known}), "
            f"got {name!r}; the source repository of SimMIM builds its own: python -m lab.corpora build {name}"
        )

    def make(draft: Path) -> None:
        splits, origin = CORPORA[name].build()
        statistics = {split: _write_split(draft / f"{split}.jsonl", splits[split]) for split in SPLITS}
        flags = _near_duplicates(draft)
        manifest = {
            "corpus": name,
            "redistributable": CORPORA[name].redistributable,
            **origin,
            "near_duplicates": {split: len(places) for split, places in flags.items()},
            "splits": statistics,
        }
        _write_json(draft / "manifest.json", manifest)

    return made_once(cache / name, make)


def _near_duplicates(folder: Path) -> dict[str, list[int]]:
    """Return the rows of validation and test that are nearly in a split before them, worked out once."""
    file = folder / "near_duplicates.json"
    if not file.exists():
        from simmim.data.near_duplicates import flag_near_duplicates

        documents, column = {}, _columns(folder)[0]
        for split in SPLITS:
            with (folder / f"{split}.jsonl").open(encoding="utf-8") as lines:
                values = [json.loads(line)[column.name] for line in lines]
            documents[split] = ["\n".join(column.texts(value)) for value in values]
        with replaced_path(file) as draft:
            _write_json(draft, flag_near_duplicates(documents))
    flags: dict[str, list[int]] = json.loads(file.read_text(encoding="utf-8"))
    return flags


@contextmanager
def _damage_named(folder: Path) -> Iterator[None]:
    """Turn whatever a damaged corpus in the cache raises into one clear error."""
    try:
        yield
    except SimMIMError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, OSError) and is_full(error):
            raise
        raise DataError(
            f"{folder}: the corpus in the cache is damaged ({type(error).__name__}: {error}). Delete the folder, and "
            "it is built anew."
        ) from error


def _columns(folder: Path) -> list[Column]:
    """Return the columns of a corpus, that of the documents first."""
    for split in SPLITS:
        with (folder / f"{split}.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                return [
                    Column(name) if isinstance(value, str) else ConversationColumn(name)
                    for name, value in json.loads(line).items()
                ]
    return [Column(field.name) for field in fields(Pair)]


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_split(path: Path, rows: Sequence[Any]) -> dict[str, object]:
    """Write the rows of a split as JSON lines and return what the manifest says of them."""
    content = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows).encode("utf-8")
    path.write_bytes(content)
    kind = type(rows[0]) if rows else Pair
    return {**kind.describe(rows), "sha256": hashlib.sha256(content).hexdigest()}
