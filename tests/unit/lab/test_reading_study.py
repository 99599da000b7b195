"""The study of reading: documents of a wanted length, far attention, and files of answers that a stop cut off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from lab.reading.far_attention import BlockCache, FarCache, MeanCache
from lab.reading.finding import half, rank, right, table
from lab.reading.sizing import fit_length
from lab.reading.study import rows
from lab.reading.tasks.cases import Case, Question
from reading_models import draw, own_attention, tiny


def made(characters: int) -> list[Case]:
    return [Case("made", f"made/{characters}", "ab " * (characters // 3), (), "scored")]


class TestFitLength:
    @pytest.mark.parametrize("wanted", [100, 999, 5000])
    def test_never_longer_and_hardly_shorter(self, wanted: int) -> None:
        [case] = fit_length(made, wanted, lambda text: len(text.split()))
        assert 0.97 * wanted <= len(case.text.split()) <= wanted

    def test_too_long_in_every_form(self) -> None:
        with pytest.raises(ValueError, match="expected at most 5 tokens, its shortest form has 33"):
            fit_length(lambda characters: made(99), 5, lambda text: len(text.split()))


class TestRows:
    def test_a_line_that_was_cut_off_is_removed(self, tmp_path: Path) -> None:
        path = tmp_path / "answers.jsonl"
        path.write_text('{"a": 1}\n{"a": 2}\n{"a', encoding="utf-8")
        assert rows(path) == [{"a": 1}, {"a": 2}]
        assert path.read_text(encoding="utf-8") == '{"a": 1}\n{"a": 2}\n'

    def test_no_file(self, tmp_path: Path) -> None:
        assert rows(tmp_path / "none") == []


class TestFinding:
    def test_segments_of_the_evidence(self) -> None:
        question = Question("Where?", ("here",), ((5, 12), (30, 31)), "same")
        assert right(question, [(0, 5), (5, 10), (10, 20), (20, 30), (30, 40)]) == [1, 2, 4]

    def test_rank_is_that_of_the_best_segment(self) -> None:
        scores = np.array([0.1, 0.9, 0.5, 0.7])
        assert rank(scores, [0, 2]) == 2
        assert rank(scores, [1]) == 0
        assert rank(np.zeros(5), [3]) == 2  # an index that knows nothing is as good as chance

    def test_halves_are_the_same_every_time(self) -> None:
        questions = [Question(f"What is {n}?", ("1",), ((0, 1),), "same") for n in range(200)]
        parts = [half(question) for question in questions]
        assert parts == [half(question) for question in questions]
        assert 70 < parts.count("tuning") < 130

    def test_table(self) -> None:
        answers = [{"wording": "same", "half": "final", "ranks": {"words": n}} for n in (0, 2, 5, 9)]
        [*_, final, both] = table(answers).splitlines()
        assert final.startswith("| same, final | 4 | words | 0.25 (")
        assert [cell.split()[0] for cell in both.split("|")[4:8]] == ["0.25", "0.50", "0.75", "4"]


@torch.inference_mode()
def read(cache: FarCache, model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    parts = [model(input_ids=part, past_key_values=cache).logits for part in ids.split(cache.block, 1)]
    return torch.cat(parts, 1)


class TestFarAttention:
    @pytest.mark.parametrize("kind", [BlockCache, MeanCache])
    def test_local_blocks_that_cover_the_text_are_full_attention(self, kind: type[FarCache]) -> None:
        ids = draw(1, 60)
        expected = own_attention("llama")(input_ids=ids).logits
        model = tiny("llama")
        torch.testing.assert_close(read(kind(model, block=8, local=8), model, ids), expected, atol=1e-4, rtol=1e-4)

    def test_far_text_is_read_in_its_own_way(self) -> None:
        model, ids = tiny("llama"), draw(1, 60)
        found = {kind: read(kind(model, block=8, local=2), model, ids) for kind in (BlockCache, MeanCache)}
        one, other = found[BlockCache], found[MeanCache]
        torch.testing.assert_close(one[:, :24], other[:, :24])  # nothing was far yet
        assert (one - other)[:, 32:].abs().max() > 1e-3

    def test_all_blocks_chosen_is_more_than_none(self) -> None:
        model, ids = tiny("llama"), draw(1, 64)
        some, every = (read(BlockCache(model, block=8, local=1, chosen=n), model, ids) for n in (1, 8))
        assert (some - every)[:, 40:].abs().max() > 1e-3

    @torch.inference_mode()
    def test_rewinding_forgets_a_question(self) -> None:
        model, ids = tiny("llama"), draw(1, 72)
        cache = BlockCache(model, block=8, local=2)
        read(cache, model, ids[:, :64])
        cache.reading = False
        first = model(input_ids=ids[:, 64:], past_key_values=cache).logits
        cache.rewind(64)
        assert cache.get_seq_length() == 64
        model(input_ids=draw(1, 5), past_key_values=cache)
        cache.rewind(64)
        torch.testing.assert_close(model(input_ids=ids[:, 64:], past_key_values=cache).logits, first)
