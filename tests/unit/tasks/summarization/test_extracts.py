"""Tests summaries that consist of a document's own sentences."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simmim.errors import DataError
from simmim.tasks.summarization.extracts import extract
from simmim.tasks.summarization.extracts.candidates import candidates
from simmim.tasks.summarization.extracts.extract import LENGTHS, Extractor
from simmim.tasks.summarization.extracts.pyramid import build, choose, shortlist
from simmim.tasks.summarization.extracts.vectors import word_vectors

LETTER = """\
# Orchard report

Pears were picked by forty volunteers between the first and the ninth of September.

## Yield

The harvest of pears was larger than in any year since the orchard was planted.
It is a pity that the cellar was too small for all of these many boxes of fruit.

```
def pears(): return "This is code and no sentence of the report at all."
```

## References

Planting pears in the north is the title of a book about orchards and their care.
"""

RFC = """\
1.  Introduction

   The harvest protocol moves baskets between an orchard and a cellar, and it says who
   carries

Example                      Standards Track                    [Page 1]

RFC 1                          Harvest                         May 2025

   each of the baskets down the hill.

Example                      Standards Track                    [Page 2]

RFC 1                          Harvest                         May 2025

   Another sentence says that a basket is counted when it is put into the cellar.

Example                      Standards Track                    [Page 3]

RFC 1                          Harvest                         May 2025

   The last sentence says that the cellar sends a receipt for each of the baskets.
"""


def texts_of(text, headings=None, **options):
    return [one.text for one in candidates(text, headings, **options)]


def prose(count):
    rng = np.random.default_rng(0)
    names = "pear basket cellar orchard harvest ladder frost blossom press cider barrel market".split()
    return " ".join(
        f"The {' and the '.join(rng.choice(names, 4))} were noted as number {number} on that day."
        for number in range(count)
    )


@pytest.fixture(scope="module")
def found():
    return candidates(prose(400))


@pytest.fixture(scope="module")
def root(found):
    return build(found, word_vectors([one.text for one in found]))


class TestCandidates:
    def test_headings_and_code_are_no_sentences(self):
        found = texts_of(LETTER)
        assert not [text for text in found if "code" in text or text.startswith("#")]
        assert found[0].startswith("Pears were picked by forty volunteers")

    def test_each_knows_its_headings_and_its_place(self):
        for one in candidates(LETTER):
            assert " ".join(LETTER[one.begin : one.end].split()) == one.text
        harvest = next(one for one in candidates(LETTER) if one.text.startswith("The harvest"))
        assert harvest.headings == ("Orchard report", "Yield")

    def test_what_leans_on_another_sentence_or_stands_in_the_references_is_less_fit(self):
        fitness = {one.text.split()[0]: one.fitness for one in candidates(LETTER)}
        assert fitness["It"] < fitness["The"]
        assert fitness["Planting"] < fitness["It"]

    def test_a_sentence_goes_on_behind_the_head_of_a_page(self):
        found = texts_of(RFC)
        assert found[0].endswith("and it says who carries each of the baskets down the hill.")
        assert not [text for text in found if "Standards Track" in text or "May 2025" in text]

    def test_headings_that_the_format_gives_are_taken(self):
        text = "Report\nAll pears were sold to the market in the town.\nEnd\nThe cellar of the orchard is empty again."
        found = candidates(text, {0: 1, text.index("End"): 2}, wrapped=False)
        assert [(one.text[:3], one.headings) for one in found] == [("All", ("Report",)), ("The", ("Report", "End"))]

    def test_lines_are_paragraphs_where_the_format_says_so(self):
        text = "The first cell of a table of pears\nthe second cell of a table of baskets"
        assert len(texts_of(text)) == 1
        assert len(texts_of(text, wrapped=False)) == 2

    def test_marks_of_lists_links_and_emphasis_are_left_out(self):
        [found] = texts_of("- The [orchard](http://a.example/b) has *many* pears and `few` apples in its cellar.")
        assert found == "The orchard has many pears and few apples in its cellar."

    def test_words_cut_by_a_line_end_are_joined(self):
        [found] = texts_of("The orch-\nard has many pears and few apples in its cellar.")
        assert found == "The orchard has many pears and few apples in its cellar."
        [found] = texts_of("果园里的梨今年比去年多了\n很多，地窖已经装满了。")
        assert found == "果园里的梨今年比去年多了很多，地窖已经装满了。"

    def test_a_text_without_sentences_gives_what_there_is(self):
        assert texts_of("small fast editor") == ["small fast editor"]
        assert texts_of("1234 {}") == []

    @given(st.text(alphabet=st.sampled_from("aB .\n#-[]()*`…。漢\u20281|\t"), max_size=200))
    def test_they_stand_in_the_text_in_order(self, text):
        end = 0
        for one in candidates(text):
            assert end <= one.begin < one.end <= len(text)
            assert set(one.text) <= {*text[one.begin : one.end], " "}
            end = one.end


class TestPyramid:
    def test_neighbours_are_merged_in_pairs_up_to_the_whole(self, root, found):
        assert (root.first, root.last) == (0, len(found) - 1)
        for node in root.walk():
            if node.children:
                left, right = node.children
                assert (left.first, left.last + 1, right.last) == (node.first, right.first, node.last)
                assert node.level > max(left.level, right.level)

    def test_a_part_keeps_sentences_of_its_children_alone(self, root):
        for node in root.walk():
            offered = {i for child in node.children for i in child.kept} or set(range(node.first, node.last + 1))
            assert set(node.kept) <= offered
            assert len(set(node.kept)) == len(node.kept)

    @pytest.mark.parametrize("words", [1, 30, 100, 300])
    def test_a_summary_has_the_words_that_were_asked_for(self, root, found, words):
        chosen = choose(root, found, words)
        assert chosen == sorted(chosen)
        assert len(chosen) == 1 or sum(found[i].words for i in chosen) <= words
        assert sum(found[i].words for i in chosen) >= words / 2

    def test_no_two_sentences_say_the_same(self):
        text = prose(20) + " The frost of the spring took all of the blossom and most of the barrels." * 6
        found = candidates(text)
        chosen = choose(build(found, word_vectors([one.text for one in found])), found, 100)
        assert len({found[i].text for i in chosen}) == len(chosen)

    def test_a_shortlist_has_some_of_every_section(self, found):
        kept = shortlist(found, word_vectors([one.text for one in found]), 100)
        assert kept == sorted(set(kept))
        assert len(kept) <= 100
        assert max(np.diff(kept)) < 48


class TestVectors:
    def test_texts_of_the_same_words_are_alike_and_others_are_not(self):
        vectors = word_vectors(["pears in the cellar", "the cellar, pears in", "frost took blossom", ""])
        assert vectors.dtype == np.float32
        assert vectors[0] @ vectors[1] == pytest.approx(1)
        assert abs(vectors[0] @ vectors[2]) < 0.2
        assert not vectors[3].any()


class TestExtractor:
    @pytest.mark.parametrize("length", [*LENGTHS, 50])
    def test_nothing_is_invented(self, length):
        text = prose(300)
        for one in Extractor()(text).summary(length):
            assert one.text in text

    def test_longer_lengths_say_more(self):
        digest = Extractor()(prose(300))
        sizes = [sum(one.words for one in digest.summary(length)) for length in LENGTHS]
        assert sizes == sorted(set(sizes))

    def test_the_subject_comes_before_an_aside(self):
        digest = Extractor()(LETTER)
        assert digest.language == "en"
        assert "Planting pears" not in " ".join(one.text for one in digest.summary(40))

    def test_chinese_is_compared_by_words(self):
        text = (
            "果园今年的梨比往年任何一年都多，地窖已经装满了。" * 2
            + "志愿者从九月一日到九月九日采摘了全部的梨子和苹果。"
        )
        digest = Extractor(lambda: pytest.fail("an English encoder"))(text)
        assert digest.language == "zh"
        assert not digest.encoded
        assert digest.summary("line")[0].text in text

    def test_english_goes_through_the_encoder_that_is_loaded_once(self, monkeypatch):
        loaded = []

        class Stub:
            def encode(self, texts, progress):
                progress(len(texts))
                return word_vectors(texts)

        extractor = Extractor(lambda: loaded.append(1) or Stub())
        seen = []
        digest = extractor(prose(60), progress=lambda done, total: seen.append((done, total)))
        assert digest.encoded
        assert seen == [(60, 60)]
        monkeypatch.setattr(extract, "_ENCODED", 30)
        assert len(extractor(prose(60)).sentences) <= 30
        assert loaded == [1]

    @pytest.mark.parametrize("text", ["", " \n", "1234 --"])
    def test_a_text_without_words_is_refused(self, text):
        with pytest.raises(DataError, match=r"a\.txt: expected a text with words"):
            Extractor()(text, "a.txt")

    def test_half_a_character_is_refused(self):
        with pytest.raises(DataError, match="a.txt"):
            Extractor()("The pears were\ud83d sold to the market.", "a.txt")

    def test_the_default_encoder_is_not_needed(self, monkeypatch):
        monkeypatch.setattr(extract, "default_encoder", lambda: None)
        assert not Extractor.with_default_encoder()(prose(30)).encoded

    def test_every_part_has_a_line(self):
        digest = Extractor()(prose(300))
        for node in digest.root.walk():
            [one] = digest.summary(1, node)
            assert node.first <= digest.sentences.index(one) <= node.last
            assert re.fullmatch(r"The .* on that day\.", one.text)


def test_lines_of_a_table_of_contents_are_no_sentences() -> None:
    text = (
        "Contents\n 1. Introduction . . . . . . 5\n 1.1. Transport of Electronic Mail over Hosts . . . 26\n"
        "2 The basic structure of all servers..........7\n第一章 概述与全部范围…………………3\n第二章 说明······4\n"
        "The protocol moves mail between hosts that know each other. He waited ... and then he waited more.\n"
    )
    found = [one.text for one in candidates(text)]
    assert found == [
        "The protocol moves mail between hosts that know each other.",
        "He waited ... and then he waited more.",
    ]
