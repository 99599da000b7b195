"""The decoding cache: its size, taking tokens back, and moving documents about."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from simmim.nn.cache import SegmentCache
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
    for segments in (5, 20):
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
@torch.no_grad()
def test_what_can_be_taken_back_is_as_if_it_had_not_been(options: dict[str, Any], shift: int) -> None:
    layer = random_layer(**options, segment_shift=shift)
    reads = options["state_read"] != "none"
    [text] = documents([5 * LENGTH + 2])
    whole, done = layer(text[None]), 0
    for length in (1, LENGTH, 3 * LENGTH + 1, 4 * LENGTH, 4 * LENGTH + 3, 5 * LENGTH):
        held = read(layer, text[:length])
        for tokens in range(length + 1):
            cache = copy.deepcopy(held)
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
            torch.testing.assert_close(out, whole[:, left : left + LENGTH + 1], rtol=0, atol=1e-11)
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


@torch.no_grad()
@pytest.mark.parametrize("reads", ["none", "attend"])
def test_a_window_that_was_cropped_is_not_cropped_into_what_it_lost(reads: str) -> None:
    """Of three segments the ring holds two; taken back by one, it holds one; what is read since is whole again."""
    layer = random_layer(causal=True, state_read=reads, neighbours=1)
    [text] = documents([6 * LENGTH])
    for read_at_once in (True, False):
        cache = read(layer, text[: 3 * LENGTH])
        cache.crop(LENGTH)
        with pytest.raises(ValueError, match="overwritten"):
            copy.deepcopy(cache).crop(LENGTH)
        parts = [text[2 * LENGTH : 4 * LENGTH]] if read_at_once else text[2 * LENGTH : 4 * LENGTH].split(1)
        for part in parts:
            _, cache = layer.extend(part[None], past=cache)
        cache.crop(LENGTH)
        out, _ = layer.extend(text[None, 3 * LENGTH : 5 * LENGTH], past=cache)
        torch.testing.assert_close(out, layer(text[None])[:, 3 * LENGTH : 5 * LENGTH], rtol=0, atol=1e-11)


@torch.no_grad()
def test_a_document_that_gets_no_token_keeps_its_window() -> None:
    """It stands at the border of a segment, and can still be taken back by one when the other has gone on."""
    layer = random_layer(causal=True, state_read="none", neighbours=1)
    texts = torch.stack(documents([5 * LENGTH] * 2))
    _, cache = layer.prefill(texts[:, : 3 * LENGTH])
    mask = torch.tensor([[True] * LENGTH, [False] * LENGTH])
    _, cache = layer.extend(texts[:, 3 * LENGTH : 4 * LENGTH], mask, past=cache)
    cache.crop(LENGTH)
    assert cache.position.tolist() == [3 * LENGTH, 2 * LENGTH]
    out, _ = layer.extend(texts[:, 2 * LENGTH : 4 * LENGTH], mask.flip(0).repeat(1, 2), past=cache)
    expected = layer(texts[1:, : 4 * LENGTH])[:, 2 * LENGTH :]
    torch.testing.assert_close(out[1:], expected, rtol=0, atol=1e-11)


@torch.no_grad()
def test_room_for_states_is_little_more_than_they_need() -> None:
    layer = random_layer(**DEFAULT, causal=True)
    [text] = documents([87 * LENGTH])
    cache = read(layer, text[: 70 * LENGTH])
    assert cache.states[0].shape[2] == 70
    for token in text[70 * LENGTH :].split(1):
        layer.step(token[None], cache)
    assert cache.states[0].shape[2] == 70 + 16 + 16
    assert cache.compact().states[0].shape[2] == 87
    assert cache.states[0].shape[2] == 102, "only the copy is without room"
