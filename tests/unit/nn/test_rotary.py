"""Single tokens are turned as whole texts are."""

from __future__ import annotations

import pytest
import torch

from simmim.nn.rotary import rotary_embedding, rotate, rotate_token, token_rotary_embedding

D, THETA = 10, 1e4


@pytest.mark.parametrize("pairs", [1, 3, 5])
def test_few_heads_are_turned_as_many(pairs: int) -> None:
    torch.manual_seed(0)
    positions = torch.tensor([0, 7, 1_000_003])
    heads = torch.randn(3, 2, D, dtype=torch.float64)
    many = rotate(heads, rotary_embedding(positions, D, THETA, heads.dtype, pairs=pairs))
    few = rotate_token(heads, token_rotary_embedding(positions, D, THETA, heads.dtype, pairs))
    torch.testing.assert_close(few, many, rtol=0, atol=1e-12)
    one = rotate_token(heads[2:], token_rotary_embedding(positions[2:], D, THETA, heads.dtype, pairs))
    torch.testing.assert_close(one, many[2:], rtol=0, atol=1e-12)
    still = [c for c in range(D) if c % (D // 2) >= pairs]
    assert torch.equal(few[..., still], heads[..., still])
