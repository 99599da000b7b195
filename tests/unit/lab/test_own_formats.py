"""Tests that the questions about our own documents can be answered from every format that they are written in."""

import re
from collections import Counter

import pytest

from lab.reading.own_formats import FORMATS, SOURCES, Block, blocks, questions, write_all
from simmim.cli.documents import extract

QUESTIONS = questions()
NAMES = [source.stem for source in SOURCES]


def squeezed(text):
    return " ".join(text.split())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return what our reader makes of each file."""
    return {path.name: extract(path.name, path.read_bytes()) for path in write_all(tmp_path_factory.mktemp("own"))}


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_a_document_is_as_long_as_it_was_meant_to_be(source):
    assert 1_200 <= len(source.read_text(encoding="utf-8").split()) <= 2_000


def test_there_are_ten_questions_a_document_and_half_of_them_are_worded_otherwise():
    assert Counter((row["document"], row["wording"]) for row in QUESTIONS) == {
        (name, wording): 5 for name in NAMES for wording in ("same", "other")
    }
    assert len({row["question"] for row in QUESTIONS}) == len(QUESTIONS)
    assert all(set(row) == {"document", "question", "answers", "evidence", "wording"} for row in QUESTIONS)


@pytest.mark.parametrize("row", QUESTIONS, ids=lambda row: row["question"])
def test_the_evidence_stands_once_in_the_document_and_holds_the_answer(row):
    source = next(source for source in SOURCES if source.stem == row["document"])
    content = source.read_bytes()
    assert content.decode().count(row["evidence"]) == 1
    assert extract(source.name, content).text.count(row["evidence"]) == 1
    assert any(re.search(rf"\b{re.escape(answer)}\b", row["evidence"]) for answer in row["answers"])
    assert all(len(answer.split()) <= 6 for answer in row["answers"])
    assert not any(answer.lower() in row["question"].lower() for answer in row["answers"])


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", NAMES)
def test_every_format_gives_back_the_evidence_and_every_number(written, name, suffix):
    text = squeezed(written[f"{name}.{suffix}"].text)
    for row in QUESTIONS:
        if row["document"] == name:
            assert text.count(squeezed(row["evidence"])) == 1, row["evidence"]
    numbers = [Counter(re.findall(r"\d[\d.,:]*", squeezed(one))) for one in (written[f"{name}.md"].text, text)]
    assert numbers[0] == numbers[1]


def test_a_pdf_has_pages_and_the_evidence_stands_on_one(written):
    for name in NAMES:
        found = written[f"{name}.pdf"]
        assert len(found.pages) > 1
        ends = [*found.pages[1:], len(found.text)]
        pages = [squeezed(found.text[start:end]) for start, end in zip(found.pages, ends, strict=True)]
        assert squeezed(" ".join(pages)) == squeezed(found.text)
        assert all(re.match(r"\S", found.text[start:]) for start in found.pages)


def test_markdown_is_taken_apart_into_blocks():
    text = "# A *b*\n\none\ntwo [c](d)\n\n- e\n\n| f | g |\n|---|---|\n| h | `i` |\n\n```\n j\nk\n```\n"
    assert blocks(text) == [
        Block("heading", "A b", 1),
        Block("text", "one two c"),
        Block("item", "e"),
        Block("table", rows=[["f", "g"], ["h", "i"]]),
        Block("code", " j\nk"),
    ]
