"""Man pages, RFCs and Python modules to pairs, on invented ones: the target never occurs in the input."""

import gzip
import shutil
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from lab.corpora import apt_packages, man_pages, pip_packages, python_docstrings, rfc_abstracts
from lab.corpora.man_pages import read_page, render
from lab.corpora.python_docstrings import cut_docstring
from lab.corpora.rfc_abstracts import cut_abstract
from lab.corpora.sources import MAN_PAGES, PYTHON_WHEELS, RFC_PACKAGES
from simmim.data.corpora import load_corpus, load_manifest
from simmim.data.splits import SPLITS, normalise, split_of
from simmim.errors import DataError

GROUPS = {split_of(f"source{n}"): f"source{n}" for n in range(200)}


def words(start: int, count: int) -> str:
    return " ".join("w" + "".join(chr(ord("a") + int(d)) for d in str(n)) for n in range(start, start + count))


PAGE = r""".\" A comment
.TH FOLD 1 2099-01-03 "Paper tools" "Origami Manual"
.SH NAME
fold, unfold \- make boats
of paper
.SH SYNOPSIS
.B fold
.RI [ sheet ]
.SH DESCRIPTION
Fold can
.I make boats of paper.
It is quick. %s
.SS Sheets
.nf
  one
    two
.fi
"""

NEEDS_MANDOC = pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")


@NEEDS_MANDOC
def test_renders_a_page_and_takes_its_description_out() -> None:
    text = render((PAGE % words(0, 400)).encode())
    assert text is not None
    parts = read_page(text)
    assert parts is not None
    document, description = parts

    assert description == "make boats of paper"
    assert document == (
        f"SYNOPSIS\n  fold [sheet]\n\nDESCRIPTION\n  It is quick. {words(0, 400)}\n\n Sheets\n    one\n      two"
    )
    assert "\x08" not in text
    assert "Origami" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NAME\n  ls – list files\n\nREST\n  of it\n", ("REST\n  of it", "list files")),
        ("FIRST\nNAME\n  ls -- list\n    all-files - fast\n\nREST\n", ("FIRST\nREST", "list all-files - fast")),
        ("NAME\n  a-b, c - d\nSEE\n", ("SEE", "d")),
        ("NAME\n  ls\n\nREST\n", None),
        ("USAGE\n  ls - list\n", None),
    ],
)
def test_reads_the_name_section(text: str, expected: tuple[str, str] | None) -> None:
    assert read_page(text) == expected


RFC = """\
Working Group                                      A. Author
Request for Comments: 9                         January 2099

                         Boats

Abstract

   This memo folds boats
   out of paper.

   It floats.

Author                      Informational             [Page 1]
\f
RFC 9                           Boats             January 2099

   And it sinks.

Status of This Memo

   Unlimited.
"""


def test_cuts_the_abstract_and_nothing_else() -> None:
    parts = cut_abstract(RFC)

    assert parts is not None
    document, abstract = parts
    assert abstract == "This memo folds boats out of paper.\nIt floats.\nAnd it sinks."
    left = [line for line in RFC.splitlines() if line.strip()]
    gone = ["Abstract", "   This memo folds boats", "   out of paper.", "   It floats.", "   And it sinks."]
    assert [line for line in document.splitlines() if line.strip()] == [line for line in left if line not in gone]
    assert document.endswith("Status of This Memo\n\n   Unlimited.\n")
    assert cut_abstract(RFC.replace("Abstract", "Summary")) is None
    assert cut_abstract("x\n1.  ABSTRACT\n\n  y\n2. Next\n") == ("x\n2. Next\n", "y")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (b'"""Fold a\n    boat."""\nx = 1\n', ("x = 1", "Fold a\nboat.")),
        (b'#!/bin/python\n# licence\n\n"""Fold."""; x = 1\n', ("#!/bin/python\n# licence\n\nx = 1", "Fold.")),
        (b'("Fold " "it.")\nx = "Fold"\n', ('x = "Fold"', "Fold it.")),
        ("# coding: latin-1\n'Bött'\nx = 'ä'\n".encode("latin-1"), ("# coding: latin-1\n\nx = 'ä'", "Bött")),
        ("\ufeff'é' # é\nx\n".encode(), ("# é\nx", "é")),
        (b'"""\na.boat\n~~~~~~\n\nFolds.\n\n:copyright: Me,\n  you.\n:license: MIT\n"""\nx', ("x", "Folds.")),
        (b"x = 1\n'no docstring'\n", None),
        (b"", None),
    ],
)
def test_cuts_the_docstring_out_of_a_module(source: bytes, expected: tuple[str, str] | None) -> None:
    assert cut_docstring(source) == expected


@pytest.mark.parametrize("source", [b"print 'x'\n", b"\0", b"'\xff'"])
def test_what_is_no_module_is_an_error(source: bytes) -> None:
    with pytest.raises((ValueError, LookupError)):
        cut_docstring(source)


@pytest.fixture
def debian(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let three packages, one for each split, come from a folder instead of Debian."""
    from contextlib import contextmanager

    def files(package: apt_packages.AptPackage, pattern: str):
        for path in sorted((tmp_path / package.source).iterdir()):
            yield path.name, path.read_bytes()
        yield "usr/share/link.gz", None

    @contextmanager
    def fetched(names, **_):
        yield [
            apt_packages.AptPackage(name, "1", source, "0", ("MIT",), Path(name))
            for name, source in zip(names, GROUPS.values(), strict=False)
        ]

    for module in (man_pages, rfc_abstracts):
        monkeypatch.setattr(module, "fetched_packages", fetched)
        monkeypatch.setattr(module, "read_files", files)
    for source in GROUPS.values():
        (tmp_path / source).mkdir()
    return tmp_path


def assert_honest(splits, origin, read: int) -> None:
    """The target is nowhere in its input, and each document read is kept or counted as dropped."""
    pairs = [pair for split in SPLITS for pair in splits[split]]
    assert all(splits[split] for split in SPLITS)
    for pair in pairs:
        assert normalise(pair.summary) not in normalise(pair.document)
    assert len(pairs) + sum(origin["dropped"].values()) == read
    assert origin["licence"]


@NEEDS_MANDOC
def test_man_pages_never_hold_their_description(debian: Path) -> None:
    for place, source in enumerate(GROUPS.values()):
        body = f"{words(place * 1_000, 60)}. One can MAKE  boats of paper, too."
        (debian / source / "fold.1.gz").write_bytes(gzip.compress((PAGE % body).encode()))
        across = "They make boats. " + words(place * 1_000 + 500, 60)
        page = (PAGE % across).replace("make boats\nof paper", "make boats. " + words(place * 1_000 + 500, 2))
        (debian / source / "across.1").write_text(page)
        (debian / source / "so.1").write_text('.\\" alias\n.so man1/fold.1\n')

    splits, origin = man_pages.build()

    assert_honest(splits, origin, origin["pages_read"])
    assert origin["pages_read"] == 12
    assert sorted(pair.group for split in SPLITS for pair in splits[split]) == sorted(GROUPS.values())
    assert origin["dropped"]["another name of a page"] == 6
    assert origin["dropped"]["summary occurs in the document"] == 3
    assert origin["packages"][0]["licences"] == ["MIT"]


def test_rfcs_never_hold_their_abstract(debian: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = {split_of(f"rfc{n}"): n for n in range(200)}
    [folder, *_] = GROUPS.values()
    for split, number in numbers.items():
        body = words(number * 1_000, 300)
        (debian / folder / f"rfc{number}.txt").write_text(RFC.replace("Unlimited.", body))
        again = "This memo folds boats out of paper. It floats. AND it sinks."
        (debian / folder / f"rfc{number + 500}.txt").write_text(RFC.replace("Unlimited.", f"{body} {again}"))
        assert split in SPLITS

    splits, origin = rfc_abstracts.build()

    assert_honest(splits, origin, origin["documents_read"])
    assert origin["dropped"]["summary occurs in the document"] == 3
    assert "must not be passed on" in origin["licence"]


def test_modules_never_hold_their_docstring(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(requirements, folder: Path, *options: str) -> None:
        for place, name in enumerate(GROUPS.values()):
            with zipfile.ZipFile(folder / f"{name}-1-py3-none-any.whl", "w") as wheel:
                wheel.writestr(f"{name}-1.dist-info/METADATA", f"Name: {name}\nVersion: 1\nLicense-Expression: MIT\n")
                code = "\n".join(f"{word} = 0" for word in words(place * 1_000, 90).split())
                wheel.writestr("a.py", f'"""Fold many boats of paper."""\n{code}\n')
                wheel.writestr("b.py", f'"""Fold many boats of paper."""\n# fold Many boats of  paper.\n{code}.7\n')
                wheel.writestr("tests/c.py", f'"""Fold many boats of paper."""\n{code}\n')

    monkeypatch.setattr(python_docstrings, "download", download)
    monkeypatch.setattr(python_docstrings, "_standard_library", lambda: iter(()))

    splits, origin = python_docstrings.build()

    assert_honest(splits, origin, origin["modules_read"])
    assert origin["modules_read"] == 6
    assert origin["dropped"]["summary occurs in the document"] == 3
    assert {entry["licence"] for entry in origin["packages"]} == {"MIT"}


def test_the_standard_library_is_read() -> None:
    dropped: Counter[str] = Counter()
    modules = dict(python_docstrings._standard_library())
    assert "json/decoder.py" in modules
    assert not [name for name in modules if "site-packages" in name or name.startswith("test/")]
    [pair] = python_docstrings._pairs_of("cpython", iter([("json/decoder.py", modules["json/decoder.py"])]), dropped)
    assert pair.summary == "Implementation of JSONDecoder"
    assert '"""Implementation of JSONDecoder' not in pair.document


def test_pip_that_fails_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = tmp_path / "pip"
    pip.write_text("#!/bin/sh\necho ERROR: no such wheel >&2\nexit 1\n")
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(pip))
    with pytest.raises(DataError, match=r"pip download: expected exit status 0, got 1.*no such wheel"):
        pip_packages.download(["x==1", "y==1"], tmp_path)


def test_mandoc_that_is_missing_is_one_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="mandoc: expected on the PATH, found none.*apt-get install mandoc"):
        man_pages.build()


def test_the_lists_of_packages_are_pinned_and_in_order() -> None:
    assert list(MAN_PAGES) == sorted(set(MAN_PAGES))
    assert list(PYTHON_WHEELS) == sorted(set(PYTHON_WHEELS))
    assert all(wheel.count("==") == 1 for wheel in PYTHON_WHEELS)
    assert len(RFC_PACKAGES) == len(set(RFC_PACKAGES))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least"), [("man-pages", 10_000), ("python-docstrings", 3_000), ("rfc-abstracts", 3_000)]
)
def test_builds_the_real_corpus(name: str, least: int, tmp_path: Path) -> None:
    corpus, manifest = load_corpus(name, tmp_path), load_manifest(name, tmp_path)

    counts = {split: len(corpus[split]) for split in SPLITS}
    assert sum(counts.values()) > least
    assert min(counts.values()) > 100
    assert sum(counts.values()) + sum(manifest["dropped"].values()) == next(
        count for key, count in manifest.items() if key.endswith("_read")
    )
    for split in SPLITS:
        assert manifest["splits"][split]["summary_occurs_in_document"] == 0
        assert not any(corpus[split]["near_duplicate"])
    groups = [set(corpus[split]["group"]) for split in SPLITS]
    assert len(set.union(*groups)) == sum(map(len, groups))
