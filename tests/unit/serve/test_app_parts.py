"""Positions, cells, digests, names and exports of the app."""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simmim.errors import DataError
from simmim.serve.app.board import Board
from simmim.serve.app.cells import MOST_CELLS, levels_of, map_of
from simmim.serve.app.digests import line_of, load_digest, save_digest
from simmim.serve.app.exports import as_tmx
from simmim.serve.app.offsets import Offsets
from simmim.serve.app.shelf import Shelf, clean_name
from simmim.serve.engine import Engine
from simmim.tasks.summarization.extracts.extract import Extractor

TEXT = "\n\n".join(f"Bridge number {n} crosses the river at mile {3 * n}, and was built of stone." for n in range(200))


@given(st.text(alphabet="ab\n橋😀🏔é", max_size=40))
def test_positions_are_those_of_utf_16(text: str) -> None:
    offsets = Offsets(text)
    units = [len(text[:i].encode("utf-16-le")) // 2 for i in range(len(text) + 1)]
    assert [offsets.to_units(i) for i in range(len(text) + 1)] == units
    assert offsets.all_to_units(np.arange(len(text) + 1)).tolist() == units
    assert [offsets.to_character(unit) for unit in units] == list(range(len(text) + 1))
    assert offsets.units == units[-1]
    assert (offsets.to_character(-5), offsets.to_character(10**9)) == (0, len(text))


@pytest.mark.parametrize("segments", [1, 2, 3, 7, 999, 1000, 1001, 15_625, 1_000_000])
def test_a_map_has_at_most_two_thousand_cells(segments: int) -> None:
    levels = levels_of(segments)
    assert levels[0][1] == 1
    assert sum(count for _, count in levels) <= MOST_CELLS
    for height, count in levels:
        assert count == -(-segments // 2**height)
    assert (levels[-1][0] == 0) == (segments < 1000), "the lowest level is that of the segments where all fit"
    chart = map_of(np.arange(segments) * 5, Offsets("x" * (segments * 5)))
    assert [len(level["begins"]) for level in chart["levels"]] == [count for _, count in levels]
    assert chart["levels"][-1]["begins"][1:2] == ([5 * 2 ** levels[-1][0]] if segments > 1 else [])


def test_a_digest_comes_back_and_damage_does_not(tmp_path: Path) -> None:
    digest = Extractor()(TEXT)
    path = tmp_path / "digest.json"
    save_digest(path, digest, "abc")
    assert load_digest(path, "abc", len(TEXT)) == digest
    assert load_digest(path, "other", len(TEXT)) is None
    assert load_digest(path, "abc", 100) is None, "a sentence behind the end"
    content = json.loads(path.read_text())
    for change in ({"format": 0}, {"root": []}, {"sentences": [[1, 2]]}, {"root": [0, 0, 10**6, [], [], []]}):
        path.write_text(json.dumps({**content, **change}))
        assert load_digest(path, "abc", len(TEXT)) is None
    path.write_text("[" * 100_000)
    assert load_digest(path, "abc", len(TEXT)) is None
    assert load_digest(tmp_path / "none.json", "abc", 9) is None


def test_the_line_of_a_part_stands_in_it() -> None:
    digest = Extractor()(TEXT)
    for begin, end in ((0, len(TEXT)), (0, 500), (7000, 9000), (5000, 5080), (len(TEXT) - 60, len(TEXT))):
        found = line_of(digest, begin, end)
        assert found
        assert all(one.begin < end and begin < one.end for one in found)
        assert sum(one.words for one in found) <= 35 or len(found) == 1
    assert line_of(digest, len(TEXT) + 10, len(TEXT) + 20) == []
    whole = line_of(digest, 0, len(TEXT))
    assert {one.begin for one in whole} <= {digest.sentences[i].begin for i in digest.root.kept}


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("report.pdf", "report.pdf"),
        ("../../x.md", "x.md"),
        ("C:\\a\\b.txt", "b.txt"),
        (".hidden", "hidden"),
        ("..", "document"),
        ("a\x00b\x1b.txt", "ab.txt"),
        ("", "document"),
        ("报告.pdf", "报告.pdf"),
        ("x" * 500 + ".docx", "x" * 100 + "x" * 15 + ".docx"),
    ],
)
def test_names_of_files_lose_folders_and_control_characters(given_name: str, kept: str) -> None:
    assert clean_name(given_name) == kept


def test_a_shelf_takes_what_it_did_not_make_for_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "Upper Case").mkdir()
    shelf = Shelf(tmp_path)
    assert shelf.entries() == []
    entry = shelf.add("报告.pdf", b"content")
    assert entry.original() == b"content"
    assert shelf.add("报告.pdf", b"content") == entry
    assert shelf.add("报告.pdf", b"other").id != entry.id
    (entry.work / "original").unlink()
    with pytest.raises(DataError, match="the file that was uploaded is missing"):
        entry.original()
    (entry.work / "about.json").write_text("[]")
    assert shelf.entry(entry.id) is None


def test_jobs_show_how_far_they_are_and_reading_lets_others_overtake() -> None:
    board = Board(Engine(max_queue=8, time_limit=60))
    order: list[str] = []
    try:
        blocked = board.start("ask", "a", "first", lambda task: [task.check() or time.sleep(0.01) for _ in range(100)])  # type: ignore[func-returns-value]
        board.start("read", "b", "slow", lambda task: order.append("read"))
        board.start("ask", "a", "quick", lambda task: order.append("ask"))
        assert [task.about()["title"] for task in board.tasks()] == ["first", "slow", "quick"]
        while blocked in board.tasks() or board.tasks():
            time.sleep(0.01)
        assert order == ["ask", "read"]
        seen = []
        done = board.start("read", "b", "x", lambda task: seen.extend(_halfway(task)))
        while done in board.tasks():
            time.sleep(0.01)
        assert seen[0]["left"] is None
        assert seen[1]["left"] is not None
        assert (seen[1]["done"], seen[1]["total"]) == (5, 10)
    finally:
        board.engine.stop()


def _halfway(task):  # type: ignore[no-untyped-def]
    task.advance("reading", 0, 10)
    yield task.about()
    time.sleep(0.02)
    task.advance("reading", 5, 10)
    yield task.about()


def test_a_translation_is_a_valid_tmx() -> None:
    blocks = [{"source": "a < b & c\x00", "text": "<script>"}, {"source": "x", "text": "é"}]
    root = ElementTree.fromstring(as_tmx({"from": "en", "to": 'f"r', "blocks": blocks}))
    assert [seg.text for seg in root.iter("seg")] == ["a < b & c\ufffd", "<script>", "x", "é"]
