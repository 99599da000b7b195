"""A document to whose end text was added: what is new is read, and the files are those of a new reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reading_folders import TEXT, files_of, make_reader
from reading_models import draw, tiny
from simmim.errors import CheckpointError
from simmim.reading import growing, indexing
from simmim.reading.cache import ReadingCache
from simmim.reading.interface import decoder_of
from simmim.reading.manifest import read_manifest
from simmim.reading.reader import Reader
from simmim.reading.states import rebuild_state
from simmim.tasks.reading import open_library
from support import covering

LONG = "".join(f"Part {i}. {TEXT}" for i in range(3))
MORE = {
    "a sentence": LONG + "The end is near, and then it comes.\n",
    "the end of a word": LONG.rstrip() + "s and more.",
    "much": LONG + LONG.upper(),
    "a letter": LONG + "x",
}


@pytest.fixture
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (growing, indexing):
        monkeypatch.setattr(module, "GROUP", 8)


@pytest.fixture(scope="module", params=["keys", "text"])
def reader(request: pytest.FixtureRequest) -> Reader:
    return make_reader(keep=request.param, near=1)


def _tokens_read(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counted: list[int] = []
    feed = reader._feed

    def counting(cache: Any, ids: np.ndarray) -> None:
        counted.append(len(ids))
        feed(cache, ids)

    monkeypatch.setattr(reader, "_feed", counting)
    return counted


@pytest.mark.contract
@pytest.mark.usefixtures("_small_groups")
@pytest.mark.parametrize("case", list(MORE))
def test_the_files_are_those_of_a_new_reading(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    before = LONG.rstrip() if case == "the end of a word" else LONG
    fresh, folder = tmp_path / "fresh", tmp_path / "grown"
    reader.read(fresh, MORE[case], "a.txt", [0, 50])
    reader.read(folder, before, "a.txt", [0])
    counted = _tokens_read(reader, monkeypatch)
    assert reader.read(folder, MORE[case], "a.txt", [0, 50]) == 0
    assert files_of(folder) == files_of(fresh)
    assert sum(counted) < read_manifest(folder).documents[0].tokens
    assert open_library(folder, reader).finder.find("When was the mill built?", 1)


@pytest.mark.usefixtures("_small_groups")
def test_whole_groups_of_vectors_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, encoded = make_reader(), []
    assert reader.encoder is not None
    encode = reader.encoder.encode
    reader.read(tmp_path, LONG, "a.txt")
    monkeypatch.setattr(reader.encoder, "encode", lambda texts: encoded.extend(texts) or encode(texts))
    reader.read(tmp_path, LONG + "The end.", "a.txt")
    assert len(encoded) <= 4 * 8


def test_headings_that_the_format_gives_stand_before_the_sentences_below_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, encoded = make_reader(), []
    assert reader.encoder is not None
    encode = reader.encoder.encode
    monkeypatch.setattr(reader.encoder, "encode", lambda texts: encoded.extend(texts) or encode(texts))
    text = "Delivery\nThe jars are kept at the harbour.\nThe buyer of all the jars pays the rent of it.\n"
    reader.read(tmp_path, text, "a.docx", headings=[(0, 1)])
    assert "Delivery. The buyer of all the jars pays the rent of it." in [one.strip() for one in encoded]
    encoded.clear()
    more = text + "Prices\nA jar costs one crown in the first year.\nA jar costs two crowns in the year after it.\n"
    reader.read(tmp_path, more, "a.docx", headings=[(0, 1), (len(text), 1)])
    assert "Prices. A jar costs two crowns in the year after it." in [one.strip() for one in encoded]


def test_a_short_document_takes_the_place_of_the_old_one(reader: Reader, tmp_path: Path) -> None:
    reader.read(tmp_path / "grown", "House 1.", "a.txt")
    reader.read(tmp_path / "grown", "House 1. House 2.", "a.txt")
    reader.read(tmp_path / "fresh", "House 1. House 2.", "a.txt")
    assert files_of(tmp_path / "grown") == files_of(tmp_path / "fresh")


def test_other_texts_are_new_documents(reader: Reader, tmp_path: Path) -> None:
    reader.read(tmp_path, TEXT, "a.txt")
    before = files_of(tmp_path)
    assert reader.read(tmp_path, TEXT + "The end.", "b.txt") == 1
    assert reader.read(tmp_path, "New: " + TEXT, "a.txt") == 2
    assert reader.read(tmp_path, TEXT[:100], "a.txt") == 3
    after = files_of(tmp_path)
    assert all(after[name] == content for name, content in before.items() if name.startswith("0000."))


@pytest.mark.parametrize("ending", ["text", "tokens", "index", "vectors", "sentences"])
def test_a_damaged_document_does_not_grow(reader: Reader, tmp_path: Path, ending: str) -> None:
    reader.read(tmp_path, LONG, "a.txt")
    path = tmp_path / f"0000.{ending}"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"0000\.{ending}: expected the .* that was"):
        reader.read(tmp_path, LONG + "The end.", "a.txt")


REBUILT = [
    {"case": case, "chunk": chunk, "last": last}
    for case in ("llama", "gemma3_text", "mistral sliding", "smollm3", "qwen3")
    for chunk in (8, 24, 64)
    for last in (None, 0)
]
"""Every two of these meet."""


@pytest.mark.contract
@pytest.mark.parametrize(("case", "chunk", "last"), [tuple(case.values()) for case in covering(REBUILT)])
@torch.inference_mode()
def test_a_rebuilt_state_is_the_state(case: str, chunk: int, last: int | None) -> None:
    model, ids, counted = tiny(case), draw(1, 8 * 72)[0].numpy(), []
    decoder = decoder_of(model)

    def feed(cache: ReadingCache, part: np.ndarray) -> None:
        from simmim.reading.cache import EnoughRead

        counted.append(len(part))
        try:
            decoder(input_ids=torch.from_numpy(part)[None], past_key_values=cache)
        except EnoughRead:
            assert last is not None

    caches = [ReadingCache(model, segment=8, near=2) for _ in range(2)]
    caches[0].last = caches[1].last = last
    for begin in range(0, len(ids), chunk):
        feed(caches[0], ids[begin : begin + chunk])
        caches[0].drop()
    whole = sum(counted)
    counted.clear()
    rebuild_state(caches[1], feed, ids, chunk)
    assert sum(counted) < whole
    for one, other in zip(*(cache.layers[: None if last is None else last + 1] for cache in caches), strict=True):
        assert torch.equal(one.keys, other.keys)
        assert torch.equal(one.values, other.values)
        assert one.get_seq_length() == other.get_seq_length() == len(ids)
