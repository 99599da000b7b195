"""Tests that pages are aligned block by block, and that no block of the held-out pages stands in training."""

import json
from collections import Counter

import pytest

from lab.translation.align import aligned, is_translation
from lab.translation.corpus import Page, in_splits, write_corpus
from simmim.data.near_duplicates import normalise
from simmim.tasks.translation.formats.html import html_blocks
from simmim.tasks.translation.marks import MARK, Block

ENGLISH = '<p id="a">Open <b>File</b> or <a href="en/x.html">help</a>.</p><p id="b">Only here</p><p id="c">Last one</p>'
FRENCH = '<p id="a">Voir l\'<a href="fr/x.html">aide</a> ou <b>Fichier</b>.</p><p id="c">Le dernier</p>'


def test_blocks_are_aligned_by_their_place_and_marks_by_what_they_stand_for():
    dropped = Counter()
    pairs = list(aligned(list(html_blocks(ENGLISH)), list(html_blocks(FRENCH)), strict=False, dropped=dropped))
    assert pairs == [
        ("Open {1}File{2} or {3}help{4}.", "Voir l'{3}aide{4} ou {1}Fichier{2}."),
        ("Last one", "Le dernier"),
    ]
    assert dropped["block without a partner"] == 1


def test_marks_that_do_not_match_are_left_out_of_both_sides():
    blocks = [list(html_blocks(page)) for page in ("<p>Open <b>File</b> now</p>", "<p>Ouvrez <i>Fichier</i> là</p>")]
    assert list(aligned(*blocks, strict=False, dropped=Counter())) == [("Open File now", "Ouvrez Fichier là")]
    dropped = Counter()
    assert not list(aligned(*blocks, strict=True, dropped=dropped))
    assert dropped["marks or numbers differ"] == 1


def test_long_pages_that_differ_are_aligned_at_their_ends():
    def page(middle):
        return [Block(f"t{place}", key=key) for place, key in enumerate(["a"] * 300 + middle + ["b"] * 300)]

    pairs = list(aligned(page(["x"]), page(["y", "z"]), strict=False, dropped=Counter()))
    assert len(pairs) == 600
    assert pairs[0] == ("t0", "t0")
    assert pairs[-1] == ("t600", "t601")


@pytest.mark.parametrize(
    ("source", "target", "language", "reason"),
    [
        ("Open the file", "Ouvrir le fichier", "fr", ""),
        ("Open the file", "打开文件", "zh", ""),
        ("Open {1}", "Open {1}", "fr", "untranslated"),
        ("12 %", "12 pour cent", "fr", "no word"),
        ("Open the file", "Open a file", "zh", "hardly any Chinese in it"),
        ("Open the file", "打开文件", "fr", "Chinese in it"),
        ("Open the file that has been there", "Ouvrir", "fr", "lengths do not fit"),
    ],
)
def test_what_is_no_translation_is_dropped_with_a_reason(source, target, language, reason):
    dropped = Counter()
    assert is_translation(source, target, language, dropped) == (not reason)
    assert not reason or dropped[reason] == 1


@pytest.mark.contract
def test_no_block_of_a_held_out_page_stands_in_training():
    common = ["Example 1", "See {1}also{2}"]
    pages = [
        Page("en", language, "docs", f"page{number}", [*common, f"block of {number}"], [*common, f"bloc {number}"])
        for number in range(200)
        for language in ("fr", "zh")
    ]
    pages.append(Page("en", "fr", "ui", "messages", ["See also", "Open"], ["Voir", "Ouvrir"], held_out=False))
    dropped = Counter()
    splits = in_splits(pages, dropped)
    folded = {
        split: {normalise(MARK.sub("", text)) for page in found for text in (*page.source, *page.target)}
        for split, found in splits.items()
    }
    assert splits["validation"] == []  # "block of 0" is what is left of every page, digits aside, and train has it
    assert not folded["train"] & folded["test"]
    assert not folded["train"] & folded["validation"]
    assert dropped["repeated in train"] > 0


def test_a_page_is_in_the_same_split_in_every_language(tmp_path):
    words = ("one two three four five six seven eight nine ten " * 20).split()
    pages = [
        Page(
            "en",
            language,
            "docs",
            f"page{number}",
            [f"{word}{chr(97 + number)}"],
            [f"x{word}{chr(97 + number)}{language}"],
        )
        for number, word in enumerate(words[:25])
        for language in ("fr", "zh")
    ]
    splits = in_splits(pages, Counter())
    names = {split: {page.name for page in found} for split, found in splits.items()}
    assert (
        not names["train"] & names["test"] | names["train"] & names["validation"] | names["test"] & names["validation"]
    )
    manifest = write_corpus(tmp_path / "out", splits, {"corpus": "x"})
    lines = (tmp_path / "out/train.jsonl").read_text().splitlines()
    assert len(lines) == len(splits["train"]) == manifest["splits"]["train"]["counts"]["en-fr"]["docs"]["pages"] * 2
    assert json.loads(lines[0]).keys() >= {"source_language", "target_language", "source", "target"}
