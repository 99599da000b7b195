"""The decoding cache: its size, taking tokens back, and moving documents about."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from simmim.nn.segment_cache import SegmentCache
from simmim.nn.smi_attention import SMIAttention
from support import DEFAULT, HEADS, HIDDEN, LENGTH, LITERAL, documents, name_of, random_layer

OPTIONS = [
    {**reads, "causal": True, "state_reach": reach, "state_pooling": "mean", "neighbours": neighbours}
    for reads in (DEFAULT, LITERAL, {"state_read": "none"})
    for reach in ("all", "pyramid")
    for neighbours in (0, 1)
]


def read(layer: SMIAttention, text: Tensor) -> SegmentCache:
    return layer.prefill(text[None])[1]


def numbers(cache: SegmentCache) -> int:
    """Count what the cache holds of the text: everything but positions and weights."""
    names = ("keys", "values", "nodes", "pooled", "message")
    return sum(getattr(cache, name).numel() for name in names if getattr(cache, name) is not None)


@pytest.mark.contract
@pytest.mark.parametrize("options", OPTIONS, ids=name_of)
@pytest.mark.parametrize("part", [None, 1, 7])
def test_the_cache_is_of_the_size_that_the_design_states(options: dict[str, Any], part: int | None) -> None:
    """Contract 7: (1 + neighbours)·L keys and values, and S states or log2 S nodes; nothing else that grows."""
    layer = random_layer(**options)
    window = (1 + options["neighbours"]) * LENGTH
    for segments in (5, 40):
        [text] = documents([segments * LENGTH + 2])
        _, cache = layer.prefill(text[None, :3] if part else text[None])
        for more in text[3:].split(part) if part else ():
            _, cache = layer.extend(more[None], past=cache)
        held = 2 * window * HIDDEN + (options["state_read"] == "broadcast") * HIDDEN
        if options["state_read"] != "none":
            held += HIDDEN
            room = cache.states[0].shape[2]
            if options["state_reach"] == "pyramid":
                assert room == segments.bit_length()
                held += 3 * segments.bit_length() * HIDDEN
            else:
                assert segments <= room < segments + max(17, segments / 8)
                held += 2 * room * HIDDEN
        assert numbers(cache) <= held


@pytest.mark.parametrize("shift", [0, LENGTH // 2])
@pytest.mark.parametrize("options", OPTIONS, ids=name_of)
def test_what_can_be_taken_back_is_as_if_it_had_not_been(options: dict[str, Any], shift: int) -> None:
    layer = random_layer(**options, segment_shift=shift)
    reads = options["state_read"] != "none"
    [text] = documents([5 * LENGTH + 2])
    done = 0
    for length in (1, LENGTH, 3 * LENGTH + 1, 4 * LENGTH, 4 * LENGTH + 3, 5 * LENGTH):
        for tokens in range(length + 1):
            cache = read(layer, text[:length])
            left = length - tokens
            try:
                cache.crop(tokens)
            except ValueError:
                # It must never refuse to take back the segment under way.
                begins = (left + layer.origin) % LENGTH == 0 or left == 0
                same_segment = (left + layer.origin) // LENGTH == (length + layer.origin) // LENGTH
                assert not (same_segment and (begins or not reads)), (length, tokens)
                continue
            done += tokens > 0
            assert cache.seen == left
            out, _ = layer.extend(text[None, left : left + LENGTH + 1], past=cache)
            expected = layer(text[None, : left + LENGTH + 1])[:, left:]
            torch.testing.assert_close(out, expected, rtol=0, atol=1e-11)
    assert done >= 3


@torch.no_grad()
def test_crop_says_why_not_and_changes_nothing() -> None:
    layer = random_layer(**DEFAULT, causal=True)
    [text] = documents([3 * LENGTH + 4])
    cache = read(layer, text)
    before = copy.deepcopy(cache)
    for tokens, reason in ((1, "has summed them"), (100, "expected 0 to 22 tokens"), (-1, "expected 0 to 22")):
        with pytest.raises(ValueError, match=reason):
            cache.crop(tokens)
    with pytest.raises(ValueError, match="overwritten"):
        cache.crop(2 * LENGTH)
    for name, value in vars(before).items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(getattr(cache, name), value, rtol=0, atol=0)


@pytest.mark.parametrize("options", OPTIONS, ids=name_of)
def test_documents_are_reordered_and_repeated(options: dict[str, Any]) -> None:
    layer = random_layer(**options)
    texts = torch.stack(documents([3 * LENGTH + 4] * 3))
    _, cache = layer.prefill(texts[:, : LENGTH + 2])
    index = torch.tensor([2, 2, 0, 1])
    cache.select(index)
    out, _ = layer.extend(texts[index, LENGTH + 2 :], past=cache)
    torch.testing.assert_close(out, layer(texts)[index, LENGTH + 2 :], rtol=0, atol=1e-11)
    assert cache.keys.shape == (4, HEADS, cache.keys.shape[2], HIDDEN // HEADS)
