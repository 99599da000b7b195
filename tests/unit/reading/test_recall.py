"""Recalled segments stand where the model would have them, and an answer says what was read for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reading_folders import HEADS, TEXT, files_of, make_reader, make_tokenizer, tiny_llama
from reading_models import CASES, CONFIGS, draw, own_attention, tiny
from simmim.errors import ConfigError, DataError
from simmim.reading.answering import _Loop, answer, fitting, recall, rotated_cache
from simmim.reading.cache import ReadingCache
from simmim.reading.finder import Found
from simmim.reading.interface import decoder_of
from simmim.reading.opened import Segment
from simmim.reading.reader import Reader
from simmim.tasks.reading import Library, open_library

LENGTH = 8
PAGES = [0, *(TEXT.index(f"House {i}") for i in range(1, 10))]


def _question(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _ask(library: Library, text: str = "When was the mill built?", **settings: Any) -> Any:
    more = {"max_new_tokens": 3, "do_sample": False} | settings
    return answer(library.reader, library.opened, library.finder, _question(text), **more)


def recall_from(cache: ReadingCache, decoder: Any, segments: Sequence[int]) -> Any:
    """Return an ordinary cache of some segments of what a cache has read, in the given order, without a record."""
    index = torch.cat([torch.arange(s * LENGTH, min((s + 1) * LENGTH, cache.get_seq_length())) for s in segments])
    both = torch.stack([torch.stack([layer.keys[0][:, index], layer.values[0][:, index]]) for layer in cache.layers])
    return rotated_cache(decoder, both)


def _logits(model: Any, ids: Tensor, cache: Any = None) -> Tensor:
    with torch.no_grad():
        return model(ids, past_key_values=cache).logits


@pytest.mark.contract
@pytest.mark.parametrize("case", [case for case in CASES if CONFIGS[case][0] != "gemma2"])
def test_exact_while_short(case: str) -> None:
    """All segments of a document that the window covers, without a record: the model's own full attention.

    With LongRoPE the question must not cross the length at which the frequencies change: 64 tokens here.
    """
    model, ids, after = tiny(case), draw(1, 52), draw(1, 9)
    cache = ReadingCache(model, segment=LENGTH, near=8)
    _logits(model, ids, cache)
    recalled = recall_from(cache, decoder_of(model), range(7))
    assert recalled.get_seq_length() == 52
    expected = _logits(own_attention(case), torch.cat([ids, after], 1))[:, 52:]
    torch.testing.assert_close(_logits(model, after, recalled), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", ["llama", "gemma3_text", "mistral sliding", "smollm3"])
def test_token_by_token(case: str) -> None:
    model, ids, after = tiny(case), draw(1, 60), draw(1, 9)
    cache = ReadingCache(model, segment=LENGTH, near=8)
    _logits(model, ids, cache)
    recalled = recall_from(cache, decoder_of(model), range(8))
    expected = _logits(own_attention(case), torch.cat([ids, after], 1))[:, 60:]
    found = torch.cat([_logits(model, token, recalled) for token in after.split(1, 1)], 1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", ["llama", "gemma3_text", "mistral sliding", "smollm3", "qwen3"])
@pytest.mark.parametrize(("keep", "precision"), [("keys", "bfloat16"), ("keys", "int8"), ("text", "int8")])
def test_all_segments_of_a_folder(tmp_path: Path, case: str, keep: str, precision: str) -> None:
    """What is kept on disk gives full attention up to its precision; the text alone gives it exactly."""
    size = {"vocab_size": len(make_tokenizer()), "max_position_embeddings": 512}
    reader = make_reader(tiny(case, **size), heads=[HEADS[0]], near=40, keep=keep, precision=precision)
    reader.read(tmp_path, TEXT)
    opened = open_library(tmp_path, reader).opened
    cache, ids = recall(reader, opened, [Segment(0, i) for i in range(opened.segments)])
    assert ids == opened.documents[0].tokens.ids.tolist()
    assert cache.get_seq_length() == len(ids) == opened.tokens
    after = draw(1, 9)
    expected = _logits(own_attention(case, **size), torch.cat([torch.tensor([ids]), after], 1))[:, len(ids) :]
    found = _logits(reader.model, after, cache)
    limit = {"bfloat16": 0.03, "int8": 0.1}[precision] if keep == "keys" else 1e-5
    assert (found - expected).norm() <= limit * expected.norm()


@pytest.mark.parametrize("step", [1, 3])
def test_a_loop_ends_where_tokens_come_again(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer ends before the first repetition of 4 tokens that do not overlap, however the tokens arrive."""
    monkeypatch.setattr("simmim.reading.answering._REPEATED", 4)
    generator = torch.Generator().manual_seed(1)
    for _ in range(50):
        ids = torch.randint(3, (1, 60), generator=generator)
        loop, end = _Loop(5), None
        for length in range(5 + step, 61, step):
            answer_ids = ids[0, 5:length].tolist()
            starts = range(len(answer_ids) - 7)
            if any(answer_ids[start : start + 4] == answer_ids[-4:] for start in starts):
                end = len(answer_ids) - 4
            assert bool(loop(ids[:, :length], None).all()) == (end is not None)
            assert loop.end == end
            if end is not None:
                break


@pytest.fixture(scope="module")
def reader() -> Reader:
    return make_reader()


@pytest.fixture(scope="module")
def library(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Return two documents, the first with pages."""
    folder = tmp_path_factory.mktemp("open")
    reader.read(folder, TEXT, "houses.pdf", PAGES)
    reader.read(folder, "Trees are tall.\nBirds sing in them.\n\nThe forest is old. " * 5, "trees.txt")
    return open_library(folder, reader)


def test_segments_stand_side_by_side(library: Library) -> None:
    chosen = [Segment(0, 9), Segment(0, 10), Segment(0, 30), Segment(1, 2)]
    cache, ids = recall(library.reader, library.opened, chosen)
    tokens = [document.tokens.ids.tolist() for document in library.opened.documents]
    last = library.opened.documents[0].about.tokens
    assert ids == tokens[0][:8] + tokens[0][72:88] + tokens[0][240:last] + tokens[1][16:24]
    assert [layer.keys.shape[-2] for layer in cache.layers] == [len(ids)] * 2
    # the same keys at positions 0 to M - 1: two recalls differ by nothing but their place
    alone, _ = recall(library.reader, library.opened, [Segment(0, 0)])
    torch.testing.assert_close(cache.layers[0].keys[:, :, :8], alone.layers[0].keys)
    assert not torch.allclose(cache.layers[0].keys[:, :, 9:10], alone.layers[0].keys[:, :, 1:2])


def test_values_are_those_that_were_kept(library: Library) -> None:
    document, record = library.opened.documents[0], library.reader.record
    cache, _ = recall(library.reader, library.opened, [Segment(0, 5)])
    kept = document.kept(record, 5, torch.float32)
    for number, layer in enumerate(cache.layers):
        torch.testing.assert_close(layer.values[0][:, 8:], kept[number, 1])


def test_questions_do_not_influence_each_other(library: Library) -> None:
    asked = ["When was the mill built?", "樹？", "Is the forest old?", "When was the mill built?"]
    fresh = [_ask(open_library(library.opened.folder, library.reader), text) for text in asked]
    before = files_of(library.opened.folder)
    again = [_ask(library, text) for text in asked]
    for one, other in zip(fresh, again, strict=True):
        assert (one.text, one.passages, one.read_tokens) == (other.text, other.passages, other.read_tokens)
    assert fresh[0].passages == fresh[3].passages != fresh[2].passages
    assert files_of(library.opened.folder) == before


def test_passages(library: Library) -> None:
    found = _ask(library, "House market built forest", passages=6)
    assert sum(passage.weight for passage in found.passages) == pytest.approx(1, abs=1e-3)
    assert {passage.document for passage in found.passages} <= {"houses.pdf", "trees.txt"}
    texts = {each.about.name: each.text for each in library.opened.documents}
    places = [(["houses.pdf", "trees.txt"].index(each.document), each.begin) for each in found.passages]
    assert places == sorted(places)
    for passage in found.passages:
        text = texts[passage.document]
        assert text[passage.begin : passage.end] == passage.text
        assert passage.text
        assert passage.line == len(text[: passage.begin].split("\n"))
        if passage.document == "houses.pdf":
            assert passage.page == sum(start <= passage.begin for start in PAGES)
        else:
            assert passage.page is None
    for one, other in zip(found.passages, found.passages[1:], strict=False):
        assert one.document != other.document or one.end < other.begin  # neighbours were joined


def test_the_whole_answer(library: Library) -> None:
    found = _ask(library)
    assert found.new_tokens == 3
    assert not found.complete
    assert 0 < found.first_token_seconds <= found.seconds
    after = library.reader.prompt.after(_question("When was the mill built?"))
    assert found.read_tokens > len(after)


def test_a_conversation(library: Library) -> None:
    turns = [*_question("a"), {"role": "assistant", "content": "b"}, *_question("When was the mill built?")]
    found = answer(library.reader, library.opened, library.finder, turns, max_new_tokens=2, do_sample=False)
    assert found.passages
    assert found.read_tokens > _ask(library).read_tokens


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("  \n", "question: expected a text, got a blank one"),
        ("word " * 2000, r"question: expected at most 480 tokens .* window of 512 leaves, got [\d,]+; shorten it"),
        ("a\ud800", "question: expected valid Unicode text, got half a character"),
        (
            "What is <|end|>?",
            "expected no control token of the tokenizer in the text, got '<|end|>'".replace("|", r"\|"),
        ),
    ],
    ids=["blank", "too long", "no Unicode", "control token"],
)
def test_questions_that_are_refused(library: Library, text: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        _ask(library, text)


def test_an_answer_that_leaves_no_space(library: Library) -> None:
    with pytest.raises(DataError, match="expected at most 480 tokens with the conversation and the answer"):
        _ask(library, max_new_tokens=500)


def test_a_question_with_the_mark_of_the_document(library: Library) -> None:
    assert _ask(library, "What is \uf8ff?").passages


def test_no_message(library: Library) -> None:
    with pytest.raises(ConfigError, match="messages: expected a question, got none"):
        library.reader.prompt.after([])


@pytest.mark.parametrize(("passages", "new"), [(1, 400), (4, 100), (40, 1), (40, 400), (1000, 100), (1000, 1)])
def test_what_is_read_fits_into_the_window(library: Library, passages: int, new: int) -> None:
    found = _ask(library, passages=passages, max_new_tokens=new, stop_strings=None)
    assert found.read_tokens + new <= 512


@pytest.mark.parametrize("most", range(1, 40))
def test_fitting_never_exceeds_what_fits(library: Library, most: int) -> None:
    found = [Found(Segment(0, i), 1.0, {}) for i in (7, 0, 20, 21, 30, 12)]
    chosen = fitting(found, library.opened, most)
    assert len(chosen) <= most
    assert chosen == sorted(set(chosen))
    assert found[0].segment in chosen


def test_without_a_template(tmp_path: Path) -> None:
    model = tiny_llama(len(make_tokenizer(template=False)))
    model.set_attn_implementation("simmim")
    reader = make_reader(model, template=False)
    reader.read(tmp_path, TEXT)
    library = open_library(tmp_path, reader)
    found = _ask(library, "Is </s> a word?")
    assert found.passages
    after = reader.prompt.after(_question("Is </s> a word?"))
    assert reader.tokenizer.decode(after) == "\n\nQuestion: Is </s> a word?\nAnswer:"
    assert reader.tokenizer.eos_token_id not in after


def test_a_document_shorter_than_its_prompt(tmp_path: Path, reader: Reader) -> None:
    reader.read(tmp_path, "x")
    found = _ask(open_library(tmp_path, reader), "What?", passages=3)
    assert [passage.text for passage in found.passages] == ["x"]
    assert found.passages[0].weight == 1
