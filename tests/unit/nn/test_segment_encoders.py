"""The segment encoders' public face: names, parameter names, and that every kind of layout gives the same tokens."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from simmim import ConfigError, SMIAttention
from simmim.nn import SEGMENT_ENCODERS, SegmentEncoder
from simmim.ops.layout import SegmentLayout
from support import DOCUMENT_LENGTHS, HIDDEN, LENGTH, batch_of, documents

OURS = ["cnn", "lstm"]
SHIFT = LENGTH // 2
GATES = {
    f"lstm.{kind}_l0{way}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh") for way in ("", "_reverse")
}


def build(name: str) -> nn.Module:
    return SEGMENT_ENCODERS.find(name)(HIDDEN).double()


def alone(encoder: nn.Module, text: Tensor, shift: int) -> Tensor:
    return encoder(text[None], layout=SegmentLayout.build(1, len(text), LENGTH, segment_shift=shift))[0]


@pytest.mark.parametrize(
    ("name", "keys"),
    [("lstm", GATES | {"o_proj.weight"}), ("cnn", {"conv.weight", "conv.bias", "o_proj.weight"})],
)
def test_state_dict_keys_are_the_public_names(name: str, keys: set[str]) -> None:
    assert set(build(name).state_dict()) == keys


def test_smi_is_the_attention_layer() -> None:
    assert SEGMENT_ENCODERS.find("smi") is SMIAttention


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="segment_encoder: expected one of cnn, lstm, smi; got 'gru'"):
        SEGMENT_ENCODERS.find("gru")


def test_a_subclass_without_encode_is_told_so() -> None:
    [text] = documents([LENGTH])
    with pytest.raises(TypeError, match="Unfinished must define encode"):
        alone(type("Unfinished", (SegmentEncoder,), {})(HIDDEN), text, 0)


@pytest.mark.parametrize("shift", [0, SHIFT])
@pytest.mark.parametrize("name", OURS)
def test_a_document_does_not_depend_on_its_batch_or_layout(name: str, shift: int) -> None:
    """Alone and unpadded, in a batch padded with NaN, or packed in one row: the same tokens."""
    encoder = build(name)
    texts = documents(DOCUMENT_LENGTHS)
    expected = [alone(encoder, text, shift) for text in texts]
    hidden, mask = batch_of(texts, 29)
    layout = SegmentLayout.build(*mask.shape, LENGTH, attention_mask=mask, segment_shift=shift)
    for row, held, one in zip(encoder(hidden, layout=layout), mask, expected, strict=True):
        torch.testing.assert_close(row[held], one, rtol=0, atol=1e-12)
    lengths = torch.tensor([len(text) for text in texts])
    packed = encoder(torch.cat(texts)[None], layout=SegmentLayout.packed(lengths, LENGTH, segment_shift=shift))
    torch.testing.assert_close(packed[0], torch.cat(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shift", [0, 1, SHIFT, LENGTH - 1])
@pytest.mark.parametrize("name", OURS)
def test_a_document_is_its_segments_one_by_one(name: str, shift: int) -> None:
    """Shifts other than half a segment tell a rotation of the slots from its inverse."""
    encoder = build(name)
    [text] = documents([3 * LENGTH + 2])
    pieces = [piece for piece in (text[:shift], *text[shift:].split(LENGTH)) if len(piece)]
    expected = torch.cat([alone(encoder, piece, 0) for piece in pieces])
    torch.testing.assert_close(alone(encoder, text, shift), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shift", [0, SHIFT])
@pytest.mark.parametrize("name", OURS)
def test_changing_one_token_changes_its_segment_and_no_other(name: str, shift: int) -> None:
    encoder = build(name)
    [text] = documents([3 * LENGTH])
    changed = text.clone()
    changed[LENGTH + 1] += 1
    differs = (alone(encoder, text, shift) != alone(encoder, changed, shift)).any(1).nonzero().flatten()
    segment = [t for t in range(len(text)) if (t - shift) // LENGTH == (LENGTH + 1 - shift) // LENGTH]
    reached = segment if name == "lstm" else [t for t in segment if abs(t - LENGTH - 1) <= 2]
    assert differs.tolist() == reached


@pytest.mark.parametrize("name", OURS)
def test_the_order_of_the_tokens_matters_in_both_directions(name: str) -> None:
    encoder = build(name)
    [text] = documents([LENGTH])
    assert not torch.allclose(alone(encoder, text, 0).flip(0), alone(encoder, text.flip(0), 0), atol=1e-3)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize(("batch", "tokens"), [(0, 5), (2, 0), (2, 5)])
def test_no_segments_at_all_give_zeros(name: str, batch: int, tokens: int) -> None:
    hidden = torch.full((batch, tokens, HIDDEN), float("nan"), dtype=torch.float64)
    mask = torch.zeros(batch, tokens, dtype=torch.bool)
    out = build(name)(hidden, layout=SegmentLayout.build(batch, tokens, LENGTH, attention_mask=mask))
    assert out.shape == hidden.shape
    assert not out.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", OURS)
def test_every_precision_stays_itself_and_finite(name: str, dtype: torch.dtype) -> None:
    encoder = build(name).to(dtype)
    text = (30 * documents([2 * LENGTH + 1])[0]).to(dtype).requires_grad_()
    out = alone(encoder, text, SHIFT)
    out.sum().backward()
    assert out.dtype == dtype
    assert out.isfinite().all()
    for tensor in (text, *encoder.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.dtype == dtype
        assert tensor.grad.isfinite().all()
