"""Package lists to pairs: the parser on small lists of invented packages, and once on the real ones."""

from collections import Counter
from pathlib import Path

import pytest

from lab.corpora import debian_descriptions
from lab.corpora.apt import AptIndex
from lab.corpora.debian_descriptions import build, clean_description, read_pairs
from simmim.data.corpora import load_corpus, load_manifest
from simmim.data.splits import SPLITS, Pair, normalise
from simmim.errors import DataError

FIXTURES = Path(__file__).parents[3] / "fixtures" / "debian"
SYSTEM_LISTS = Path("/var/lib/apt/lists")


def index(kind: str, path: str) -> AptIndex:
    content = (FIXTURES / Path(path).name).read_bytes()
    return AptIndex(kind, "Debian", "woodland", "99.1", "Sat, 03 Jan 2099 10:00:00 UTC", "main", path, content)


INDEXES = [index("Packages", "main/binary-amd64/Packages"), index("Translations", "main/i18n/Translation-en")]


def test_reads_the_pairs_of_a_release_and_counts_what_it_drops() -> None:
    dropped: Counter[str] = Counter()

    alder, birch, birch_doc = read_pairs(INDEXES, dropped)

    assert (alder.name, alder.group) == ("alder", "alder")
    assert alder.summary == "turns rivers into paper boats"
    assert birch == Pair(
        document="Birch draws the rings of a tree, year by year.",
        summary="draws the rings of a tree",
        group="birch-tools",
        name="birch",
    )
    assert (birch_doc.name, birch_doc.group) == ("birch-doc", "birch-tools")
    assert dropped == {
        "package listed again": 1,
        "empty document": 1,
        "empty summary": 1,
        "no English long description": 1,
    }


def test_joins_wrapped_lines_and_keeps_lists() -> None:
    alder = next(read_pairs(INDEXES, Counter()))

    assert alder.document == (
        "Alder folds the map of a river until it floats. It knows “every” fold:\n"
        " * the valley fold, which\n"
        "   needs a valley\n"
        " * the mountain fold\n"
        "and is quick about it.\n"
        "\n"
        "A second paragraph names 2 boats.\n"
        "\n"
        " $ alder --boat   paper"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("only a synopsis", ("only a synopsis", "")),
        ("s\n one\n two", ("s", "one two")),
        ("s\n .\n one\n .\n .\n two\n .", ("s", "one\n\ntwo")),
        ("s\n one  \n  two  \n three", ("s", "one\n two\nthree")),
        ("s\n \ttabbed\n one", ("s", "\ttabbed\none")),
        ("s\n .hidden\n one.", ("s", ".hidden one.")),
        ("s\n one\u2028two\x85three", ("s", "one two three")),
    ],
)
def test_cleans_a_description(text: str, expected: tuple[str, str]) -> None:
    assert clean_description(text) == expected


def test_records_where_the_pairs_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian_descriptions, "fetch_indexes", lambda *_, **__: INDEXES)

    splits, origin = build()

    assert sorted(pair.name for split in SPLITS for pair in splits[split]) == ["alder", "birch"]
    assert origin["packages_read"] == 7
    assert origin["dropped"] == {
        "package listed again": 1,
        "empty document": 1,
        "empty summary": 1,
        "no English long description": 1,
        "exact duplicate pair": 1,
    }
    assert origin["releases"] == [
        {"origin": "Debian", "codename": "woodland", "version": "99.1", "date": "Sat, 03 Jan 2099 10:00:00 UTC"}
    ]
    assert origin["indexes"] == [{"codename": "woodland", "path": item.path, "sha256": item.sha256} for item in INDEXES]
    assert "debian/control" in str(origin["licence"])


def test_says_that_no_package_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian_descriptions, "fetch_indexes", lambda *_, **__: INDEXES[:1])

    with pytest.raises(DataError, match=r"expected packages with a description, found none.*long description': 6"):
        build()


@pytest.mark.slow
def test_builds_the_real_corpus(tmp_path: Path) -> None:
    def system_lists() -> list[tuple[str, int]]:
        return sorted((path.name, path.stat().st_mtime_ns) for path in SYSTEM_LISTS.glob("*"))

    before = system_lists()
    corpus = load_corpus("debian-descriptions", tmp_path)
    manifest = load_manifest("debian-descriptions", tmp_path)

    assert system_lists() == before
    counts = {split: len(corpus[split]) for split in SPLITS}
    assert counts == {split: manifest["splits"][split]["pairs"] for split in SPLITS}
    assert sum(counts.values()) > 50_000
    assert sum(counts.values()) + sum(manifest["dropped"].values()) == manifest["packages_read"]
    for split in ("validation", "test"):
        assert counts[split] / sum(counts.values()) == pytest.approx(0.05, abs=0.01)
        assert 4 < manifest["splits"][split]["mean_summary_words"] < 10
        assert 30 < manifest["splits"][split]["mean_document_words"] < 90
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not set(corpus[first]["group"]) & set(corpus[second]["group"])
        documents = [{normalise(document) for document in corpus[split]["document"]} for split in (first, second)]
        assert not documents[0] & documents[1]
