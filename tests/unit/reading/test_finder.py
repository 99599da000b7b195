"""Finding segments: votes of the indexes, words of any language, sentences, the encoder and the retrieval heads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reading_folders import TEXT, make_reader, tiny_encoder
from simmim.errors import CheckpointError, DataError
from simmim.reading.asking import question_queries, segment_scores
from simmim.reading.calibrating import find_heads, head_scores, make_trial
from simmim.reading.finder import best_sentence, calibrated, fuse, with_neighbours
from simmim.reading.heads import Head, load_heads, save_heads
from simmim.reading.lexical import LexicalIndex, words
from simmim.reading.opened import Segment
from simmim.reading.quantized import Rows
from simmim.reading.reader import Reader
from simmim.reading.sentences import sentences
from simmim.tasks.reading import Library, open_library


class TestFuse:
    def test_one_index(self) -> None:
        total, ranks = fuse({"words": np.array([0.5, 2.0, 1.0])})
        assert ranks["words"].tolist() == [2, 0, 1]
        assert total.tolist() == [1 / 5, 1 / 3, 1 / 4]

    def test_ties_share_the_mean_of_their_ranks(self) -> None:
        total, ranks = fuse({"words": np.array([1.0, 3.0, 1.0, 0.0])})
        assert ranks["words"].tolist() == [1.5, 0, 1.5, 3]
        assert total[0] == total[2]

    def test_an_index_that_knows_nothing_prefers_nothing(self) -> None:
        known = np.array([0.1, 0.2, 0.9, 0.3])
        alone, _ = fuse({"meaning": known})
        total, ranks = fuse({"meaning": known, "words": np.zeros(4, np.float32)})
        assert ranks["words"].tolist() == [1.5] * 4
        assert total.argsort().tolist() == alone.argsort().tolist()
        assert np.ptp(total - alone) < 1e-12

    def test_two_indexes_add_up(self) -> None:
        one, other = np.array([3.0, 2.0, 1.0]), np.array([1.0, 5.0, 2.0])
        total, _ = fuse({"a": one, "b": other})
        np.testing.assert_allclose(total, fuse({"a": one})[0] + fuse({"b": other})[0])

    def test_a_single_segment(self) -> None:
        assert fuse({"a": np.zeros(1), "b": np.zeros(1)})[0].tolist() == [2 / 3]

    @given(st.lists(st.integers(-3, 3), min_size=1, max_size=20))
    def test_better_scores_have_better_ranks(self, values: list[int]) -> None:
        _, ranks = fuse({"a": np.array(values, dtype=np.float32)})
        rank = ranks["a"]
        assert rank.sum() == pytest.approx(len(values) * (len(values) - 1) / 2)
        for i, one in enumerate(values):
            for j, other in enumerate(values):
                assert (one > other) == (rank[i] < rank[j])


class TestCalibrated:
    def test_shares_sum_to_zero(self) -> None:
        shares = calibrated(torch.randn(3, 5, 9), torch.randn(3, 2, 9))
        assert shares.shape == (9,)
        assert shares.sum().abs() < 1e-5

    def test_no_question_is_no_news(self) -> None:
        scores = torch.randn(3, 5, 9)
        assert calibrated(scores, scores).abs().max() < 1e-6

    def test_of_a_folder(self, library: Library) -> None:
        found = library.finder.scores("When was the mill built?")
        assert set(found) == {"attention", "words", "meaning", "sentence"}
        assert all(each.shape == (library.opened.segments,) for each in found.values())
        assert abs(found["attention"].sum()) < 1e-4


def _rows(*shape: int) -> np.ndarray:
    """Return random keys as the index has them."""
    rows = Rows(shape[-1])
    drawn = np.random.default_rng(0).normal(size=shape).astype(np.float32).reshape(-1, shape[-1])
    return np.frombuffer(rows.encode(drawn), rows.dtype).reshape(shape[:-1])


class TestSegmentScores:
    def test_equals_the_definition(self) -> None:
        queries, keys = torch.randn(3, 4, 6), _rows(45, 2, 6)
        found = segment_scores(queries, keys, [1, 0, 1], 8)
        exact = torch.from_numpy(keys["numbers"] * keys["scale"].astype(np.float32)[..., None])
        every = torch.einsum("hqd,nhd->hqn", queries, exact[:, [1, 0, 1]]) / 6**0.5
        expected = torch.stack([part.amax(-1) for part in every.split(8, -1)], -1)
        torch.testing.assert_close(found, expected)

    @pytest.mark.parametrize("block", [8, 10, 24, 1000])
    def test_in_blocks(self, block: int) -> None:
        queries, keys = torch.randn(2, 3, 4), _rows(50, 1, 4)
        expected = segment_scores(queries, keys, [0, 0], 8)
        torch.testing.assert_close(segment_scores(queries, keys, [0, 0], 8, block), expected)


class TestBestSentence:
    def test_a_sentence_counts_for_every_segment_that_it_reaches(self) -> None:
        owners = np.array([[0, 0], [0, 2], [2, 4]])
        found = best_sentence(np.array([0.9, 0.5, 0.7], np.float32), owners, 6)
        np.testing.assert_allclose(found, [0.9, 0.5, 0.7, 0.7, 0.7, -1])

    def test_no_sentence(self) -> None:
        assert best_sentence(np.zeros(0, np.float32), np.zeros((0, 2), np.int32), 2).tolist() == [-1, -1]

    def test_segments_of_each_sentence(self, library: Library) -> None:
        document = library.opened.documents[0]
        _, _, owners = document.vectors(16)
        for (begin, end), (first, last) in zip(sentences(document.text), owners, strict=True):
            assert document.span(first, first)[0] <= begin
            assert document.span(last, last)[1] >= end


@pytest.fixture(scope="module")
def reader() -> Reader:
    return make_reader()


@pytest.fixture(scope="module")
def library(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("found")
    reader.read(folder, TEXT, "a")
    reader.read(folder, "Trees are tall. Birds sing in them. The forest is old. " * 3, "b")
    return open_library(folder, reader)


class TestFind:
    def test_the_best_come_first(self, library: Library) -> None:
        found = library.finder.find("When was the mill built?", 7)
        assert len(found) == 7
        assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
        assert len({each.segment for each in found}) == 7
        assert set(found[0].ranks) == {"attention", "words", "meaning", "sentence"}

    def test_no_more_than_there_are(self, library: Library) -> None:
        assert len(library.finder.find("mill", 10**6)) == library.opened.segments

    @pytest.mark.parametrize("question", ["", " ", "\n\t", "\u3000"])
    def test_a_blank_question(self, library: Library, question: str) -> None:
        with pytest.raises(DataError, match="question: expected a text, got a blank one"):
            library.finder.find(question, 3)

    def test_no_known_word(self, library: Library) -> None:
        assert not library.finder.scores("xyzzy qwertz")["words"].any()
        assert len({each.ranks["words"] for each in library.finder.find("xyzzy qwertz", 9)}) == 1

    def test_the_words_find_their_segment(self, library: Library) -> None:
        best = int(library.finder.scores("station")["words"].argmax())
        segment = library.opened.locate(best)
        assert "station" in library.opened.documents[segment.document].surroundings()[segment.number]

    def test_neighbours(self, library: Library) -> None:
        last = library.opened.documents[0].segments - 1
        found = with_neighbours([Segment(0, last), Segment(1, 0), Segment(0, 0), Segment(0, 1)], library.opened)
        assert found == [Segment(0, i) for i in (0, 1, 2, last - 1, last)] + [Segment(1, 0), Segment(1, 1)]
        assert with_neighbours([], library.opened) == []

    def test_queries_are_those_of_the_question(self, library: Library, reader: Reader) -> None:
        one = question_queries(reader.model, reader.prompt, "mill", reader.heads)
        long = question_queries(reader.model, reader.prompt, "When was the mill by the river built?", reader.heads)
        assert one.shape[::2] == long.shape[::2] == (3, 8)
        assert 1 <= one.shape[1] < long.shape[1]

    def test_without_an_encoder(self, tmp_path: Path) -> None:
        reader = make_reader(encoder=False)
        reader.read(tmp_path, TEXT)
        assert not (tmp_path / "0000.vectors").exists()
        library = open_library(tmp_path, reader)
        assert set(library.finder.find("mill", 1)[0].ranks) == {"attention", "words"}


class TestWords:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("The Mill, built 1703!", ["the", "mill", "built", "1703"]),
            ("Zürich café ÉCOLE", ["zürich", "café", "école"]),
            ("Zu\u0308rich cafe\u0301", ["zürich", "café"]),
            ("河上", ["河", "上", "河上"]),
            ("カタカナ", ["カ", "タ", "カ", "ナ", "カタ", "タカ", "カナ"]),
            ("ﾃｽﾄ", ["テ", "ス", "ト", "テス", "スト"]),
            ("iPhone15を買う", ["iphone15", "を", "買", "う", "を買", "買う"]),
            ("１２３ Ａｂｃ", ["123", "abc"]),
            ("한국어 문장", ["한국어", "문장"]),
            ("हिन्दी में।", ["हिन्दी", "में"]),
            ("كِتَابٌ שָׁלוֹם", ["كِتَابٌ", "שָׁלוֹם"]),
            ("don't e-mail snake_case", ["don", "t", "e", "mail", "snake_case"]),
            ("Deleted files, deletes, deleting", ["delet", "file", "delet", "delet"]),
            ("Größen --skip2 naïve", ["größen", "skip2", "naïve"]),
            ("…—!  ", []),
            ("", []),
        ],
    )
    def test_of(self, text: str, expected: list[str]) -> None:
        assert words(text) == expected

    @given(st.text(st.characters(), max_size=60))
    def test_any_text(self, text: str) -> None:
        found = words(text)
        assert all(word and word == word.lower() and not any(map(str.isspace, word)) for word in found)
        assert words(text) == found

    @given(st.text("ab é河ナ1.", max_size=30), st.text("ab é河ナ1.", max_size=30))
    def test_words_do_not_depend_on_the_next_line(self, one: str, other: str) -> None:
        assert words(one + "\n" + other) == words(one) + words(other)


class TestLexicalIndex:
    def test_scores(self, tmp_path: Path) -> None:
        index = LexicalIndex.build(["the mill by the river", "", "the old bridge", "河上的橋"])
        loaded = LexicalIndex.load(tmp_path, 4, index.save(tmp_path))
        for question, best in (("MILL?", 0), ("a bridge", 2), ("橋", 3)):
            found = loaded.scores(question)
            assert found.dtype == np.float32
            assert found.shape == (4,)
            assert found.argmax() == best
            assert found[1] == 0
            np.testing.assert_array_equal(found, index.scores(question))
        assert not loaded.scores("unknown").any()
        assert not loaded.scores("").any()

    @pytest.mark.parametrize("texts", [[""], ["…", "!"]])
    def test_no_words_at_all(self, texts: list[str], tmp_path: Path) -> None:
        checks = LexicalIndex.build(texts).save(tmp_path)
        assert LexicalIndex.load(tmp_path, len(texts), checks).scores("mill").tolist() == [0] * len(texts)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(
            CheckpointError, match="nothing: cannot open the index of words: .*read the documents again"
        ):
            LexicalIndex.load(tmp_path / "nothing", 1, {})


def _spans(text: str) -> list[str]:
    """Return the sentences of a text, after checks that hold for any."""
    spans, end_before = list(sentences(text)), 0
    for begin, end in spans:
        assert end_before <= begin < end <= len(text)
        assert not text[end_before:begin].strip()
        assert text[begin:end].strip()
        assert end - begin <= 600
        end_before = end
    assert not text[end_before:].strip()
    return [text[begin:end].strip() for begin, end in spans]


class TestSentences:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("The first sentence is here. And a second one follows.", 2),
            ("He said: “This is the end of it.” Then he left the room.", 2),
            ("Version 1.2.3 of the e.g. library is out, and it is good.", 1),
            ("橋在河上,這是一個很長很長的句子,一直說到了最後。第二個句子也很長很長,說了很多很多的事情。", 2),
            ("Is that a question, my friend? Yes, that is certainly one! Good, then answer it.", 3),
            ("A heading\n\nThe paragraph under the heading", 2),
            ("These are the things we need:\n- a hammer of some weight\n- nails, many of them, too", 3),
            ("", 0),
            (" \n\n ", 0),
        ],
    )
    def test_count(self, text: str, expected: int) -> None:
        assert len(_spans(text)) == expected

    def test_short_ones_join_the_next(self) -> None:
        assert _spans("Yes. No. Perhaps. That depends on it.") == ["Yes. No. Perhaps. That depends on it."]

    def test_long_ones_are_cut_at_a_space(self) -> None:
        found = _spans("word " * 1000)
        assert all(len(each) > 290 and set(each.split()) == {"word"} for each in found[:-1])

    def test_long_ones_without_a_space(self) -> None:
        assert [len(each) for each in _spans("河" * 1500)] == [600, 600, 300]

    @settings(max_examples=300)
    @given(st.text(st.sampled_from("aB1 .。!?\n-\t”(é河"), max_size=200) | st.text(max_size=80))
    def test_any_text(self, text: str) -> None:
        _spans(text)

    @pytest.mark.parametrize(
        "piece", ["a.", " ", "\n", ".", ". ", "\n ", ".”", "1.\n", "\n-", "a", "。", "\n\n", "A. ", "\t", "\n1", "”"]
    )
    def test_a_megabyte_of_anything(self, piece: str) -> None:
        """Ends: backtracking in a regular expression would take hours."""
        text = piece * (2**20 // len(piece))
        count = sum(1 for _ in sentences(text))
        assert count <= len(text) // 20 + 1
        assert bool(count) == bool(text.strip())


class TestEncoder:
    def test_vectors_do_not_depend_on_their_company(self) -> None:
        encoder = tiny_encoder()
        texts = ["short", "a somewhat longer text", "河", "word " * 500, *("many " * i for i in range(1, 70))]
        together = encoder.encode(texts)
        alone = np.concatenate([encoder.encode([text]) for text in texts])
        np.testing.assert_allclose(together, alone, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)

    def test_nothing(self) -> None:
        assert tiny_encoder().encode([]).shape == (0, 16)

    def test_progress(self) -> None:
        seen: list[int] = []
        tiny_encoder().encode(["a"] * 70, seen.append)
        assert seen == [32, 32, 6]


class TestTrial:
    def test_every_place_holds_its_fact(self) -> None:
        trial = make_trial()
        assert len(trial.questions) == len(trial.places) == 32
        for question, place in zip(trial.questions, trial.places, strict=True):
            sentence = trial.text[place:].split(". ")[0].split(".\n")[0]
            named = next(words for words in question.split("the ")[1:] if words.split()[0].strip("?") in sentence)
            assert named
            assert place == 0 or trial.text[place - 1] in " \n"

    def test_deterministic(self) -> None:
        assert make_trial(3) == make_trial(3) != make_trial(4)

    @pytest.mark.parametrize(("facts", "questions"), [(1, 1), (10, 3), (160, 160)])
    def test_counts(self, facts: int, questions: int) -> None:
        trial = make_trial(0, facts, questions)
        assert len(trial.questions) == questions
        assert len(set(trial.places)) == questions
        assert len(set(trial.questions)) == questions

    def test_find_heads(self, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
        from simmim.reading import calibrating

        monkeypatch.setattr(calibrating, "make_trial", lambda seed: make_trial(seed, 12, 3))
        found = find_heads(reader, 3, trials=1)
        assert len(set(found)) == 3
        assert set(found) <= {Head(i, j) for i in range(2) for j in range(4)}
        assert found == find_heads(reader, 3, trials=1)
        assert len(find_heads(reader, 99, trials=1)) == 8

    def test_the_answers_segment(self, reader: Reader) -> None:
        trial = make_trial(0, 12, 3)
        shares, right = head_scores(reader, trial, [Head(0, 0), Head(1, 2)])
        assert shares.shape[:2] == (3, 2)
        assert shares.sum(-1).abs().max() < 1e-4
        assert (right < shares.shape[-1]).all()
        assert (right.diff() > 0).all()


class TestHeads:
    def test_written_and_read(self, tmp_path: Path) -> None:
        save_heads(tmp_path / "heads.json", [Head(3, 1), Head(0, 2)])
        assert load_heads(tmp_path / "heads.json") == [Head(3, 1), Head(0, 2)]
        assert load_heads(tmp_path / "nothing.json") is None

    @pytest.mark.parametrize("content", ["", "[]", '{"heads": 3}', '{"heads": [[1]]}', '{"heads": [["a", 0]]}', "\x00"])
    def test_damaged(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "heads.json"
        path.write_text(content)
        with pytest.raises(
            CheckpointError, match="heads.json: expected retrieval heads in JSON: .*; delete it to find"
        ):
            load_heads(path)

    def test_that_come_with_the_package_are_whole(self) -> None:
        import simmim.reading

        for path in (Path(simmim.reading.__file__).parent / "heads").glob("*.json"):
            assert load_heads(path)
            assert json.loads(path.read_text())["heads"]
