"""Tests that translated pages of one's own are read, whatever their format."""

import json
from pathlib import Path

import pytest

from simmim.errors import DataError
from simmim.tasks.translation.examples import tokenize_pages, windows
from simmim.tasks.translation.pages import Page, read_memory, read_pages
from simmim.tasks.translation.vocabulary import add_translation_tokens, decode_blocks, encode_blocks, languages_of

TMX = """<?xml version="1.0" encoding="UTF-8"?>
<tmx version="1.4"><header srclang="en"/><body>
<tu><tuv xml:lang="EN"><seg>Press <bpt i="1">&lt;b&gt;</bpt>Enter<ept i="1">&lt;/b&gt;</ept></seg></tuv>
<tuv xml:lang="FR"><seg>Appuyez sur <bpt i="1">&lt;b&gt;</bpt>Entrée<ept i="1">&lt;/b&gt;</ept></seg></tuv>
<tuv xml:lang="ZH"><seg>按回车</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>Fish &amp; chips</seg></tuv><tuv xml:lang="fr"><seg>Poisson</seg></tuv></tu>
</body></tmx>"""
PO = 'msgid ""\nmsgstr "Language: fr\\nContent-Type: text/plain; charset=UTF-8\\n"\n\n'
PO += 'msgid "%d of %s\\nb"\nmsgstr "%d de %s\\nbé"\n\n'
PO += '#, fuzzy\nmsgid "x y"\nmsgstr "z"\n'
XLIFF = """<xliff version="1.2"><file source-language="en" target-language="fr"><body>
<trans-unit id="1"><source>A <g id="1">b</g></source><target>Un <g id="1">b</g></target></trans-unit>
<trans-unit id="2"><source>Open</source></trans-unit></body></file></xliff>"""


def written(folder, name, content):
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def test_tmx(tmp_path):
    first, second = read_pages(written(tmp_path, "a.tmx", TMX))
    assert (first.source_language, first.target_language, second.target_language) == ("en", "fr", "zh")
    assert first.source == ["Press {1}Enter", "Fish & chips"]
    assert first.target == ["Appuyez sur {1}Entrée", "Poisson"]
    assert (second.source, second.target) == (["Press Enter"], ["按回车"])  # marks that differ are left out of both


def test_po(tmp_path):
    (page,) = read_pages(written(tmp_path, "a.po", PO))
    assert (page.source_language, page.target_language) == ("en", "fr")
    assert list(page.source) == ["{1} of {2}", "b"][: len(page.source)]
    assert list(page.target) == ["{1} de {2}", "bé"]


def test_xliff(tmp_path):
    (page,) = read_pages(written(tmp_path, "a.xliff", XLIFF))
    assert (page.source_language, page.target_language, page.source, page.target) == (
        "en",
        "fr",
        ["A {1}b"],
        ["Un {1}b"],
    )


def test_two_texts(tmp_path):
    written(tmp_path, "a.en", "one\ntwo\n\nthree\n")
    written(tmp_path, "a.fr", "un\ndeux\n\ntrois\n")
    pages = list(read_pages(tmp_path / "a.{en,fr}"))
    assert [(page.source, page.target) for page in pages] == [(["one", "two"], ["un", "deux"]), (["three"], ["trois"])]


def test_json_lines(tmp_path):
    row = {"source_language": "en", "target_language": "fr", "source": ["a"], "target": ["b"]}
    path = written(tmp_path, "a.jsonl", json.dumps(row) + "\n\n")
    assert list(read_pages(path)) == [Page("en", "fr", ["a"], ["b"], f"{path}:1")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "{", "a.jsonl:1: expected an object with"),
        (
            "a.jsonl",
            '{"source_language": 1, "target_language": "fr", "source": [], "target": []}',
            "values of other types",
        ),
        (
            "a.jsonl",
            '{"source_language": "en", "target_language": "fr", "source": [], "target": ["a"]}',
            "as many blocks",
        ),
        ("a.tmx", "<tmx/>", "expected a TMX file with units"),
        ("a.xlf", "<xliff/>", "expected an XLIFF file with translated segments"),
        ("a.po", 'msgid "a b"\nmsgstr ""\n', "expected a PO file with translated messages"),
        ("a.po", 'msgid "a b"\nmsgstr "c"\n', "expected the header Language"),
        ("a.doc", "", "expected a file that ends in"),
    ],
)
def test_broken_files_are_named(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        list(read_pages(written(tmp_path, name, content)))


@pytest.mark.parametrize(("french", "message"), [("un\n", "as many lines"), ("un\n\ntrois\n", "line 2 to be blank")])
def test_two_texts_that_do_not_fit_are_named(tmp_path, french, message):
    written(tmp_path, "a.en", "one\ntwo\nthree\n")
    written(tmp_path, "a.fr", french)
    with pytest.raises(DataError, match=message):
        list(read_pages(Path(f"{tmp_path}/a.{{en,fr}}")))


def test_a_memory_is_read_in_either_direction(tmp_path):
    path = written(tmp_path, "a.tmx", TMX)
    assert read_memory(path, "en", "fr")["Fish & chips"] == "Poisson"
    assert read_memory(path, "fr-FR", "en_US")["Poisson"] == "Fish & chips"
    assert read_memory(path, "de", "fr") == {}


@pytest.fixture(scope="module")
def tokenizer():
    from simmim.data.tokenizer import train_tokenizer

    found = train_tokenizer(["the house is red", "la maison est rouge"] * 5, 280)
    add_translation_tokens(found, ["fr", "en"])
    return found


@pytest.mark.contract
def test_blocks_come_back_from_their_ids(tokenizer):
    blocks = ["the {1}house{2}", "literal <block> and </s> and >>fr<<", "", "é中 {33}"]
    ids = encode_blocks(tokenizer, blocks, "fr")
    assert tokenizer.convert_ids_to_tokens(ids[0]) == ">>fr<<"
    assert decode_blocks(tokenizer, ids[1:]) == blocks
    assert languages_of(tokenizer) == ["en", "fr"]


@pytest.mark.contract
@pytest.mark.parametrize("count", [1, 2, 17, 300])
def test_every_block_is_in_one_example(count):
    page = Page("en", "fr", [f"block {number} " * (number % 40) or "x" for number in range(count)], ["y"] * count)
    for seed in range(3):
        cut = list(windows(page, seed))
        assert [place for start, end in cut for place in range(start, end)] == list(range(count))
        assert cut == list(windows(page, seed))
    assert count < 17 or list(windows(page, 0)) != list(windows(page, 1))


def test_examples_are_read_in_the_directions_that_are_asked_for(tokenizer):
    pages = [Page("en", "fr", ["house", "red"], ["maison", "rouge"]), Page("en", "zh", ["house"], ["房"])]
    rows = tokenize_pages(pages, tokenizer, ["en-fr", "fr-en"], seed=0)
    tags = [tokenizer.convert_ids_to_tokens(ids[0]) for ids in rows["input_ids"]]
    assert set(tags) == {">>fr<<", ">>en<<"}
    found = {tuple(decode_blocks(tokenizer, ids)) for ids in rows["labels"]}
    assert {block for blocks in found for block in blocks} == {"maison", "rouge", "house", "red"}
    assert rows["length"] == [len(ids) for ids in rows["input_ids"]]


def test_examples_that_are_too_long_are_left_out_and_counted(tokenizer, caplog):
    pages = [Page("en", "fr", ["house " * 50], ["maison"]), Page("en", "fr", ["red"], ["rouge"])]
    assert len(tokenize_pages(pages, tokenizer, ["en-fr"], seed=0, max_source_tokens=20)) == 1
    assert "1 examples are longer" in caplog.text
