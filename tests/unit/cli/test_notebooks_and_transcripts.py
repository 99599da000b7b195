"""The text of notebooks, with headings and code, and of subtitles, with time and speaker."""

from __future__ import annotations

import json

import pytest

from simmim.cli.documents import extract, kind_of
from simmim.errors import DataError

CELLS = [
    {"cell_type": "markdown", "source": ["# Räume\n", "Two *rooms*."]},
    {"cell_type": "code", "source": "print('``` fences')", "outputs": [{"output_type": "stream", "text": "x"}]},
    {"cell_type": "raw", "source": "left out"},
    {"cell_type": "code", "source": "", "outputs": []},
    {"cell_type": "markdown", "source": "## Costs\n\nThe rent is 900 euros."},
]
SRT = """1
00:00:01,000 --> 00:00:03,000
<i>The rent is</i>
900 euros.

2
00:00:03,500 --> 00:00:04,000
900 euros.

3
01:02:03,000 --> 01:02:05,000
{\\an8}Who pays it?
"""
VTT = """WEBVTT

NOTE a note --> no cue

00:01.000 --> 00:03.000 align:start
<v Ana Ruiz>The rent &amp; the <b>deposit</b>

intro
00:04.000 --> 00:06.000
<v.loud Bob>are due.
"""


def notebook(cells: list[dict[str, object]]) -> bytes:
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}).encode()


def test_a_notebook_has_headings_text_and_code() -> None:
    found = extract("a.ipynb", notebook(CELLS))
    assert found.text.split("\n\n") == [
        "Räume",
        "Two rooms.",
        "print('``` fences')",
        "Costs",
        "The rent is 900 euros.",
    ]
    assert [(found.text[begin:].split("\n")[0], level) for begin, level in found.headings] == [
        ("Räume", 1),
        ("Costs", 2),
    ]
    assert found.note == "what 1 cell has printed is left out"


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"{",
        b"text",
        b"\xff",
        b"null",
        b'{"worksheets": []}',
        b'{"cells": 3}',
        b'{"cells": [3]}',
        b'{"cells": [{"cell_type": "code"}]}',
        b'{"cells": [{"cell_type": "code", "source": 3}]}',
        b'{"cells": [{"cell_type": "code", "source": [3]}]}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_notebook_is_refused(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^a\.ipynb: expected a Jupyter notebook of format 4"):
        extract("a.ipynb", content)


def test_an_empty_notebook_is_refused() -> None:
    with pytest.raises(DataError, match=r"^a\.ipynb: expected a text, the file holds none"):
        extract("a.ipynb", notebook([]))


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_subtitles_have_times_and_no_markup_and_no_line_twice(ends: str) -> None:
    found = extract("talk.srt", SRT.replace("\n", ends).encode("utf-8-sig")).text
    assert found == "[00:00:01] The rent is 900 euros. Who pays it?"


def test_a_speaker_begins_a_paragraph() -> None:
    found = extract("talk.vtt", VTT.encode()).text
    assert found == "[00:00:01] Ana Ruiz: The rent & the deposit\n\n[00:00:04] Bob: are due."


def test_long_speech_is_cut_after_sentences_or_somewhere() -> None:
    def cues(end: str) -> bytes:
        return "\n".join(
            f"00:{n // 60:02}:{n % 60:02},000 --> 00:{n // 60:02}:{n % 60:02},900\nword number {n} of the talk{end}\n"
            for n in range(300)
        ).encode()

    paragraphs = extract("talk.srt", cues(".")).text.split("\n\n")
    assert all(400 < len(part) < 460 and part.endswith(".") for part in paragraphs[:-1])
    plain = extract("talk.srt", cues("")).text.split("\n\n")
    assert all(1200 < len(part) < 1260 for part in plain[:-1])
    assert " ".join(plain).count("word number") == 300
    assert paragraphs[1].startswith("[00:00:")


def test_a_file_without_cues_is_refused() -> None:
    assert kind_of("a.srt", b"x") == kind_of("a.vtt", b"x") == "subtitles"
    with pytest.raises(DataError, match=r"^a\.srt: expected subtitles with lines such as"):
        extract("a.srt", b"1\nno times\n")
