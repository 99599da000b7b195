"""Every supported family computes with a `ReadingCache` what it computes with its own attention."""

import pytest
import torch

from reading_models import CASES, CONFIGS, draw, own_attention, tiny
from simmim.ops.reading_reference import reading_attention
from simmim.reading import local_attention
from simmim.reading.cache import ReadingCache, sliding_window_of
from simmim.reading.interface import decoder_of


def _read(model, ids, chunks, mask=None, **cache):
    """Return the logits of all tokens, read in chunks."""
    cache = ReadingCache(model, **({"segment": 4, "near": 20, "sink": 1} | cache))
    logits, past = [], 0
    with torch.no_grad():
        for chunk in chunks:
            end = past + chunk
            given = None if mask is None else mask[:, :end]
            logits.append(model(ids[:, past:end], attention_mask=given, past_key_values=cache).logits)
            past = end
    return torch.cat(logits, 1)


def _plain(model, ids, **settings):
    with torch.no_grad():
        return model(ids, **settings).logits


def _assert_equal(found, expected, tolerance=1e-5):
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


WAYS = {
    "whole": ([50], 128),
    "blocks": ([50], 8),
    "token by token": ([30] + [1] * 20, 128),
    "odd": ([13, 1, 29, 7], 128),
}


def _cases_and_ways():
    """Return every case read in odd chunks and, in turn, in one of the other ways; the others are slow."""
    for number, case in enumerate(CASES):
        for place, way in enumerate(WAYS):
            often = way == "odd" or number % 3 == place
            yield pytest.param(case, *WAYS[way], id=f"{case}-{way}", marks=() if often else pytest.mark.slow)


@pytest.mark.parametrize(("case", "chunks", "block"), list(_cases_and_ways()))
def test_equal_logits(case, chunks, block, monkeypatch):
    monkeypatch.setattr(local_attention, "_BLOCK", block)
    ids = draw(2, 50)
    _assert_equal(_read(tiny(case), ids, chunks), _plain(own_attention(case), ids))


@pytest.mark.parametrize("case", CASES)
class TestOwnAttention:
    def test_positions_matter(self, case):
        model, ids = own_attention(case), draw(1, 50)
        expected = _plain(model, ids)
        shuffled = _plain(model, torch.cat([ids[:, torch.randperm(49)], ids[:, 49:]], 1))
        assert (shuffled[:, -1] - expected[:, -1]).abs().max() > 0.03 * expected.abs().max()

    @pytest.mark.parametrize("chunks", [[50], [13, 1, 29, 7]], ids=["whole", "odd"])
    def test_left_padding(self, case, chunks, monkeypatch):
        monkeypatch.setattr(local_attention, "_BLOCK", 16)
        padding, ids = [0, 5, 23], draw(3, 50)
        mask = (torch.arange(50) >= torch.tensor(padding)[:, None]).long()
        found = _read(tiny(case), ids * mask, chunks, mask)
        model = own_attention(case)
        for row, begin in enumerate(padding):
            _assert_equal(found[row, begin:], _plain(model, ids[row : row + 1, begin:])[0])

    def test_plain_calls_are_those_of_sdpa(self, case):
        if CONFIGS[case][0] == "gemma2":
            pytest.skip("sdpa has no soft cap")
        model, ids = tiny(case), draw(2, 20)
        ReadingCache(model)  # the model was used for reading, too
        mask = (torch.arange(20) >= torch.tensor([0, 6])[:, None]).long()
        expected = _plain(own_attention(case), ids, attention_mask=mask)
        assert torch.equal(_plain(model, ids, attention_mask=mask), expected)

    def test_blocks_and_chunks_change_nothing_beyond_the_window(self, case, monkeypatch):
        monkeypatch.setattr(local_attention, "_BLOCK", 8)
        model, ids = tiny(case), draw(1, 60)
        window = {"segment": 4, "near": 2}
        whole = _read(model, ids, [60], **window)
        for chunks in ([46] + [1] * 14, [17, 3, 40]):
            _assert_equal(_read(model, ids, chunks, **window), whole)

    def test_bfloat16(self, case):
        ids = draw(1, 50)
        found = _read(tiny(case).bfloat16(), ids, [13, 37])
        assert found.dtype == torch.bfloat16
        expected = _plain(own_attention(case), ids)
        assert (found.float() - expected).norm() < 0.1 * expected.norm()


@pytest.mark.parametrize("case", ["dynamic", "longrope", "partial longrope"])
class TestFrequenciesOfTheLength:
    """These embeddings take other frequencies for documents longer than those of pretraining."""

    @pytest.mark.parametrize("length", [32, 33, 90], ids=["within", "one more", "beyond"])
    def test_equal_logits(self, case, length):
        more = {"max_position_embeddings": 32} if case == "dynamic" else {}
        if case != "dynamic":
            length += 32
        ids = draw(1, length)
        expected = _plain(own_attention(case, **more), ids)
        model = tiny(case, **more)
        for _ in range(2):  # the rotary module keeps what it computed for the last document
            _assert_equal(_read(model, ids, [length], near=30), expected)
            _read(model, draw(1, 9), [9])

    def test_the_window_counts_once_the_document_is_longer(self, case, monkeypatch):
        monkeypatch.setattr(local_attention, "_BLOCK", 8)
        model, ids = tiny(case, max_position_embeddings=40), draw(1, 100)
        whole = _read(model, ids, [100], near=2)
        _assert_equal(_read(model, ids, [40, 60], near=2), whole)


@pytest.mark.parametrize("case", ["gemma2", "gemma3_text", "smollm3", "mistral sliding", "qwen2 sliding", "llama"])
def test_own_sliding_windows_are_known(case):
    model = tiny(case)
    expected = {
        **{"gemma2": [11, None] * 2, "gemma3_text": [11, None] * 2, "smollm3": [None] * 4, "llama": [None] * 4},
        **{"mistral sliding": [9] * 4, "qwen2 sliding": [None, None, 9, 9]},
    }
    assert [sliding_window_of(layer.self_attn) for layer in decoder_of(model).layers] == expected[case]


def test_layer_types_that_mistral_ignores():
    model = tiny("mistral sliding", layer_types=["full_attention"] * 4)
    ids = draw(1, 40)
    _assert_equal(
        _read(model, ids, [40]), _plain(own_attention("mistral sliding", layer_types=["full_attention"] * 4), ids)
    )


class TestBeyondTheWindow:
    def test_tokens_that_nothing_reaches_change_nothing(self):
        model, ids = tiny("llama", num_hidden_layers=1), draw(1, 40)
        window = {"segment": 4, "near": 2, "sink": 1}
        before = _read(model, ids, [40], **window)
        other = ids.clone()
        other[:, 4:28] = draw(1, 24)
        after = _read(model, other, [40], **window)
        assert torch.equal(before[:, 36:], after[:, 36:])
        other[:, 0] = (other[:, 0] + 1) % 61 + 3  # the sink is read, and so is the segment two before
        assert not torch.equal(before[:, 36:], _read(model, other, [40], **window)[:, 36:])
        other = ids.clone()
        other[:, 28] = (other[:, 28] + 1) % 61 + 3
        assert not torch.equal(before[:, 36:], _read(model, other, [40], **window)[:, 36:])

    @pytest.mark.parametrize("case", ["llama", "phi3 sliding", "gemma2"])
    def test_a_layer_computes_the_reference(self, case, monkeypatch):
        monkeypatch.setattr(local_attention, "_BLOCK", 8)
        model, ids = tiny(case, num_hidden_layers=1).double(), draw(1, 45)
        cache = ReadingCache(model, segment=4, near=2, sink=2)
        cache.queries, found = {}, []
        layer = decoder_of(model).layers[0].self_attn
        layer.o_proj.register_forward_pre_hook(lambda module, args: found.append(args[0]))
        with torch.no_grad():
            model(ids, past_key_values=cache)
        expected = reading_attention(
            *(cache.queries[0][0], cache.layers[0].keys[0], cache.layers[0].values[0]),
            decoder_of(model).rotary_emb.inv_freq.double(),
            **{"segment": 4, "near": 2, "sink": 8, "block": 8, "scale": layer.scaling},
            **{"sliding": cache.layers[0].window.sliding, "softcap": getattr(layer, "attn_logit_softcapping", None)},
        )
        # the model's own cosines are computed in float32
        torch.testing.assert_close(found[0][0], expected.flatten(1), rtol=0, atol=2e-5)
