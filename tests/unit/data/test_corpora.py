"""Named corpora are built once, whole or not at all."""

import json
import sys
from pathlib import Path

import pytest

import lab.corpora  # noqa: F401  (registers the project's corpora)
from simmim.data import corpora
from simmim.data.corpora import load_corpus, load_manifest, register_corpus
from simmim.data.splits import Pair
from simmim.errors import DataError

SPLITS = {
    "train": [Pair("A Tree is\n\ntall – 樹", "a tree", "g1", "n1"), Pair("the sea", "wide", "g1", "n2")],
    "validation": [Pair("a hill of 3 stones", "hill of 2 stones", "g2", "n3")],
    "test": [Pair("a hill of 3 stones", "HILL  of 2 stones", "g3", "n4")],
}


def pair_of(row: dict[str, object]) -> Pair:
    return Pair(**{key: value for key, value in row.items() if key != "near_duplicate"})


class Builder:
    """Count how often a corpus is built."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> tuple[dict[str, list[Pair]], dict[str, object]]:
        self.calls += 1
        return SPLITS, {"licence": "none at all"}


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Builder:
    """Register a corpus `trees` for the length of a test."""
    monkeypatch.setattr(corpora, "CORPORA", {})
    builder = Builder()
    register_corpus("trees", builder)
    return builder


def test_builds_a_corpus_once_and_reads_it_afterwards(builder: Builder, tmp_path: Path) -> None:
    first = load_corpus("trees", tmp_path)
    second = load_corpus("trees", tmp_path)

    assert builder.calls == 1
    for corpus in (first, second):
        assert list(corpus) == ["train", "validation", "test"]
        assert corpus["train"].column_names == ["document", "summary", "group", "name", "near_duplicate"]
        assert [pair_of(row) for row in corpus["train"]] == SPLITS["train"]
        assert [pair_of(row) for row in corpus["test"]] == SPLITS["test"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["examples", "trees"]


def test_the_cache_is_where_the_environment_says(
    builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SIMMIM_CACHE", str(tmp_path / "named"))
    load_corpus("trees")
    assert (tmp_path / "named" / "trees" / "train.jsonl").exists()

    monkeypatch.delenv("SIMMIM_CACHE")
    load_corpus("trees")
    assert (tmp_path / "home" / ".cache" / "simmim" / "trees" / "train.jsonl").exists()


def test_the_manifest_describes_each_split(builder: Builder, tmp_path: Path) -> None:
    manifest = load_manifest("trees", tmp_path)

    assert (manifest["corpus"], manifest["licence"]) == ("trees", "none at all")
    assert {key: value for key, value in manifest["splits"]["train"].items() if key != "sha256"} == {
        "pairs": 2,
        "groups": 1,
        "mean_document_words": 4.0,  # (6 + 2) / 2
        "mean_summary_words": 1.5,
        "summary_occurs_in_document": 1,  # as "A Tree"
    }
    assert manifest["splits"]["test"]["summary_occurs_in_document"] == 1  # case, spaces and digits aside
    assert manifest["splits"]["train"]["sha256"] != manifest["splits"]["test"]["sha256"]


def test_a_build_that_fails_leaves_nothing(builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_no_manifest(*_: object, **__: object) -> str:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(json, "dumps", write_no_manifest)
        with pytest.raises(OSError, match="disk full"):
            load_corpus("trees", tmp_path)

    assert list(tmp_path.iterdir()) == []
    assert len(load_corpus("trees", tmp_path)["train"]) == 2


def test_takes_the_corpus_that_another_process_built_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora, "CORPORA", {})
    builder = Builder()

    def slow_builder() -> tuple[dict[str, list[Pair]], dict[str, object]]:
        if not (tmp_path / "trees").exists():
            monkeypatch.setitem(corpora.CORPORA, "trees", corpora.Corpus(builder, ""))
            load_corpus("trees", tmp_path)
        return SPLITS, {"licence": "of the slow one"}

    register_corpus("trees", slow_builder)

    assert len(load_corpus("trees", tmp_path)["train"]) == 2
    assert load_manifest("trees", tmp_path)["licence"] == "none at all"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["examples", "trees"]


def test_names_the_known_corpora(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"registered or built \(.*debian-descriptions, .*man-pages, .*\), got 'debian-description'; .*"
    ):
        load_corpus("debian-description", tmp_path)


def test_a_built_corpus_is_found_without_its_builder(
    builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_corpus("trees", tmp_path)
    monkeypatch.setattr(corpora, "CORPORA", {})

    assert len(load_corpus("trees", tmp_path)["train"]) == 2
    assert load_manifest("trees", tmp_path)["licence"] == "none at all"
    for name in ("examples", "../trees", str(tmp_path / "trees"), ""):
        with pytest.raises(DataError, match="python -m lab.corpora build"):
            load_corpus(name, tmp_path)


def test_a_name_is_registered_once(builder: Builder) -> None:
    with pytest.raises(DataError, match="'trees' is registered already"):
        register_corpus("trees", builder)


def test_says_which_package_the_debian_corpus_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("lab.corpora.debian_descriptions", "lab.corpora.apt"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "debian.deb822", None)

    with pytest.raises(DataError, match="pip install python-debian"):
        load_corpus("debian-descriptions", tmp_path)


def test_flags_rows_that_are_nearly_in_an_earlier_split(builder: Builder, tmp_path: Path) -> None:
    corpus = load_corpus("trees", tmp_path)

    assert [split["near_duplicate"][:] for split in corpus.values()] == [[False, False], [False], [True]]
    assert load_manifest("trees", tmp_path)["near_duplicates"] == {"validation": 0, "test": 1}


def test_a_corpus_that_was_built_without_flags_gets_them(builder: Builder, tmp_path: Path) -> None:
    load_corpus("trees", tmp_path)
    (tmp_path / "trees" / "near_duplicates.json").unlink()

    assert load_corpus("trees", tmp_path)["test"]["near_duplicate"][:] == [True]
    assert builder.calls == 1
