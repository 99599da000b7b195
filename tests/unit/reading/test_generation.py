"""`generate` writes with a `ReadingCache` what it writes with the model's own attention, in every mode."""

import copy

import pytest
import torch
from transformers.generation.streamers import BaseStreamer

from reading_models import draw, own_attention, tiny
from simmim.errors import ShapeError
from simmim.reading import cache as cache_module
from simmim.reading import local_attention
from simmim.reading.cache import ReadingCache
from simmim.reading.interface import FAMILIES
from simmim.reading.local_attention import plan_blocks

_MODES = {
    "greedy": {},
    "sampling": {"do_sample": True, "temperature": 1.5, "top_k": 0},
    "beams": {"num_beams": 3},
    "beams that sample": {"num_beams": 3, "do_sample": True},
    "several sequences": {"num_return_sequences": 3, "do_sample": True},
    "several beams": {"num_beams": 4, "num_return_sequences": 2},
    "penalties": {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2},
}


def _cache(model, **settings):
    return ReadingCache(model, **({"segment": 4, "near": 30} | settings))


def _write(model, ids, cache=None, **settings):
    torch.manual_seed(3)
    plain = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False, "past_key_values": cache}
    return model.generate(ids, **(plain | settings))


def _logits(model, ids, cache, **settings):
    with torch.no_grad():
        return model(ids, past_key_values=cache, **settings).logits


class TestModes:
    @pytest.mark.parametrize("mode", list(_MODES))
    @pytest.mark.parametrize("family", ["llama", "gemma3_text", "gemma2"])
    def test_equals_own_attention(self, family, mode):
        model, ids = tiny(family), draw(2, 30)
        mask = (torch.arange(30) >= torch.tensor([0, 9])[:, None]).long()
        expected = _write(own_attention(family), ids, attention_mask=mask, **_MODES[mode])
        found = _write(model, ids, _cache(model), attention_mask=mask, **_MODES[mode])
        assert torch.equal(found, expected)
        assert found.shape[1] == 42

    @pytest.mark.parametrize("family", FAMILIES)
    def test_greedy_with_every_family(self, family):
        model, ids = tiny(family), draw(1, 30)
        assert torch.equal(_write(model, ids, _cache(model)), _write(own_attention(family), ids))

    def test_prompt_lookup(self):
        model, ids = tiny("llama"), draw(1, 10).repeat(1, 4)
        expected = _write(own_attention("llama"), ids)
        assert torch.equal(_write(model, ids, _cache(model), prompt_lookup_num_tokens=4), expected)

    def test_an_assistant(self):
        model, ids = tiny("llama"), draw(1, 30)
        helper = own_attention("llama", num_hidden_layers=2)
        expected = _write(own_attention("llama"), ids)
        assert torch.equal(_write(model, ids, _cache(model), assistant_model=helper), expected)

    def test_a_streamer(self):
        class Collect(BaseStreamer):
            def __init__(self):
                self.tokens = []

            def put(self, value):
                self.tokens += value.flatten().tolist()

            def end(self):
                self.tokens.append(-1)

        model, ids, streamer = tiny("llama"), draw(1, 30), Collect()
        written = _write(model, ids, _cache(model), streamer=streamer)
        assert streamer.tokens == [*written[0].tolist(), -1]

    def test_in_chunks(self):
        model, ids = tiny("llama"), draw(1, 30)
        assert torch.equal(_write(model, ids, _cache(model), prefill_chunk_size=7), _write(own_attention("llama"), ids))

    def test_beyond_the_window_modes_agree(self, monkeypatch):
        monkeypatch.setattr(local_attention, "_BLOCK", 8)
        model, ids = tiny("llama"), draw(1, 10).repeat(1, 6)
        greedy = _write(model, ids, _cache(model, near=2))
        assert torch.equal(_write(model, ids, _cache(model, near=2), prompt_lookup_num_tokens=4), greedy)
        assert torch.equal(_write(model, ids, _cache(model, near=2), prefill_chunk_size=7), greedy)
        cache = _cache(model, near=2)
        for part in ids[:, :-1].split(11, 1):
            _logits(model, part, cache)
            cache.drop()
        assert torch.equal(_write(model, ids, cache), greedy)

    def test_phi3_keeps_the_cache_where_its_frequencies_change(self):
        model, ids = tiny("longrope", original_max_position_embeddings=64), draw(1, 60)
        cache = _cache(model, near=2)
        _write(model, ids, cache)
        assert cache.get_seq_length() == 71


class TestGoingOn:
    def test_generate_goes_on_from_what_was_read(self):
        model, ids = tiny("qwen2"), draw(1, 40)
        cache = _cache(model)
        _logits(model, ids[:, :33], cache)
        assert torch.equal(_write(model, ids, cache), _write(own_attention("qwen2"), ids))

    def test_from_inference_mode(self):
        model, ids = tiny("llama"), draw(1, 40)
        cache = _cache(model)
        with torch.inference_mode():
            model(ids[:, :33], past_key_values=cache)
        assert torch.equal(_write(model, ids, cache), _write(own_attention("llama"), ids))

    @pytest.mark.parametrize("removed", [1, 7, 30, 40])
    @pytest.mark.parametrize("near", [2, 30])
    def test_crop(self, removed, near, monkeypatch):
        monkeypatch.setattr(local_attention, "_BLOCK", 8)
        model, ids, other = tiny("gemma3_text"), draw(2, 40), draw(2, 9)
        cache, fresh = _cache(model, near=near), _cache(model, near=near)
        _logits(model, ids, cache)
        cache.crop(-removed)
        assert cache.get_seq_length() == 40 - removed
        expected = _logits(model, torch.cat([ids[:, : 40 - removed], other], 1), fresh)[:, 40 - removed :]
        torch.testing.assert_close(_logits(model, other, cache), expected, rtol=1e-5, atol=1e-5)

    def test_crop_with_padding(self):
        model, ids, other = tiny("llama"), draw(2, 40), draw(2, 9)
        mask = (torch.arange(43) >= torch.tensor([0, 12])[:, None]).long()
        cache, fresh = _cache(model), _cache(model)
        _logits(model, ids, cache, attention_mask=mask[:, :40])
        cache.crop(-6)
        expected = _logits(model, torch.cat([ids[:, :34], other], 1), fresh, attention_mask=mask)[:, 34:]
        torch.testing.assert_close(_logits(model, other, cache), expected, rtol=1e-5, atol=1e-5)

    def test_drop_changes_nothing_and_memory_stays(self, monkeypatch):
        monkeypatch.setattr(local_attention, "_BLOCK", 8)
        model, ids = tiny("gemma3_text"), draw(1, 120)
        kept, dropped = _cache(model, near=2), _cache(model, near=2)
        for part in ids.split(13, 1):
            expected = _logits(model, part, kept)
            torch.testing.assert_close(_logits(model, part, dropped), expected, rtol=1e-5, atol=1e-5)
            dropped.drop()
            assert all(layer.keys.shape[2] <= 4 + 12 for layer in dropped.layers)
        assert dropped.get_seq_length() == 120

    def test_crop_behind_drop(self, monkeypatch):
        monkeypatch.setattr(local_attention, "_BLOCK", 8)
        model, ids, other = tiny("llama"), draw(1, 63), draw(1, 9)
        cache, fresh = _cache(model, near=2), _cache(model, near=2)
        _logits(model, ids, cache)
        cache.drop()
        with pytest.raises(ShapeError, match=r"crop: .* use a cache without drop"):
            cache.crop(-4)
        assert cache.get_seq_length() == 63
        cache.crop(-2)
        expected = _logits(model, torch.cat([ids[:, :61], other], 1), fresh)[:, 61:]
        torch.testing.assert_close(_logits(model, other, cache), expected, rtol=1e-5, atol=1e-5)

    def test_load_goes_on_exactly(self):
        model, ids, other = tiny("gemma2"), draw(1, 63), draw(1, 9)
        cache, loaded = _cache(model, near=2), _cache(model, near=2)
        _logits(model, ids, cache)
        cache.drop()
        both = torch.stack([torch.stack([layer.keys[0], layer.values[0]]) for layer in cache.layers])
        loaded.load(both, 63)
        assert torch.equal(_logits(model, other, loaded), _logits(model, other, cache))

    def test_reset(self):
        model, ids = tiny("llama"), draw(2, 20)
        cache = _cache(model)
        mask = (torch.arange(20) >= torch.tensor([0, 9])[:, None]).long()
        _logits(model, ids, cache, attention_mask=mask)
        cache.reset()
        assert cache.get_seq_length() == 0
        assert torch.equal(_logits(model, ids[:1], cache), _logits(model, ids[:1], _cache(model)))

    def test_copies_are_branches(self):
        model, ids, ways = tiny("llama"), draw(1, 30), draw(2, 8)
        cache = _cache(model)
        _logits(model, ids, cache)
        branch = copy.deepcopy(cache)
        assert branch.rotation is cache.rotation
        for way, taken in zip(ways, (cache, branch), strict=True):
            expected = _logits(model, torch.cat([ids, way[None]], 1), _cache(model))[:, 30:]
            torch.testing.assert_close(_logits(model, way[None], taken), expected, rtol=1e-5, atol=1e-5)


class TestRows:
    """A batch whose rows were padded differently goes on with its rows in another order."""

    @pytest.fixture
    def read(self):
        model, ids = tiny("llama"), draw(3, 24)
        mask = (torch.arange(24) >= torch.tensor([0, 5, 11])[:, None]).long()
        cache = _cache(model)
        _logits(model, ids, cache, attention_mask=mask)
        return model, ids, mask, cache

    @pytest.mark.parametrize(
        ("change", "order"),
        [
            (lambda cache: cache.reorder_cache(torch.tensor([2, 0, 0])), [2, 0, 0]),
            (lambda cache: cache.batch_select_indices(torch.tensor([1])), [1]),
            (lambda cache: cache.batch_select_indices(torch.tensor([True, False, True])), [0, 2]),
            (lambda cache: cache.batch_repeat_interleave(2), [0, 0, 1, 1, 2, 2]),
        ],
        ids=["reorder", "select", "select by mask", "repeat"],
    )
    def test_equals_a_fresh_run(self, read, change, order):
        model, ids, mask, cache = read
        change(cache)
        more = draw(len(order), 5)
        whole, all_mask = torch.cat([ids[order], more], 1), torch.cat([mask[order], torch.ones_like(more)], 1)
        expected = _logits(model, whole, _cache(model), attention_mask=all_mask)[:, 24:]
        torch.testing.assert_close(_logits(model, more, cache), expected, rtol=1e-5, atol=1e-5)


def test_decoding_does_not_copy_the_cache():
    model, ids = tiny("llama"), draw(1, 65)
    cache = _cache(model)
    _logits(model, ids[:, :50], cache)
    places = []
    for token in ids[:, 50:].split(1, 1):
        _logits(model, token, cache)
        places.append(cache.layers[0].keys.data_ptr())
    assert len(set(places[:14])) == 1
    assert len(set(places)) == 2


def test_one_plan_for_all_layers_of_a_kind(monkeypatch):
    made = []
    monkeypatch.setattr(cache_module, "plan_blocks", lambda *args: made.append(args) or plan_blocks(*args))
    model = tiny("gemma3_text")
    _logits(model, draw(1, 20), _cache(model))
    assert len(made) == 2
