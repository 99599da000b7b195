"""Load documents with their summaries by the name of a corpus, which is built once into the cache."""

import hashlib
import importlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import datasets

from simmim.data.cache import cache_folder, made_once
from simmim.data.examples import load_examples, read_table
from simmim.data.splits import SPLITS, Pair, normalise
from simmim.errors import DataError

__all__ = [
    "CORPORA",
    "Corpus",
    "CorpusBuilder",
    "load_corpus",
    "load_examples",
    "load_manifest",
    "register_corpus",
]

# Returns the pairs of each split, and what the manifest says about their origin.
CorpusBuilder: TypeAlias = Callable[[], tuple[Mapping[str, Sequence[Pair]], Mapping[str, object]]]


@dataclass(frozen=True)
class Corpus:
    """A corpus that can be built.

    Attributes:
        build: Makes its pairs.
        about: What is summarised, in a line.
    """

    build: CorpusBuilder
    about: str


CORPORA: dict[str, Corpus] = {}


def register_corpus(name: str, builder: CorpusBuilder, about: str = "") -> None:
    """Make a corpus known by name.

    Args:
        name: The name, also of its folder in the cache.
        builder: Called without arguments where the cache does not hold the corpus yet.
        about: What is summarised, in a line.

    Raises:
        DataError: The name is taken.
    """
    if name in CORPORA:
        raise DataError(f"name: a corpus {name!r} is registered already. Choose another name.")
    CORPORA[name] = Corpus(builder, about)


def load_corpus(name: str, cache_dir: str | os.PathLike[str] | None = None) -> datasets.DatasetDict:
    """Load a named corpus; the first call builds it into the cache.

    Args:
        name: A registered corpus, such as `debian-descriptions`.
        cache_dir: The folder that holds one folder a corpus; `$SIMMIM_CACHE` or `~/.cache/simmim` where not given.

    Returns:
        The splits `train`, `validation` and `test`, with the texts `document`, `summary`, `group` and `name`, and the
        truth value `near_duplicate`: whether a document of validation or test is nearly one of a split before it.

    Raises:
        DataError: The name is unknown, the corpus cannot be built, or its folder is damaged.
    """
    folder = _built(name, cache_dir)
    flags = _near_duplicates(folder)
    splits = datasets.DatasetDict()
    for split in SPLITS:
        rows = _read_split(folder, split, cache_dir)
        near = set(flags.get(split, []))
        splits[split] = rows.add_column("near_duplicate", [place in near for place in range(len(rows))])
    return splits


def load_manifest(name: str, cache_dir: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Load what is recorded about a corpus: its origin, licence, counts and hashes; builds it as `load_corpus` does."""
    manifest: dict[str, Any] = json.loads((_built(name, cache_dir) / "manifest.json").read_text(encoding="utf-8"))
    return manifest


def _built(name: str, cache_dir: str | os.PathLike[str] | None) -> Path:
    """Return the folder of a corpus, which is built where it does not exist."""
    if name not in CORPORA:
        raise DataError(f"name: expected one of the known corpora {sorted(CORPORA)}, got {name!r}.")

    def make(draft: Path) -> None:
        splits, origin = CORPORA[name].build()
        statistics = {split: _write_split(draft / f"{split}.jsonl", splits[split]) for split in SPLITS}
        flags = _near_duplicates(draft)
        manifest = {
            "corpus": name,
            **origin,
            "near_duplicates": {split: len(places) for split, places in flags.items()},
            "splits": statistics,
        }
        _write_json(draft / "manifest.json", manifest)

    return made_once(cache_folder(cache_dir) / name, make)


def _near_duplicates(folder: Path) -> dict[str, list[int]]:
    """Return the rows of validation and test that are nearly in a split before them, worked out once."""
    file = folder / "near_duplicates.json"
    if not file.exists():
        from simmim.data.near_duplicates import flag_near_duplicates

        documents = {}
        for split in SPLITS:
            with (folder / f"{split}.jsonl").open(encoding="utf-8") as lines:
                documents[split] = [json.loads(line)["document"] for line in lines]
        draft = folder / f".near_duplicates-{os.getpid()}.json"
        _write_json(draft, flag_near_duplicates(documents))
        draft.replace(file)
    flags: dict[str, list[int]] = json.loads(file.read_text(encoding="utf-8"))
    return flags


def _read_split(folder: Path, split: str, cache_dir: str | os.PathLike[str] | None) -> datasets.Dataset:
    columns = [field.name for field in fields(Pair)]
    return read_table(folder / f"{split}.jsonl", columns, cache_dir=cache_dir)[0]


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


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


def _builder(corpus: str, module: str) -> CorpusBuilder:
    """Return the builder in a module of ours, whose libraries are needed only where a corpus is built."""

    def build() -> tuple[Mapping[str, Sequence[Pair]], Mapping[str, object]]:
        try:
            found = importlib.import_module(f"simmim.data.{module}")
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            package = "python-debian" if missing == "debian" else missing
            raise DataError(
                f"corpus {corpus}: expected the package {package}, which is missing ({error}). "
                f"Install it: pip install {package}."
            ) from error
        return found.build()

    return build


for _name, _module, _about in (
    ("debian-descriptions", "debian_descriptions", "the description of a Debian package -> its synopsis"),
    ("man-pages", "man_pages", "a manual page -> the description in its NAME section"),
    ("python-docstrings", "python_docstrings", "a Python module -> its docstring"),
    ("rfc-abstracts", "rfc_abstracts", "an RFC -> its abstract"),
):
    register_corpus(_name, _builder(_name, _module), _about)
