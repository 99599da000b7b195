"""The decoding caches: what they hold, and that choosing, repeating, cropping, copying and moving documents is safe."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import Cache, EncoderDecoderCache

from simmim import ShapeError, SimMIMForConditionalGeneration
from simmim.models.cache_simmim import MemoryCacheLayer, SimMIMCache, SimMIMCacheLayer, SimMIMEncoderDecoderCache
from simmim.models.modeling_simmim_causal import SimMIMForCausalLM
from simmim.nn.cache import SegmentCache
from support import small_config

PRESETS: dict[str, dict[str, Any]] = {
    "attend": {"segment_shift": 4, "state_null": True},
    "broadcast": {"state_read": "broadcast", "state_pooling": "last", "neighbours": 0, "segment_shift": 4},
    "pyramid": {"state_reach": "pyramid"},
    "none": {"state_read": "none"},
}
MEMORIES = ("tokens", "pyramid", "two_level")
TOKENS = 30


def weighty(model: Any) -> Any:
    """Make the weights large enough for every token to matter."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model.double().eval()


def causal(**changes: Any) -> SimMIMForCausalLM:
    return weighty(SimMIMForCausalLM(small_config(**changes)))


def seq2seq(**changes: Any) -> SimMIMForConditionalGeneration:
    return weighty(SimMIMForConditionalGeneration(small_config(copy_head=True, memory_top_k=1, **changes)))


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Four texts, two of them with padding."""
    ids = torch.randint(4, 50, (4, TOKENS), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    mask[2, 1:9] = 0
    return ids, mask


CHOICES: dict[str, tuple[Callable[[Cache], None], list[int]]] = {
    "reorder": (lambda cache: cache.reorder_cache(torch.tensor([2, 2, 0, 1])), [2, 2, 0, 1]),
    "select": (lambda cache: cache.batch_select_indices(torch.tensor([3, 1])), [3, 1]),
    "mask": (lambda cache: cache.batch_select_indices(torch.tensor([True, False, False, True])), [0, 3]),
    "repeat": (lambda cache: cache.batch_repeat_interleave(2), [0, 0, 1, 1, 2, 2, 3, 3]),
}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("preset", PRESETS)
def test_chosen_documents_go_on_as_without_a_cache(preset: str, choice: str, batch: tuple[Tensor, Tensor]) -> None:
    """Chosen in the midst of a segment and of a shifted one; what follows crosses borders, document by document."""
    model, (ids, mask) = causal(**PRESETS[preset]), batch
    apply, rows = CHOICES[choice]
    with torch.no_grad():
        cache = model(ids[:, :11], mask[:, :11]).past_key_values
        apply(cache)
        ids, mask = ids[rows], mask[rows]
        # Documents that were the same go on differently: what is written for one must not reach another.
        ids[:, 11:] = torch.randint(4, 50, ids[:, 11:].shape, generator=torch.Generator().manual_seed(5))
        ids, mask = ids[:, :21], mask[:, :21]
        found = [model(ids[:, t : t + 1], mask[:, : t + 1], past_key_values=cache).logits for t in range(11, 21)]
        whole = model(ids, mask, use_cache=False).logits
    held = mask[:, 11:] == 1
    torch.testing.assert_close(torch.cat(found, 1)[held], whole[:, 11:][held], rtol=0, atol=1e-10)


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("memory", MEMORIES)
def test_what_was_read_of_the_memory_is_chosen_too(memory: str, choice: str, batch: tuple[Tensor, Tensor]) -> None:
    model, (ids, mask) = seq2seq(memory=memory), batch
    target = ids.flip(1)[:, :14]
    apply, rows = CHOICES[choice]
    with torch.no_grad():
        first = model(ids, mask, decoder_input_ids=target[:, :3])
        cache = first.past_key_values
        apply(cache)
        assert all(cache.is_updated.values())
        model.decoder.memory.register_forward_pre_hook(lambda *_: pytest.fail("the memory is made once"))
        # A wrong memory must not be read: it was made, once, in the first call.
        wrong = torch.full_like(first.encoder_last_hidden_state[rows], float("nan"))
        found = [
            model(
                input_ids=ids[rows],
                attention_mask=mask[rows],
                decoder_input_ids=target[rows, t : t + 1],
                encoder_outputs=(wrong,),
                past_key_values=cache,
            ).logits
            for t in range(3, 14)
        ]
        model = seq2seq(memory=memory)
        whole = model(ids[rows], mask[rows], decoder_input_ids=target[rows], use_cache=False).logits
    torch.testing.assert_close(torch.cat(found, 1), whole[:, 3:], rtol=0, atol=1e-10)


def test_a_cache_keeps_a_window_and_states() -> None:
    model = causal()
    ids = torch.randint(4, 50, (3, 111))
    past = model(ids).past_key_values.layers[0].past
    assert past.keys.shape == (3, 2, 2 * 8 + 14, 8), "two segments of tokens, and a state a segment of 111 tokens"
    short = model(ids[:, :1]).past_key_values.layers[0].past
    assert short.capacity <= 16, "and no more room than a short text needs"


@pytest.mark.parametrize("start", [8, 13, 24])
@pytest.mark.parametrize("preset", PRESETS)
def test_cropping_takes_back_what_it_can_and_else_changes_nothing(
    preset: str, start: int, batch: tuple[Tensor, Tensor]
) -> None:
    model, (ids, _) = causal(copy_head=False, **PRESETS[preset]), batch
    outcomes = set()
    with torch.no_grad():
        whole = model(ids, use_cache=False).logits
        for tokens in (0, 1, 5, 12, start, start + 1):
            cache, left = model(ids[:, :start]).past_key_values, start - tokens
            try:
                cache.crop(-tokens)
            except ValueError:
                left = start
            outcomes.add(left == start - tokens)
            assert cache.get_seq_length() == left
            found = model(ids[:, left:], past_key_values=cache).logits
            torch.testing.assert_close(found, whole[:, left:], rtol=0, atol=1e-10)
    assert outcomes == {True, False}
    with pytest.raises(ValueError, match="crop: expected 0 to 30 tokens, the shortest document's, got 31"):
        cache.crop(-31)
    with pytest.raises(ValueError, match="tokens_to_remove: expected a negative number or 0, got 2"):
        cache.crop(2)


def test_a_crop_that_one_layer_refuses_is_done_in_none(batch: tuple[Tensor, Tensor]) -> None:
    """Eight tokens fill a segment of the first layer and not of the second, which is shifted."""
    model, (ids, _) = causal(segment_shift=4, copy_head=False), batch
    with torch.no_grad():
        cache = model(ids[:, :11]).past_key_values
        copy.deepcopy(cache.layers[0]).crop(-3)
        with pytest.raises(ValueError, match="crop: cannot forget 3 tokens"):
            cache.crop(-3)
        found = model(ids[:, 11:], past_key_values=cache).logits
        torch.testing.assert_close(found, model(ids, use_cache=False).logits[:, 11:], rtol=0, atol=1e-10)


def test_what_a_copy_head_has_counted_is_not_taken_back(batch: tuple[Tensor, Tensor]) -> None:
    model, (ids, _) = causal(), batch
    with torch.no_grad():
        cache = model(ids[:, :16]).past_key_values
        cache.crop(0)
        with pytest.raises(ValueError, match="crop: cannot forget 8 tokens: the copy head's table has put them"):
            cache.crop(-8)
        found = model(ids[:, 16:], past_key_values=cache).logits
        torch.testing.assert_close(found, model(ids, use_cache=False).logits[:, 16:], rtol=0, atol=1e-10)
        cache.reset()
        torch.testing.assert_close(model(ids, past_key_values=cache).logits, model(ids).logits, rtol=0, atol=1e-10)


def test_a_pair_of_caches_crops_the_decoder_and_keeps_the_memory(batch: tuple[Tensor, Tensor]) -> None:
    model, (ids, mask) = seq2seq(state_read="none"), batch
    with torch.no_grad():
        first = model(ids, mask, decoder_input_ids=ids[:, :6])
        first.past_key_values.crop(-4)
        again = model(
            input_ids=ids,
            attention_mask=mask,
            encoder_outputs=(first.encoder_last_hidden_state,),
            decoder_input_ids=ids[:, 2:6],
            past_key_values=first.past_key_values,
        )
    torch.testing.assert_close(again.logits, first.logits[:, 2:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda cache: pickle.loads(pickle.dumps(cache))])
def test_a_copy_goes_its_own_way(duplicate: Callable[[Cache], Cache], batch: tuple[Tensor, Tensor]) -> None:
    model, (ids, mask) = seq2seq(memory="two_level", segment_shift=4), batch
    with torch.no_grad():
        first = model(ids, mask, decoder_input_ids=ids[:, :11])
        twin = duplicate(first.past_key_values)
        rest = {"input_ids": ids, "attention_mask": mask, "encoder_outputs": (first.encoder_last_hidden_state,)}
        other = model(**rest, decoder_input_ids=ids[:, :9], past_key_values=twin).logits
        own = model(**rest, decoder_input_ids=ids[:, 11:], past_key_values=first.past_key_values).logits
        whole = model(ids, mask, decoder_input_ids=ids, use_cache=False).logits
    assert not torch.equal(other, own[:, :9])
    torch.testing.assert_close(own, whole[:, 11:], rtol=0, atol=1e-10)


def test_reset_forgets_and_the_cache_can_be_used_again(batch: tuple[Tensor, Tensor]) -> None:
    model, (ids, mask) = seq2seq(memory="pyramid"), batch
    with torch.no_grad():
        cache = model(ids, mask, decoder_input_ids=ids[:, :5]).past_key_values
        assert cache.self_attention_cache.is_initialized
        cache.reset()
        assert cache.get_seq_length() == cache.cross_attention_cache.get_seq_length() == 0
        assert not any(cache.is_updated.values())
        assert not cache.self_attention_cache.is_initialized
        again = model(ids.flip(0), decoder_input_ids=ids, past_key_values=cache).logits
        torch.testing.assert_close(again, model(ids.flip(0), decoder_input_ids=ids).logits, rtol=0, atol=0)
    assert cache.get_seq_length() == TOKENS
    assert cache.get_mask_sizes(1, 0) == (TOKENS + 1, 0)
    assert cache.get_max_length() == -1


def test_layers_are_moved_away_while_others_work(monkeypatch: pytest.MonkeyPatch, batch: tuple[Tensor, Tensor]) -> None:
    """Offloading: every layer is fetched before and put away after its turn; on a CPU that changes no number."""
    model, (ids, mask) = seq2seq(memory="two_level"), batch
    settings = {"attention_mask": mask, "max_new_tokens": 12, "eos_token_id": None, "do_sample": False}
    expected = model.generate(ids, **settings)
    moves: list[str] = []
    for name in ("prefetch", "offload"):
        method = getattr(SimMIMCacheLayer, name)
        monkeypatch.setattr(
            SimMIMCacheLayer, name, lambda layer, m=method, n=name: (moves.append(f"{n} {number[id(layer)]}"), m(layer))
        )
    cache = SimMIMEncoderDecoderCache(2, offloading=True)
    number = {id(layer): i for i, layer in enumerate(cache.self_attention_cache.layers)}
    assert torch.equal(model.generate(ids, past_key_values=cache, **settings), expected)
    # What the first layer keeps also says where the next tokens go, so that it may be asked for twice.
    moved = [move for move, _ in itertools.groupby(moves)]
    assert moved == ["prefetch 0", "offload 0", "prefetch 1", "offload 1"] * 12
    moves.clear()
    model.generate(ids, past_key_values=SimMIMEncoderDecoderCache(2), **settings)
    assert moves == [], "nothing moves unless that is wanted"


def test_a_layer_moves_all_that_it_holds_and_back(
    monkeypatch: pytest.MonkeyPatch, batch: tuple[Tensor, Tensor]
) -> None:
    """With ``meta`` in the place of a GPU: where the tensors go is all that it can show."""
    cache = seq2seq(memory="two_level")(*batch, decoder_input_ids=batch[0][:, :5]).past_key_values
    past = cache.self_attention_cache.layers[0]
    past.past.to("meta")
    monkeypatch.setattr(SegmentCache, "to", lambda past, device: places.append(str(device)))
    places: list[str] = []
    past.offload()
    past.prefetch()
    assert places == ["cpu", "meta"]
    layer = MemoryCacheLayer()
    layer.fill((torch.zeros(2, 3, device="meta"),), torch.ones(2, 3, dtype=torch.bool, device="meta"))
    monkeypatch.setattr(Tensor, "to", lambda tensor, device: torch.zeros(tensor.shape, device=device))
    layer.offload()
    assert [layer.projected[0].device.type, layer.mask.device.type] == ["cpu", "cpu"]
    projected, mask = layer.read()
    assert [projected[0].device.type, mask.device.type] == ["meta", "meta"]
    assert layer.projected[0].device.type == "cpu", "what is read is a copy"
    layer.prefetch()
    assert [layer.projected[0].device.type, layer.mask.device.type] == ["meta", "meta"]


def test_other_caches_are_refused_and_nothing_is_put_in_from_outside(batch: tuple[Tensor, Tensor]) -> None:
    ids, mask = batch
    for cache in (DynamicCache(), EncoderDecoderCache(DynamicCache(), DynamicCache()), SimMIMCache(2)):
        with pytest.raises(ShapeError, match="past_key_values: expected the SimMIMEncoderDecoderCache of 2 layers"):
            seq2seq()(ids, mask, decoder_input_ids=ids[:, :1], past_key_values=cache)
    with pytest.raises(ShapeError, match="past_key_values: expected the SimMIMCache of 2 layers .* got a DynamicCache"):
        causal()(ids, past_key_values=DynamicCache())
    with pytest.raises(TypeError, match="SimMIMCacheLayer is filled by the model that it is passed to"):
        SimMIMCache(1).update(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), 0)
