"""Aggregators: what they are built of, where they start, what they tell apart, their precision, and one's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from simmim import ConfigError
from simmim.nn import AGGREGATORS, Aggregator, HierarchicalEncoder
from simmim.nn.aggregators import Attention

EVERY = pytest.mark.parametrize("name", sorted(AGGREGATORS))


def random_aggregator(name: str, hidden_size: int = 8) -> Aggregator:
    aggregator = AGGREGATORS.find(name)(hidden_size).double()
    with torch.no_grad():
        for parameter in aggregator.parameters():
            parameter.normal_()
    return aggregator


def pairs(count: int = 5, length: int = 6, hidden_size: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Give right nodes that end at 0, 1, ..., and rubbish behind their ends."""
    left, right = torch.randn(2, count, length, hidden_size, dtype=torch.float64)
    both = torch.arange(length) < torch.arange(count)[:, None]
    return left, right.masked_fill(~both[..., None], 9.0), both


@pytest.fixture
def _maximum() -> Iterator[None]:
    @AGGREGATORS.register("maximum")
    class Maximum(Aggregator):
        def forward(self, left: Tensor, right: Tensor, both: Tensor) -> Tensor:
            return torch.maximum(left, right)

    yield
    del AGGREGATORS["maximum"]


@pytest.mark.usefixtures("_maximum")
def test_one_of_ones_own_merges_a_pyramid() -> None:
    segments = torch.randn(3, 4, 8)
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[2, 1:] = False
    pyramid = HierarchicalEncoder(8, "maximum")(segments, mask, torch.tensor([3]))
    expected = torch.maximum(segments[0], segments[1])
    expected[0] = torch.maximum(expected[0], segments[2, 0])
    assert torch.equal(pyramid.global_representation[0], expected)


def test_a_name_that_is_not_registered_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        ConfigError, match="^aggregator: expected one of attention, concat, weighted_sum; got 'maximum'$"
    ):
        HierarchicalEncoder(8, "maximum")


def test_one_without_forward_says_so() -> None:
    with pytest.raises(TypeError, match="Aggregator must define forward"):
        Aggregator(8)(*pairs())


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("concat", {"merge.weight"}),
        ("weighted_sum", {"logits"}),
        ("attention", {"q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight", "side"}),
    ],
)
def test_state_dict_keys_are_the_public_names(name: str, keys: set[str]) -> None:
    assert set(AGGREGATORS.find(name)(8).state_dict()) == keys


@EVERY
def test_a_new_one_gives_the_mean_and_all_of_it_can_learn(name: str) -> None:
    aggregator = AGGREGATORS.find(name)(8).double()
    left, right, both = pairs()
    merged = aggregator(left, right, both)
    torch.testing.assert_close(merged[both], ((left + right) / 2)[both], rtol=0, atol=1e-12)
    optimizer = torch.optim.SGD(aggregator.parameters(), lr=0.1)
    for _ in range(2):  # the first step only moves o_proj, which holds back the rest of the attention
        optimizer.zero_grad()
        (aggregator(left, right, both)[both] * left[both].cos()).sum().backward()
        optimizer.step()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in aggregator.parameters())


@EVERY
def test_what_stands_where_only_the_left_node_has_a_vector_does_not_matter(name: str) -> None:
    aggregator = random_aggregator(name)
    left, right, both = pairs()
    other = torch.where(both[..., None], right, torch.randn_like(right))
    torch.testing.assert_close(aggregator(left, other, both)[both], aggregator(left, right, both)[both])


@EVERY
def test_left_and_right_are_not_the_same(name: str) -> None:
    aggregator = random_aggregator(name)
    left, right = torch.randn(2, 5, 6, 8, dtype=torch.float64)
    everywhere = torch.ones(5, 6, dtype=torch.bool)
    assert (aggregator(left, right, everywhere) - aggregator(right, left, everywhere)).abs().max() > 0.1


def test_attention_knows_left_from_right_by_the_sides_alone() -> None:
    aggregator = random_aggregator("attention")
    with torch.no_grad():
        aggregator.side[1] = aggregator.side[0]
    left, right = torch.randn(2, 5, 6, 8, dtype=torch.float64)
    everywhere = torch.ones(5, 6, dtype=torch.bool)
    torch.testing.assert_close(aggregator(left, right, everywhere), aggregator(right, left, everywhere))


@pytest.mark.parametrize(
    ("hidden_size", "head_dim"), [(8, 8), (64, 64), (96, 48), (100, 50), (128, 64), (192, 64), (15, 15), (1, 1)]
)
def test_attention_has_heads_for_every_width(hidden_size: int, head_dim: int) -> None:
    aggregator = random_aggregator("attention", hidden_size)
    assert aggregator.head_dim == head_dim
    assert aggregator(*pairs(hidden_size=hidden_size)).isfinite().all()


@pytest.mark.parametrize(("hidden_size", "tells"), [(8, True), (15, False)])
def test_attention_tells_positions_apart_where_the_head_width_is_even(hidden_size: int, tells: bool) -> None:
    """Without rotary positions the order of the right node's last vectors means nothing to the others."""
    aggregator = random_aggregator("attention", hidden_size)
    left, right = torch.randn(2, 5, 6, hidden_size, dtype=torch.float64)
    both = torch.ones(5, 6, dtype=torch.bool)
    swapped = right[:, [0, 1, 2, 3, 5, 4]]
    difference = (aggregator(left, swapped, both) - aggregator(left, right, both))[:, :4].abs().max()
    assert (difference > 1e-3) == tells


@EVERY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("length", [1, 6])
def test_half_precision_stays_finite_with_no_right_node_at_all(name: str, dtype: torch.dtype, length: int) -> None:
    aggregator = random_aggregator(name).to(dtype)
    left = (30 * torch.randn(3, length, 8)).to(dtype).requires_grad_()
    both = torch.zeros(3, length, dtype=torch.bool)
    merged = aggregator(left, torch.zeros_like(left), both)
    assert merged.dtype == dtype
    assert merged.isfinite().all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(merged.sum(), [left, *aggregator.parameters()]))


@EVERY
def test_mixed_precision_stays_near_the_full_one(name: str) -> None:
    aggregator = random_aggregator(name).float()
    left, right, both = pairs()
    exact = aggregator(left.float(), right.float(), both)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = aggregator(left.float(), right.float(), both)
    assert (mixed.float() - exact)[both].abs().max() < 0.03 * exact.abs().max()


@EVERY
def test_no_pairs_give_no_nodes(name: str) -> None:
    assert random_aggregator(name)(*(x[:0] for x in pairs())).shape == (0, 6, 8)


def test_attention_costs_what_it_says() -> None:
    aggregator, count, length, width = Attention(128), 3, 16, 128
    nodes, both = torch.randn(count, length, width), torch.ones(count, length, dtype=torch.bool)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        aggregator(nodes, nodes, both)
    assert counter.get_total_flops() == count * length * (12 * width**2 + 8 * length * width)
