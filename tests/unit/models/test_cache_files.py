"""Caches in files: a document read once goes on as if it had just been read; other models and damage are refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from simmim import CheckpointError, ShapeError, SimMIMForCausalLM
from simmim.errors import ConfigError
from simmim.models import SimMIMCache
from simmim.ops.ngrams import BUCKETS, KEPT, LONGEST
from support import family_model

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "shifted": {"segment_shift": 4, "state_null": True, "state_pooling": "attention"},
    "broadcast": {"state_read": "broadcast", "state_pooling": "last", "neighbours": 0},
    "pyramid": {"state_reach": "pyramid", "segment_shift": 4},
    "none": {"state_read": "none"},
}
SETTINGS: dict[str, Any] = {"do_sample": False, "eos_token_id": None, "max_new_tokens": 5}


def model_of(**changes: Any) -> SimMIMForCausalLM:
    model = family_model(SimMIMForCausalLM, dtype=torch.float32, **changes)
    assert isinstance(model, SimMIMForCausalLM)
    return model


def texts(rows: int, tokens: int, seed: int = 1) -> Tensor:
    return torch.randint(4, 50, (rows, tokens), generator=torch.Generator().manual_seed(seed))


def read(model: SimMIMForCausalLM, ids: Tensor, mask: Tensor | None = None) -> SimMIMCache:
    with torch.no_grad():
        return model(ids, mask, use_cache=True).past_key_values


@pytest.fixture
def saved(tmp_path: Path) -> tuple[SimMIMForCausalLM, Path]:
    """A model, and the file of a cache that it filled."""
    model = model_of()
    read(model, texts(1, 150)).save(tmp_path / "document.safetensors", model)
    return model, tmp_path / "document.safetensors"


@pytest.mark.parametrize("tokens", [1, 148])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_loaded_cache_goes_on_as_the_one_that_was_saved(preset: str, tokens: int, tmp_path: Path) -> None:
    """Two documents, one of which is padded; saving changes nothing, and what is loaded equals it to the last bit."""
    model, ids = model_of(**PRESETS[preset]), texts(2, tokens + 9)
    mask = torch.ones_like(ids)
    mask[1, : tokens // 2] = 0
    cache = read(model, ids[:, :tokens], mask[:, :tokens])
    cache.save(tmp_path / "cache", model)
    loaded = SimMIMCache.load(str(tmp_path / "cache"), model)
    assert loaded.get_seq_length() == tokens
    with torch.no_grad():
        found = [
            torch.cat([model(ids[:, t : t + 1], past_key_values=past).logits for t in range(tokens, tokens + 9)], 1)
            for past in (cache, loaded)
        ]
        whole = model(ids, mask, use_cache=False).logits[:, tokens:]
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(found[1], whole, rtol=1e-4, atol=1e-4)
    assert [file.name for file in tmp_path.iterdir()] == ["cache"], "nothing is left beside it"


def test_a_document_is_read_once_and_asked_many_times(saved: tuple[SimMIMForCausalLM, Path]) -> None:
    """From copies of what was loaded: the whole text or only what is new, beams, samples, and a batch of questions."""
    model, file = saved
    document, loaded = texts(1, 150), SimMIMCache.load(file, model)
    for seed, extra in ((2, {}), (3, {"num_beams": 3}), (4, {"num_beams": 2, "num_return_sequences": 2})):
        question = texts(1, 5, seed)
        whole = torch.cat((document, question), 1)
        expected = model.generate(whole, **SETTINGS, **extra)
        again = model.generate(whole, past_key_values=copy.deepcopy(loaded), **SETTINGS, **extra)
        assert torch.equal(again, expected)
        mask = torch.ones(1, 155, dtype=torch.long)
        new = model.generate(question, attention_mask=mask, past_key_values=copy.deepcopy(loaded), **SETTINGS, **extra)
        assert torch.equal(new[:, 5:], expected[:, 155:])
    assert loaded.get_seq_length() == 150, "copies leave the original alone"


@pytest.mark.parametrize("side", ["left", "right"])
def test_questions_of_different_lengths_are_asked_together(side: str, saved: tuple[SimMIMForCausalLM, Path]) -> None:
    model, file = saved
    document, lengths = texts(1, 150), (7, 2, 12)
    questions, mask = torch.zeros(3, 12, dtype=torch.long), torch.zeros(3, 12, dtype=torch.long)
    expected = []
    for row, length in enumerate(lengths):
        places = slice(12 - length, 12) if side == "left" else slice(0, length)
        questions[row, places], mask[row, places] = texts(1, length, row)[0], 1
        expected.append(model.generate(torch.cat((document, texts(1, length, row)), 1), **SETTINGS)[0, 150 + length :])
    cache = SimMIMCache.load(file, model)
    cache.batch_repeat_interleave(3)
    covered = torch.cat((torch.ones(3, 150, dtype=torch.long), mask), 1)
    found = model.generate(questions, attention_mask=covered, past_key_values=cache, **SETTINGS)
    assert torch.equal(found[:, 12:], torch.stack(expected))
    cache = SimMIMCache.load(file, model)
    cache.batch_repeat_interleave(3)
    cache.batch_select_indices(torch.tensor([0, 2]))
    found = model.generate(questions[:2], attention_mask=covered[:2], past_key_values=cache, **SETTINGS)
    assert torch.equal(found[:, 12:], torch.stack(expected[:2]))


def test_no_room_is_saved(tmp_path: Path) -> None:
    """150 tokens fill 18 segments of 8; the cache that grew step by step has room for more of their states."""
    model, ids = model_of(), texts(1, 150)
    sizes = []
    for first in (150, 129):
        cache = read(model, ids[:, :first])
        for t in range(first, 150):
            with torch.no_grad():
                model(ids[:, t : t + 1], past_key_values=cache)
        cache.save(tmp_path / "cache", model)
        sizes.append((tmp_path / "cache").stat().st_size)
    assert abs(sizes[0] - sizes[1]) < 100, "one state more at most"
    numbers = 2 * (2 * (16 + 18) * 16 + 16)  # two layers: keys and values of window and states, the state under way
    table = 8 * LONGEST * (1 + (BUCKETS + 1) * KEPT)  # of the copy head, of the same size for every text
    assert 0 < sizes[0] - 4 * numbers - table < 3000


def other(change: str) -> SimMIMForCausalLM:
    if change == "weights":
        model = model_of()
        with torch.no_grad():
            model.decoder.layers[1].ffn.up_proj.weight[3, 5] += 1e-3
        return model
    if change == "dtype":
        return model_of().bfloat16()
    return model_of(**{"settings": {"rope_theta": 500}, "size": {"num_hidden_layers": 3}}[change])


@pytest.mark.parametrize("change", ["weights", "dtype", "settings", "size"])
def test_the_cache_of_another_model_is_refused(change: str, saved: tuple[SimMIMForCausalLM, Path]) -> None:
    with pytest.raises(CheckpointError, match=r"model: expected the model that .* was saved with"):
        SimMIMCache.load(saved[1], other(change))


def test_what_makes_no_difference_is_not_asked_for(saved: tuple[SimMIMForCausalLM, Path], tmp_path: Path) -> None:
    """The same model, saved and loaded, with other settings of generation and training."""
    model, file = saved
    model.save_pretrained(tmp_path / "model")
    again = SimMIMForCausalLM.from_pretrained(tmp_path / "model", dropout=0.1, eos_token_id=7).eval()
    assert SimMIMCache.load(file, again).get_seq_length() == 150


def test_damage_gives_one_error(saved: tuple[SimMIMForCausalLM, Path]) -> None:
    """At any place: cut off, a flipped bit in the header or in the numbers, another file, an empty one, none."""
    model, file = saved
    good = file.read_bytes()
    for place in (0, 3, 60, 500, len(good) // 2, len(good) - 1):
        for bad in (good[:place], good[:place] + bytes([good[place] ^ 16]) + good[place + 1 :]):
            file.write_bytes(bad)
            with pytest.raises(CheckpointError) as caught:
                SimMIMCache.load(file, model)
            assert str(file) in str(caught.value)
    for bad in (b"", b"not a cache", good + b"more"):
        file.write_bytes(bad)
        with pytest.raises(CheckpointError, match=r"path: expected a whole file that SimMIMCache\.save wrote"):
            SimMIMCache.load(file, model)
    model.save_pretrained(file.parent)
    with pytest.raises(CheckpointError, match="its format is 'pt', not 'simmim-cache-3'"):
        SimMIMCache.load(file.parent / "model.safetensors", model)
    with pytest.raises(CheckpointError, match="which is not there"):
        SimMIMCache.load(file.parent / "missing", model)
    file.write_bytes(good)
    assert SimMIMCache.load(file, model).get_seq_length() == 150


def test_numbers_that_were_tampered_with_are_noticed(saved: tuple[SimMIMForCausalLM, Path]) -> None:
    model, file = saved
    with safe_open(file, framework="pt") as stored:
        about = stored.metadata()
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  (not a dict)
    save_file(tensors, file, metadata=about | {"layers": about["layers"].replace('"origin": 0', '"origin": 3')})
    with pytest.raises(CheckpointError, match="its contents are not those that were written"):
        SimMIMCache.load(file, model)


def test_a_cache_that_cannot_be_saved_leaves_what_was_there(
    saved: tuple[SimMIMForCausalLM, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, file = saved
    good, cache = file.read_bytes(), read(model, texts(1, 40))
    with pytest.raises(ShapeError, match="model: expected the one that filled this cache of 2 layers"):
        SimMIMCache(2).save(file, model)
    with pytest.raises(ShapeError, match="got one of 3"):
        cache.save(file, other("size"))
    with pytest.raises(CheckpointError, match="path: expected a path to write a cache to"):
        cache.save(file / "cache", model)
    with pytest.raises(ConfigError, match="made_from: expected token ids, or what JSON can hold"):
        cache.save(file, model, made_from={"ids": object()})

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("simmim.models.cache_files.save_file", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        cache.save(file, model)
    assert file.read_bytes() == good
    assert [path.name for path in file.parent.iterdir()] == [file.name]
