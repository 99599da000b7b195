"""Packed documents are read as if each were alone, by value and by gradient, packed as transformers packs them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DataCollatorWithFlattening

from simmim import ShapeError, SimMIMForCausalLM
from simmim.models.packed_documents import PackedDocuments
from support import small_config

L = 8  # of small_config
LENGTHS = (1, L - 1, L, L + 1, 2 * L, 27, 2)
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "no-neighbours": {"neighbours": 0},
    "literal": {"state_read": "broadcast", "state_pooling": "first", "neighbours": 0},
    "gated-shifted": {"state_read": "gated_broadcast", "state_pooling": "attention", "segment_shift": 4},
    "none": {"state_read": "none"},
    "none-shifted-null": {"state_read": "none", "segment_shift": 3, "state_null": True},
    "pyramid": {"state_reach": "pyramid", "segment_shift": 4, "state_null": True},
    "pyramid-broadcast": {"state_reach": "pyramid", "state_read": "broadcast", "state_pooling": "last"},
    "full": {"segment_length": 64, "state_read": "none", "neighbours": 0},
}


def model_of(**changes: Any) -> SimMIMForCausalLM:
    model = SimMIMForCausalLM(small_config(**changes))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model.double().eval()


def documents(lengths: tuple[int, ...] = LENGTHS) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(4, 50, (length,), generator=generator) for length in lengths]


def gradients(model: SimMIMForCausalLM) -> dict[str, Tensor]:
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    return found


def alone(model: SimMIMForCausalLM, texts: list[Tensor]) -> tuple[list[Tensor], Tensor, dict[str, Tensor]]:
    """Return logits of each document in a pass of its own, the mean loss of all labels, and its gradients."""
    outputs = [model(text[None], labels=text[None]) for text in texts]
    count = sum(len(text) - 1 for text in texts)
    loss = sum(output.loss * (len(text) - 1) for output, text in zip(outputs, texts, strict=True)) / count
    loss.backward()
    return [output.logits[0].detach() for output in outputs], loss.detach(), gradients(model)


@pytest.mark.contract
@pytest.mark.parametrize("options", OPTIONS)
def test_packed_documents_have_the_losses_and_gradients_of_documents_alone(options: str) -> None:
    """Contracts 3 and 5 for rows of several documents, packed by transformers' own collator."""
    model, texts = model_of(**OPTIONS[options]), documents()
    logits, loss, expected = alone(model, texts)
    collator = DataCollatorWithFlattening(return_flash_attn_kwargs=True)
    batch = collator([{"input_ids": text.tolist()} for text in texts])
    borders = {key: batch.pop(key) for key in ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")}
    positions = batch.pop("position_ids")
    for found in ({"position_ids": positions}, borders):
        # labels of the first tokens are not -100: no document may be asked for them nevertheless
        output = model(batch["input_ids"], labels=batch["input_ids"], **found)
        torch.testing.assert_close(output.logits[0], torch.cat(logits), rtol=0, atol=1e-10)
        torch.testing.assert_close(output.loss, loss)
        output.loss.backward()
        for name, gradient in gradients(model).items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(model(**batch, position_ids=positions).loss, loss)


@pytest.mark.contract
@pytest.mark.parametrize("options", ["default", "gated-shifted", "pyramid"])
def test_no_document_reads_another(options: str) -> None:
    model, texts = model_of(**OPTIONS[options]), documents()
    borders = torch.tensor([0, *LENGTHS]).cumsum(0)
    embedded = model.get_input_embeddings()(torch.cat(texts)[None]).detach().requires_grad_()
    logits = model(inputs_embeds=embedded, cu_seq_lens_q=borders.int()).logits
    for number, (start, end) in enumerate(zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True)):
        [gradient] = torch.autograd.grad(logits[0, start:end].square().sum(), embedded, retain_graph=True)
        assert gradient[0, start:end].any(1).all(), number
        assert not gradient[0, :start].any()
        assert not gradient[0, end:].any()


def test_rows_may_hold_several_documents_and_padding() -> None:
    model, texts = model_of(), documents((5, 9, 3, 14))
    logits, loss, _ = alone(model, texts)
    ids, mask, positions = torch.full((2, 20), 7), torch.zeros(2, 20, dtype=torch.long), torch.full((2, 20), 99)
    for row, column, text in ((0, 0, 0), (0, 8, 1), (1, 1, 2), (1, 4, 3)):
        places = slice(column, column + len(texts[text]))
        ids[row, places], mask[row, places] = texts[text], 1
        positions[row, places] = torch.arange(len(texts[text]))
    labels = ids.masked_fill(mask == 0, -100)
    output = model(ids, mask, labels=labels, position_ids=positions, output_hidden_states=True, output_attentions=True)
    torch.testing.assert_close(output.logits[mask == 1], torch.cat(logits), rtol=0, atol=1e-10)
    torch.testing.assert_close(output.loss, loss)
    assert output.hidden_states[1].shape == (2, 20, 16)
    first = model(texts[0][None], output_attentions=True)
    torch.testing.assert_close(output.attentions[0][0, :, :5, -L : -L + 5], first.attentions[0][0, :, :5, :5])


def test_positions_of_one_document_a_row_change_nothing() -> None:
    model = model_of()
    ids = torch.stack(documents((9, 9)))
    mask = torch.tensor([[0] * 4 + [1] * 5, [1] * 9])
    positions = (mask.cumsum(1) - 1).clamp(min=0)  # as generate of transformers numbers them
    torch.testing.assert_close(model(ids, mask, position_ids=positions).logits, model(ids, mask).logits)
    output = model(ids, mask, position_ids=positions, use_cache=True)
    step = model(ids[:, :1], past_key_values=output.past_key_values, position_ids=positions[:, -1:] + 1)
    assert step.past_key_values.get_seq_length() == 10
    found = PackedDocuments.find(2, 9, mask=mask.bool(), position_ids=positions)
    assert found is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"position_ids": torch.tensor([[0, 1, 3]])}, "begin with 0 .* count up by 1, got 3 in row 0, column 2"),
        ({"position_ids": torch.tensor([[5, 6, 7]])}, "begin with 0 .* got 5 in row 0, column 0"),
        ({"position_ids": torch.tensor([0, 1, 2])}, r"position_ids: expected \[1, 3\], got \[3\]"),
        ({"cu_seq_lens_q": torch.tensor([0, 2])}, "rising numbers from 0 to the 3 tokens of the row"),
        ({"cu_seq_lens_q": torch.tensor([0, 2, 2, 3])}, "rising numbers"),
        ({"cu_seq_lens_q": torch.tensor([3])}, "rising numbers"),
        (
            {"cu_seq_lens_q": torch.tensor([0, 1, 3]), "attention_mask": torch.tensor([[0, 1, 1]])},
            "one row .* without padding, got 1 rows and an attention_mask",
        ),
        (
            {"position_ids": torch.tensor([[0, 0, 1]]), "use_cache": True},
            "expected False for rows of several documents",
        ),
        ({"position_ids": torch.tensor([[0, 0, 1]]), "labels": torch.ones(1, 2, dtype=torch.long)}, "labels: expected"),
    ],
)
def test_what_is_no_packing_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        model_of()(torch.tensor([[5, 6, 7]]), **arguments)
