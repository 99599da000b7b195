"""The one object of options: what it derives, and that configuration and layer say the same."""

from __future__ import annotations

from dataclasses import fields

import pytest

from simmim import SimMIMConfig, SMIAttention
from simmim.ops.options import AttentionOptions

SIZES = {"hidden_size": 24, "num_attention_heads": 2, "segment_length": 8, "vocab_size": 10}


@pytest.mark.parametrize(
    ("factor", "rotary", "pairs"), [(0.5, True, 3), (1.0, True, 6), (0.1, True, 1), (0.0, True, 0), (0.5, False, 0)]
)
def test_the_pairs_that_are_rotated_are_the_share_rounded_up(factor: float, rotary: bool, pairs: int) -> None:
    options = AttentionOptions(24, 2, 8, partial_rotary_factor=factor, rotary=rotary)
    assert (options.head_dim, options.rotary_pairs) == (12, pairs)


def test_defaults_of_the_configuration_are_those_of_the_layer() -> None:
    layer = SMIAttention(24, 2, 8, causal=True)
    assert SimMIMConfig(**SIZES).attention_options(0, causal=True) == layer.options


def test_a_configuration_states_the_options_of_each_layer() -> None:
    config = SimMIMConfig(**SIZES, segment_shift=3, state_pooling="first", training_length=33, head_dim=5)
    first, second = (config.attention_options(layer, causal=layer == 1) for layer in range(2))
    assert (first.segment_shift, first.state_pooling, first.trained_states) == (0, "first", 4)
    assert (second.segment_shift, second.state_pooling, second.causal) == (3, "last", True)


@pytest.mark.parametrize("read", ["attend", "none", "broadcast", "gated_broadcast"])
@pytest.mark.parametrize("reach", ["all", "pyramid"])
def test_a_layer_is_built_again_from_its_options(read: str, reach: str) -> None:
    layer = SMIAttention(24, 2, 8, state_read=read, state_reach=reach, state_null=True)
    again = SMIAttention.of(layer.options)
    assert type(again) is type(layer)
    assert [name for name, _ in again.named_parameters()] == [name for name, _ in layer.named_parameters()]
    assert all(
        getattr(again.options, field.name) == getattr(layer.options, field.name) for field in fields(AttentionOptions)
    )
