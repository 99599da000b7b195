"""Tests that n blocks in give n blocks out, and that nothing is lost without being mended or reported."""

import pytest

from simmim.errors import DataError
from simmim.tasks.translation.glossary import Glossary, read_glossary
from simmim.tasks.translation.marks import MARK, Block, Mark
from simmim.tasks.translation.translate import translate_blocks
from translation_files import Scripted

BOLD = (Mark("<b>", opens=(1,)), Mark("</b>", closes=(1,)))
TWO = (*BOLD, Mark("<i>", opens=(2,)), Mark("</i>", closes=(2,)))


def one(block, function, **options):
    return translate_blocks([block], Scripted(function), **options)[0]


@pytest.mark.contract
@pytest.mark.parametrize("group_size", [1, 2, 3, 7, 100])
def test_as_many_blocks_come_out_as_go_in(group_size):
    blocks = [Block(f"block {number}") for number in range(23)]
    translator = Scripted(str.upper)
    found = translate_blocks(blocks, translator, group_size=group_size)
    assert [block.text for block in found] == [f"BLOCK {number}" for number in range(23)]
    assert max(map(len, translator.asked)) == min(group_size, 23)


@pytest.mark.contract
def test_blocks_whose_count_is_lost_are_translated_one_by_one():
    class Joining(Scripted):
        def write(self, groups, **options):
            found = super().write(groups, **options)
            return [
                type(one)([" ".join(one.blocks)], one.complete, one.score) if len(one.blocks) > 1 else one
                for one in found
            ]

    translator = Joining(str.upper)
    found = translate_blocks([Block("a b"), Block("c"), Block("d")], translator, group_size=2)
    assert [block.text for block in found] == ["A B", "C", "D"]
    assert translator.asked == [["a b", "c"], ["d"], ["a b"], ["c"]]


def test_marks_that_are_kept_are_left_alone():
    found = one(Block("Press {1}Enter{2} now", BOLD), lambda text: "Maintenant, {1}Entrée{2}")
    assert (found.text, found.repairs, found.faults) == ("Maintenant, {1}Entrée{2}", (), ())
    swapped = "{3}d{4} {1}b{2}"
    assert one(Block("{1}b{2} c {3}d{4}", TWO), lambda text: swapped).text == swapped


@pytest.mark.contract
@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("Maintenant Entrée{2}", "mark {1} is missing"),
        ("{1}Entrée", "mark {2} is missing"),
        ("{1}a{2} {1}", "mark {1} is there 2 times"),
        ("{1}a{2} {7}", "mark {7} is unknown"),
        ("{2}a{1}", "elements overlap"),
    ],
)
def test_marks_that_are_lost_are_mended_between_the_marks(written, fault):
    block = Block("Press {1}Enter{2} now", BOLD)
    found = one(block, lambda text: written if "{" in text else text.upper())
    assert found.text == "PRESS {1}ENTER{2} NOW"
    assert found.repairs == (f"{fault}: translated between the marks",)
    assert found.raw == written
    assert found.faults == ()


def test_elements_that_overlap_are_mended():
    found = one(Block("{1}a{2} {3}b{4}", TWO), lambda text: "{1}x {3}y{2} z{4}" if "{" in text else text.upper())
    assert found.text == "{1}A{2} {3}B{4}"


def test_an_end_without_its_beginning_in_the_block_stays_before_what_follows_it():
    lone = (Mark("</b>", closes=(9,)), Mark("<i>", opens=(2,)), Mark("</i>", closes=(2,)))
    block = Block("bold{1} plain {2}slanted{3}", lone)
    assert one(block, lambda text: "x{1} {2}y{3}").repairs == ()
    assert one(block, lambda text: "{2}y{1}{3}" if "{" in text else text).repairs != ()


@pytest.mark.parametrize(
    ("source", "written", "missing"),
    [
        ("1,000 and 3.5", "1 000 et 3,5", ()),
        ("12 of 13", "12", ("number 13 is missing",)),
        ("in 2024", "en 2042", ("number 2024 is missing",)),
        ("has 3 parts", "有三个部分", ()),
        ("has 3 parts", "a des parties", ("number 3 is missing",)),
        ("IPv6 and x86", "IPv6 et x86", ()),
    ],
)
def test_missing_numbers_are_reported(source, written, missing):
    assert one(Block(source), lambda text: written).faults == missing


def test_what_a_model_does_not_end_is_reported():
    translator = Scripted(str.upper, complete=lambda text: text != "never ends")
    found = translate_blocks([Block("never ends"), Block("ends")], translator)
    assert [block.faults for block in found] == [("the model did not end it",), ()]


def test_a_block_for_which_nothing_is_written_is_kept_and_reported():
    found = one(Block("something"), lambda text: " ")
    assert (found.text, found.origin, found.faults) == ("something", "kept", ("the model wrote nothing",))


@pytest.mark.contract
def test_a_block_that_is_too_long_is_translated_in_parts_and_nothing_is_cut():
    sentences = [f"Sentence {number} has some words {{1}} in it." for number in range(3)]
    text = sentences[0] + " " + " ".join(sentences[1:]).replace("{1}", "here") + " 一句。两句。" + " end" * 30
    translator = Scripted(str.upper, limit=12)
    found = translate_blocks([Block(text, (Mark("x"),))], translator)[0]
    assert found.text == text.upper().replace("。 ", "。")  # Chinese has no space there
    assert "longer than the model reads" in found.repairs[0]
    assert all(len(translator.encode(group)) <= 12 for group in translator.asked)


def test_a_text_without_a_space_is_cut_outside_of_marks():
    class ByCharacter(Scripted):
        def encode(self, group):
            return list("".join(group))

    text = "abcdefgh{12}ijkl" * 3
    found = translate_blocks([Block(text, ())], ByCharacter(str, limit=9))[0]
    assert MARK.sub("", found.text) == MARK.sub("", text)


@pytest.mark.contract
def test_terms_of_a_glossary_are_translated_as_it_says():
    glossary = Glossary({"spring": "ressort", "coil spring": "ressort hélicoïdal", "C++": "C++"})
    found = one(Block("Spring: the coil spring, springs in C++ {1}", (Mark("%s"),)), str.upper, glossary=glossary)
    assert found.text == "Ressort: THE ressort hélicoïdal, SPRINGS IN C++ {1}"


def test_a_glossary_works_without_spaces_between_words():
    assert one(Block("打开文件夹"), str, glossary=Glossary({"文件夹": "folder"})).text == "打开folder"


def test_terms_survive_a_model_that_loses_their_marks():
    block = Block("a spring {1} b", (Mark("%s"),))
    found = one(block, lambda text: "lost" if "{" in text else text.upper(), glossary=Glossary({"spring": "ressort"}))
    assert found.text == "A ressort {1} B"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\nc\n", "g.csv:2: expected a term and its translation"),
        ("a,b\na,c\n", "expected one translation of 'a', got 'c' after 'b'"),
        (b"\xff\xfe", "expected UTF-8"),
    ],
)
def test_a_broken_glossary_is_named(tmp_path, content, message):
    path = tmp_path / "g.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        read_glossary(path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_glossary_is_read(tmp_path, delimiter):
    path = tmp_path / "g.csv"
    path.write_text(f'# comment\n\n"coil, long"{delimiter} x \nb{delimiter}y\n', encoding="utf-8-sig")
    glossary = read_glossary(path)
    assert len(glossary) == 2
    assert glossary.replaced("a Coil, long b", 3) == ("a {3} {4}", ["X", "y"])


@pytest.mark.contract
def test_a_memory_is_taken_as_it_is():
    translator = Scripted(str.upper)
    memory = {"known": "connu", "{1}a{2}": "no marks", "other": "autre"}
    found = translate_blocks([Block("known"), Block("{1}a{2}", BOLD), Block("new")], translator, memory=memory)
    assert [(block.text, block.origin) for block in found] == [
        ("connu", "memory"),
        ("{1}A{2}", "model"),
        ("NEW", "model"),
    ]
    assert translator.asked == [["{1}a{2}"], ["new"]]


def test_a_part_between_marks_for_which_nothing_is_written_is_reported():
    found = one(
        Block("Press {1}Enter{2} now", BOLD), lambda text: "lost" if "{" in text else "x" if text == "now" else ""
    )
    assert found.text == "Press {1}Enter{2} x"
    assert found.faults == ("the model wrote nothing for a part of it",)


def test_progress_counts_every_block_once():
    counts = []
    blocks = [Block(f"b {number}") for number in range(150)]
    translate_blocks(blocks, Scripted(str.upper), memory={"b 7": "x"}, advance=counts.append)
    assert sum(counts) == 150
