"""The attention module's public face: parameter names, defaults, refusals, and the layouts it takes."""

from __future__ import annotations

import pytest
import torch

from simmim import ConfigError, ShapeError, SMIAttention
from simmim.nn import HierarchicalEncoder, StatePooling
from simmim.nn.registry import Registry
from simmim.ops.layout import SegmentLayout
from support import HIDDEN, LENGTH, documents, random_layer

TOKEN = {"q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight"}
STATE = {"state_q_proj.weight", "state_k_proj.weight", "state_v_proj.weight"}
FFN = {"state_ffn.up.weight", "state_ffn.down.weight"}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"state_read": "none"}, TOKEN),
        ({"state_read": "attend"}, TOKEN),
        ({"tie_state_projections": False}, TOKEN | STATE - {"state_q_proj.weight"}),
        ({"state_weight": "shared"}, TOKEN | {"sharpness"}),
        ({"state_weight": "shared", "state_read": "broadcast"}, TOKEN | STATE | FFN),
        ({"state_read": "broadcast"}, TOKEN | STATE | FFN),
        ({"state_read": "gated_broadcast"}, TOKEN | STATE | FFN | {"state_gate"}),
        (
            {"state_null": True, "state_pooling": "attention"},
            TOKEN | {"state_null", "state_pooling.query"},
        ),
    ],
)
def test_state_dict_keys_are_the_public_names(options: dict[str, object], names: set[str]) -> None:
    assert set(SMIAttention(8, 2, 4, **options).state_dict()) == names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"state_read": "shout"}, "state_read: expected one of attend, broadcast, gated_broadcast, none; got 'shout'"),
        ({"state_pooling": "max"}, "state_pooling: expected one of"),
        ({"causal": True, "state_pooling": "first"}, "expected one of attention, last, mean; got 'first'"),
        ({"segment_length": 0}, "segment_length: expected a whole number of 1 or more, got 0"),
        ({"segment_shift": 4}, "segment_shift: expected 0 <= shift < segment_length"),
        ({"neighbours": 2}, "neighbours: expected 0 or 1, got 2"),
        ({"state_weight": "all"}, "state_weight: expected one of each, shared; got 'all'"),
        ({"trained_states": 0}, "trained_states: expected a number of 1 or more, or None; got 0"),
        ({"partial_rotary_factor": 1.5}, "partial_rotary_factor: expected a number from 0 to 1, got 1.5"),
        ({"num_heads": 3}, "hidden_size: expected a multiple of num_heads"),
        ({"num_heads": 8}, "even number for rotary positions"),
    ],
)
def test_nonsense_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        SMIAttention(**{"hidden_size": 8, "num_heads": 2, "segment_length": 4, **arguments})


@pytest.mark.usefixtures("unchecked_shapes")
def test_wrong_shapes_are_refused() -> None:
    layer = SMIAttention(8, 2, 4, causal=True)
    with pytest.raises(ShapeError, match=r"hidden_states: expected \[batch, tokens, 8\], got \[2, 5, 7\]"):
        layer(torch.zeros(2, 5, 7))
    with pytest.raises(ShapeError, match=r"attention_mask: expected shape \[2, 5\]"):
        layer(torch.zeros(2, 5, 8), torch.ones(2, 1, 5, 5))
    with pytest.raises(ShapeError, match=r"layout: expected one for \[2, 5\] tokens"):
        layer(torch.zeros(2, 5, 8), layout=SegmentLayout.build(2, 6, 4))
    _, cache = layer.prefill(torch.zeros(2, 5, 8))
    with pytest.raises(ShapeError, match="past: expected the cache of 3 documents.* got one of 2"):
        layer.step(torch.zeros(3, 1, 8), cache)
    with pytest.raises(ConfigError, match="expected a causal layer"):
        SMIAttention(8, 2, 4).prefill(torch.zeros(2, 5, 8))
    with pytest.raises(ShapeError, match="add up to"):
        HierarchicalEncoder(8)(torch.zeros(3, 4, 8), torch.ones(3, 4, dtype=torch.bool), torch.tensor([2]))


def test_empty_batches_give_empty_outputs() -> None:
    layer = SMIAttention(8, 2, 4)
    assert layer(torch.zeros(2, 0, 8)).shape == (2, 0, 8)
    assert layer(torch.zeros(0, 5, 8)).shape == (0, 5, 8)
    assert not layer(torch.randn(1, 3, 8), torch.zeros(1, 3)).any()


@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("causal", [False, True])
def test_packed_documents_never_see_each_other(shift: int, causal: bool) -> None:
    layer = random_layer(causal=causal, segment_shift=shift)
    texts = documents([5, 20, 1, 0, 13])
    layout = SegmentLayout.packed(torch.tensor([len(t) for t in texts]), LENGTH, segment_shift=shift, causal=causal)
    packed = layer(torch.cat(texts)[None], layout=layout)[0]
    apart = torch.cat([layer(text[None])[0] for text in texts if len(text)])
    torch.testing.assert_close(packed, apart, rtol=0, atol=1e-12)


def test_a_broadcast_starts_silent_and_a_gate_nearly_shut() -> None:
    hidden = torch.randn(1, 20, HIDDEN)
    for read, scale in (("broadcast", 0.0), ("gated_broadcast", 0.0)):
        layer = SMIAttention(HIDDEN, 2, LENGTH, state_read=read, neighbours=0)
        silent = SMIAttention(HIDDEN, 2, LENGTH, state_read="none", neighbours=0)
        silent.load_state_dict(layer.state_dict(), strict=False)
        assert (layer(hidden) - silent(hidden)).abs().max() <= scale
    assert torch.equal(layer.state_gate, torch.full((HIDDEN,), 0.01))


def test_a_pooling_of_ones_own_is_found_by_its_name() -> None:
    registry: Registry[StatePooling] = Registry("state_pooling")

    @registry.register("mine")
    class Mine(StatePooling):
        pass

    assert registry.find("mine") is Mine
    with pytest.raises(ConfigError, match="'mine' is registered already"):
        registry.register("mine")(Mine)


def test_printed_form_names_the_options() -> None:
    assert "segment_length=4, causal=True, state_read=attend, neighbours=1" in repr(SMIAttention(8, 2, 4, causal=True))
