"""Records of keys and values: their size, and how far numbers move."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simmim.reading.quantized import Record


def _record(precision: Any) -> Record:
    return Record(layers=2, heads=3, segment=8, width=4, precision=precision)


def _through(record: Record, values: torch.Tensor) -> torch.Tensor:
    content = record.encode(values)
    assert len(content) == record.nbytes
    return record.decode(np.frombuffer(content, np.uint8), torch.float32)


@pytest.mark.parametrize(("precision", "size"), [("bfloat16", 2 * 384 + 4), ("int8", 384 + 2 * 48 + 4)])
def test_size(precision: str, size: int) -> None:
    record = _record(precision)
    assert record.shape == (2, 2, 3, 8, 4)
    assert record.nbytes == size
    assert record.nbytes - record.scale_bytes - 4 in (384, 768)


@settings(max_examples=60)
@given(st.integers(0, 2**31), st.floats(-30, 15), st.floats(0, 8))
def test_error_bounds(seed: int, size: float, spread: float) -> None:
    """int8: half a step of the channel's scale; bfloat16: 2⁻⁸ of each number."""
    generator = torch.Generator().manual_seed(seed)
    channels = 2 ** (size + spread * torch.randn(2, 2, 3, 1, 4, generator=generator))
    values = (torch.randn(2, 2, 3, 8, 4, generator=generator) * channels).clamp(-1e6, 1e6)
    rough = _through(_record("bfloat16"), values)
    assert ((rough - values).abs() <= values.abs() * 2.0**-8).all()
    scale = values.abs().amax(-2, keepdim=True) / 127
    step = scale * (1 + 2.0**-9) + 2.0**-23
    assert ((_through(_record("int8"), values) - values).abs() <= step / 2 + 1e-6 * values.abs()).all()


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
@pytest.mark.parametrize("value", [0.0, 1.0, -65504.0, 1e-7, 3e-39])
def test_constant_channels(precision: str, value: float) -> None:
    values = torch.full((2, 2, 3, 8, 4), value)
    torch.testing.assert_close(_through(_record(precision), values), values, rtol=2.0**-8, atol=2.0**-18)


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_types(precision: str, dtype: torch.dtype) -> None:
    record, values = _record(precision), torch.randn(2, 2, 3, 8, 4).to(dtype)
    found = record.decode(np.frombuffer(record.encode(values), np.uint8), dtype)
    assert found.dtype == dtype
    torch.testing.assert_close(found, values, rtol=2e-2, atol=2e-2)


def test_the_padding_of_a_last_segment_changes_nothing() -> None:
    values = torch.randn(2, 2, 3, 8, 4)
    padded = values.clone()
    padded[..., 5:, :] = 0
    alone = torch.nn.functional.pad(values[..., :5, :], (0, 0, 0, 3))
    for precision in ("bfloat16", "int8"):
        found = _through(_record(precision), padded)
        assert torch.equal(found, _through(_record(precision), alone))
        assert not found[..., 5:, :].any()
