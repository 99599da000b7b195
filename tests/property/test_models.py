"""Contracts 3, 4 and 5 on whole models, for options, lengths, padding and calls that hypothesis chooses."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from simmim import SimMIMForCausalLM, SimMIMForConditionalGeneration, SimMIMModel
from support import POOLINGS, READS, family_model

# That annotated shapes hold is checked in tests/unit/models; the checks would take most of the time here.
pytestmark = pytest.mark.usefixtures("unchecked_shapes")
FEW = settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-3}


@st.composite
def options(draw: st.DrawFn, encoder: bool = False) -> dict[str, Any]:
    """Choose what a model is built of."""
    length = draw(st.sampled_from((1, 3, 8)))
    read = draw(st.sampled_from(READS))
    return {
        "segment_length": length,
        "state_read": read,
        "state_pooling": draw(st.sampled_from(POOLINGS)),
        "state_null": draw(st.booleans()),
        "neighbours": draw(st.integers(0, 1)),
        "segment_shift": draw(st.integers(0, length - 1)),
        "state_reach": "all" if read == "none" else draw(st.sampled_from(("all", "pyramid"))),
        "aggregator": draw(st.sampled_from(("concat", "weighted_sum", "attention"))),
        "rotary": draw(st.booleans()),
        "segment_encoder": draw(st.sampled_from(("smi", "smi", "lstm", "cnn"))) if encoder else "smi",
        "memory": draw(st.sampled_from(("tokens", "pyramid", "two_level"))),
        "memory_top_k": draw(st.sampled_from((1, 2, 50))),
        "copy_head": draw(st.booleans()) if not encoder else False,
    }


@st.composite
def batches(draw: st.DrawFn, least: int = 0, most: int = 30) -> tuple[Tensor, Tensor]:
    """Choose texts, and where in a batch of ids they stand: left, right, or with holes; rubbish in between."""
    lengths = draw(st.lists(st.integers(least, most), min_size=1, max_size=4))
    width = max(1, max(lengths) + draw(st.integers(0, 5)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    ids = torch.randint(0, 50, (len(lengths), width), generator=generator)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        side = draw(st.sampled_from(("left", "right", "holes")))
        holes = torch.randperm(width, generator=generator)
        places = {"left": torch.arange(width).flip(0), "right": torch.arange(width), "holes": holes}[side]
        mask[row, places[:length]] = 1
    return ids, mask


def alone(batch: tuple[Tensor, Tensor], row: int) -> Tensor:
    """Return one text of a batch ``[1, n]``."""
    ids, mask = batch
    return ids[row][mask[row] == 1][None]


def cuts_of(width: int, cuts: list[int]) -> list[tuple[int, int]]:
    """Return the calls ``[from, to)`` that these cuts make of a text."""
    borders = sorted({0, width, *(cut for cut in cuts if cut < width)})
    return list(itertools.pairwise(borders))


CUTS = st.lists(st.integers(1, 35), max_size=8)
DTYPES = st.sampled_from((torch.float64, torch.float32))


@given(chosen=options(encoder=True), batch=batches(), dtype=DTYPES, order=st.randoms(use_true_random=False))
@FEW
def test_an_encoded_document_depends_on_nothing_but_itself(
    chosen: dict[str, Any], batch: tuple[Tensor, Tensor], dtype: torch.dtype, order: Any
) -> None:
    """Contract 5: tokens, pooled and global representation, whatever the batch, its padding and its order."""
    model = family_model(SimMIMModel, dtype=dtype, **chosen)
    ids, mask = batch
    turned = list(range(len(ids)))
    order.shuffle(turned)
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    for output, rows in ((model(ids, mask), range(len(ids))), (model(ids[turned], mask[turned]), turned)):
        for place, row in enumerate(rows):
            expected, held = model(alone(batch, row)), mask[row] == 1
            assert not output.last_hidden_state[place][~held].any()
            torch.testing.assert_close(output.last_hidden_state[place][held], expected.last_hidden_state[0], **close)
            torch.testing.assert_close(output.pooler_output[place], expected.pooler_output[0], **close)
            width = min(output.global_representation.shape[1], expected.global_representation.shape[1])
            top, mine = output.global_representation[place], expected.global_representation[0]
            torch.testing.assert_close(top[:width], mine[:width], **close)
            assert not top[width:].any()


@given(chosen=options(), batch=batches(least=1), dtype=DTYPES, cuts=CUTS)
@FEW
def test_a_language_model_goes_on_as_it_would_have_read(
    chosen: dict[str, Any], batch: tuple[Tensor, Tensor], dtype: torch.dtype, cuts: list[int]
) -> None:
    """Contracts 4 and 5: calls with a cache, cut anywhere, are one call without, and each text is what it is alone."""
    model = family_model(SimMIMForCausalLM, dtype=dtype, **chosen)
    ids, mask = batch
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    whole = model(ids, mask, use_cache=False).logits
    cache, found = None, []
    with torch.no_grad():
        for start, end in cuts_of(ids.shape[1], cuts):
            output = model(ids[:, start:end], mask[:, :end], past_key_values=cache, use_cache=True)
            cache, found = output.past_key_values, [*found, output.logits]
    held = mask == 1
    torch.testing.assert_close(torch.cat(found, 1)[held], whole[held], **close)
    for row in range(len(ids)):
        torch.testing.assert_close(whole[row][held[row]], model(alone(batch, row)).logits[0], **close)


@given(chosen=options(), batch=batches(least=2), place=st.floats(0, 1, exclude_max=True))
@FEW
def test_a_language_model_hears_of_nothing_later(
    chosen: dict[str, Any], batch: tuple[Tensor, Tensor], place: float
) -> None:
    """Contract 3, by gradient: what follows in the text, and the other texts, change nothing."""
    model = family_model(SimMIMForCausalLM, **chosen)
    ids, mask = batch
    tokens = mask[0].nonzero()[:, 0]
    now = tokens[int(place * len(tokens))]
    kept: list[Tensor] = []
    model.get_input_embeddings().register_forward_hook(lambda _, __, out: kept.append(out))
    said = model(ids, mask).logits[0, now]
    [gradient] = torch.autograd.grad(said[0] - said[1:].sum(), kept)
    assert gradient[0, now].any()
    assert not gradient[0, now + 1 :].any()
    assert not gradient[0][mask[0] == 0].any()
    assert not gradient[1:].any()


@given(chosen=options(), source=batches(most=40), dtype=DTYPES, cuts=CUTS, data=st.data())
@FEW
def test_a_decoder_goes_on_as_it_would_have_read(
    chosen: dict[str, Any], source: tuple[Tensor, Tensor], dtype: torch.dtype, cuts: list[int], data: st.DataObject
) -> None:
    """Contracts 4 and 5 from text to text: any source, any padding, any calls."""
    if chosen["memory"] == "two_level":
        dtype = torch.float64  # which segments are best, rounding may change
    model = family_model(SimMIMForConditionalGeneration, dtype=dtype, **chosen)
    (ids, mask), width = source, data.draw(st.integers(1, 25))
    target = torch.randint(0, 50, (len(ids), width), generator=torch.Generator().manual_seed(7))
    held = torch.ones_like(target)
    held[0, : data.draw(st.integers(0, width - 1))] = 0
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    whole = model(ids, mask, decoder_input_ids=target, decoder_attention_mask=held, use_cache=False)
    cache, found = None, []
    with torch.no_grad():
        encoded = model.encoder(ids, mask)
        for start, end in cuts_of(width, cuts):
            output = model(
                encoder_outputs=encoded,
                attention_mask=mask,
                decoder_input_ids=target[:, start:end],
                decoder_attention_mask=held[:, :end],
                past_key_values=cache,
                use_cache=True,
            )
            cache, found = output.past_key_values, [*found, output.logits]
    real = held == 1
    torch.testing.assert_close(torch.cat(found, 1)[real], whole.logits[real], **close)
    for row in range(len(ids)):
        if not mask[row].any():  # a document of padding alone has no form without padding
            continue
        expected = model(alone(source, row), decoder_input_ids=target[row][real[row]][None]).logits[0]
        torch.testing.assert_close(whole.logits[row][real[row]], expected, **close)
