"""LSTM and CNN segment encoders equal their equations, token by token, in outputs and gradients (contract 1)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from simmim.errors import ConfigError
from simmim.nn import SEGMENT_ENCODERS, SegmentEncoder
from simmim.ops import reference
from simmim.ops.layout import SegmentLayout
from support import DOCUMENT_LENGTHS, HIDDEN, LENGTH, batch_of, documents

WIDTH = 29
EQUATIONS = {"lstm": reference.lstm_segments, "cnn": reference.cnn_segments}


def random_encoder(name: str) -> nn.Module:
    encoder = SEGMENT_ENCODERS.find(name)(HIDDEN).double()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return encoder


def expected(encoder: nn.Module, name: str, text: Tensor, shift: int) -> Tensor:
    if not len(text):
        return text
    pieces = reference.cut(len(text), LENGTH, shift if len(text) > LENGTH else 0)
    return EQUATIONS[name](text, dict(encoder.named_parameters()), pieces)


@pytest.mark.parametrize("shift", [0, LENGTH // 2])
@pytest.mark.parametrize("name", sorted(EQUATIONS))
def test_outputs_and_gradients_equal_the_equations(name: str, shift: int) -> None:
    encoder = random_encoder(name)
    texts = [text.requires_grad_() for text in documents(DOCUMENT_LENGTHS)]
    hidden, mask = batch_of(texts, WIDTH)
    layout = SegmentLayout.build(len(texts), WIDTH, LENGTH, attention_mask=mask, segment_shift=shift)
    output = encoder(hidden, layout=layout)
    assert not output[~mask].any(), "padding must be zero"
    fast = torch.cat([row[held] for row, held in zip(output, mask, strict=True)])
    slow = torch.cat([expected(encoder, name, text, shift) for text in texts])
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-11)
    wanted = [*(text for text in texts if len(text)), *encoder.parameters()]
    direction = torch.randn(fast.shape, dtype=torch.float64)
    ours = torch.autograd.grad((fast * direction).sum(), wanted)
    theirs = torch.autograd.grad((slow * direction).sum(), wanted)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", sorted(EQUATIONS))
def test_nothing_crosses_a_border(name: str) -> None:
    encoder = random_encoder(name)
    [text] = documents([3 * LENGTH])
    text.requires_grad_()
    layout = SegmentLayout.build(1, len(text), LENGTH)
    encoder(text[None], layout=layout)[0, LENGTH : 2 * LENGTH].sum().backward()
    assert text.grad is not None
    assert text.grad[LENGTH : 2 * LENGTH].abs().min() > 0
    assert not text.grad[:LENGTH].any()
    assert not text.grad[2 * LENGTH :].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", sorted(EQUATIONS))
def test_half_precision_is_no_worse_than_twice_the_naive_form(name: str, dtype: torch.dtype) -> None:
    [text] = documents([3 * LENGTH + 2], dtype)
    rounded = random_encoder(name).to(dtype)
    exact = random_encoder(name).to(dtype).double()
    truth = expected(exact, name, text.double(), 0)
    naive = expected(rounded, name, text, 0).double()
    fast = rounded(text[None], layout=SegmentLayout.build(1, len(text), LENGTH))[0].double()
    assert (fast - truth).norm() <= 2 * (naive - truth).norm() + 1e-12


def test_an_odd_width_is_refused_for_an_lstm() -> None:
    with pytest.raises(ConfigError, match="even number for segment_encoder='lstm', got 7"):
        SEGMENT_ENCODERS.find("lstm")(7)


def test_one_of_your_own_is_a_class_and_a_line() -> None:
    @SEGMENT_ENCODERS.register("doubled")
    class Doubled(SegmentEncoder):
        def encode(self, segments: Tensor, layout: SegmentLayout) -> Tensor:
            return 2 * segments

    try:
        text = documents([LENGTH + 1])[0]
        out = SEGMENT_ENCODERS.find("doubled")(HIDDEN)(text[None], layout=SegmentLayout.build(1, len(text), LENGTH))
        torch.testing.assert_close(out[0], 2 * text)
    finally:
        del SEGMENT_ENCODERS["doubled"]
