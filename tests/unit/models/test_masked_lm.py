"""The masked-language model: its loss, tying and resizing, saving, pretraining for other heads, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, Trainer, TrainingArguments

from simmim import ShapeError, SimMIMConfig, SimMIMForMaskedLM, SimMIMForSequenceClassification, SimMIMModel
from simmim.models.losses import token_loss
from support import small_config


def model_of(**changes: Any) -> SimMIMForMaskedLM:
    """Build a model whose weights are large enough to make every token matter."""
    model = SimMIMForMaskedLM(small_config(**changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.4)
    return model.eval()


@pytest.fixture
def texts() -> tuple[Tensor, Tensor]:
    """Three documents of 20, 37 and 7 tokens, padded right, not at all and left, with rubbish in the padding."""
    ids = torch.randint(4, 50, (3, 37))
    mask = torch.ones_like(ids)
    mask[0, 20:] = 0
    mask[2, :30] = 0
    return ids, mask


def test_the_loss_is_the_mean_over_the_labels_by_hand(texts: tuple[Tensor, Tensor]) -> None:
    ids, mask = texts
    labels = torch.full_like(ids, -100)
    labels[0, 3], labels[1, 30], labels[2, 36] = 7, 49, 0
    output = model_of()(ids, mask, labels=labels)
    assert output.logits.shape == (3, 37, 50)
    shares = output.logits.double().softmax(-1)
    by_hand = -(shares[0, 3, 7].log() + shares[1, 30, 49].log() + shares[2, 36, 0].log()) / 3
    torch.testing.assert_close(output.loss.double(), by_hand, rtol=1e-5, atol=1e-5)


def test_parts_of_a_batch_add_up_to_the_batch(texts: tuple[Tensor, Tensor]) -> None:
    ids, mask = texts
    labels = ids.masked_fill(mask == 0, -100)
    model = model_of()
    parts = [
        model(
            ids[row : row + 1], mask[row : row + 1], labels=labels[row : row + 1], num_items_in_batch=torch.tensor(64)
        )
        for row in range(3)
    ]
    torch.testing.assert_close(sum(part.loss for part in parts), model(ids, mask, labels=labels).loss)


def test_without_labels_there_is_no_loss_and_without_wanted_ones_it_is_zero(texts: tuple[Tensor, Tensor]) -> None:
    ids, mask = texts
    model = model_of()
    assert model(ids, mask).loss is None
    nothing = model(ids, mask, labels=torch.full_like(ids, -100)).loss
    assert nothing == 0
    nothing.backward()


def test_the_loss_is_float32_whatever_the_model_is() -> None:
    logits = torch.randn(2, 3, 5)
    labels = torch.randint(0, 5, (2, 3))
    half = token_loss(logits.bfloat16(), labels)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, token_loss(logits.bfloat16().float(), labels), rtol=0, atol=0)


def test_a_document_does_not_depend_on_its_batch(texts: tuple[Tensor, Tensor]) -> None:
    ids, mask = texts
    model = model_of().double()
    together = model(ids, mask).logits
    for row in range(3):
        held = mask[row].bool()
        torch.testing.assert_close(together[row][held], model(ids[row][held][None]).logits[0])


def test_outputs_have_what_is_asked_for(texts: tuple[Tensor, Tensor]) -> None:
    ids, mask = texts
    model = model_of()
    output = model(ids, mask, labels=ids, output_hidden_states=True, output_attentions=True)
    encoded = model.encoder(ids, mask, output_hidden_states=True, output_attentions=True)
    for name in ("hidden_states", "attentions", "state_attentions"):
        ours, theirs = getattr(output, name), getattr(encoded, name)
        assert len(ours) == len(theirs) >= 2
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    torch.testing.assert_close(model(inputs_embeds=model.encoder.embed_tokens(ids)).logits, model(ids).logits)
    loss, logits = model(ids, mask, labels=ids, return_dict=False)
    torch.testing.assert_close((loss, logits), (output.loss, output.logits))


@pytest.mark.parametrize("tied", [True, False])
def test_saved_models_come_back(tied: bool, tmp_path: Path, texts: tuple[Tensor, Tensor]) -> None:
    model = model_of(tie_word_embeddings=tied)
    assert (model.lm_head.weight is model.encoder.embed_tokens.weight) is tied
    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", "simmim_auto.py"}
    again = SimMIMForMaskedLM.from_pretrained(tmp_path).eval()
    assert (again.lm_head.weight is again.encoder.embed_tokens.weight) is tied
    torch.testing.assert_close(again(*texts).logits, model(*texts).logits, rtol=0, atol=0)


@pytest.mark.parametrize("tied", [True, False])
def test_the_vocabulary_can_be_resized(tied: bool, texts: tuple[Tensor, Tensor]) -> None:
    ids, mask = texts
    model = model_of(tie_word_embeddings=tied)
    with torch.no_grad():
        before = model(ids, mask).logits
    model.resize_token_embeddings(57, mean_resizing=False)
    assert model.config.vocab_size == 57
    assert (model.lm_head.weight is model.get_input_embeddings().weight) is tied
    output = model(ids.clone().fill_(56), labels=ids.clone().fill_(56))
    assert output.logits.shape == (3, 37, 57)
    torch.testing.assert_close(model(ids, mask).logits[..., :50], before)
    output.loss.backward()
    assert model.encoder.embed_tokens.weight.grad[56].any()


def test_what_it_learned_serves_other_heads(tmp_path: Path, texts: tuple[Tensor, Tensor]) -> None:
    model = model_of()
    model.save_pretrained(tmp_path / "pretrained")
    classifier = SimMIMForSequenceClassification.from_pretrained(tmp_path / "pretrained", num_labels=3).eval()
    expected = model.encoder(*texts).last_hidden_state
    torch.testing.assert_close(classifier.encoder(*texts).last_hidden_state, expected, rtol=0, atol=0)
    merge = classifier.encoder.hierarchy.aggregator.merge.weight
    assert merge.isfinite().all()
    assert classifier(*texts).logits.shape == (3, 3)
    encoder = AutoModel.from_pretrained(tmp_path / "pretrained").eval()
    assert type(encoder) is SimMIMModel
    torch.testing.assert_close(encoder(*texts).last_hidden_state, expected, rtol=0, atol=0)
    encoder.save_pretrained(tmp_path / "encoder")
    back = SimMIMForMaskedLM.from_pretrained(tmp_path / "encoder").eval()
    torch.testing.assert_close(back(*texts).logits, model(*texts).logits, rtol=0, atol=0)


def test_gradient_checkpointing_changes_no_gradient(texts: tuple[Tensor, Tensor]) -> None:
    ids, mask = texts
    model = model_of().train()
    grads = []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable()
            assert model.encoder.gradient_checkpointing
        model.zero_grad()
        model(ids, mask, labels=ids).loss.backward()
        grads.append([parameter.grad.clone() for parameter in model.parameters()])
    assert all(grad.any() for grad in grads[0])
    torch.testing.assert_close(grads[0], grads[1])


def test_trainer_lowers_the_loss(tmp_path: Path) -> None:
    """Every masked token is the one after it, so it can be known; two parts a batch."""
    rows = []
    for ids in torch.randint(4, 24, (64, 12)):
        labels = torch.full_like(ids, -100)
        labels[3::4] = ids[3::4] = ids[2::4]
        rows.append({"input_ids": ids.clone().index_fill_(0, torch.tensor([3, 7, 11]), 3), "labels": labels})
    model = SimMIMForMaskedLM(small_config(num_hidden_layers=1))
    arguments = TrainingArguments(
        str(tmp_path),
        **{"max_steps": 50, "learning_rate": 5e-2, "per_device_train_batch_size": 16, "report_to": "none"},
        **{"gradient_accumulation_steps": 2, "use_cpu": True, "disable_tqdm": True, "save_strategy": "no"},
    )
    trainer = Trainer(model, arguments, train_dataset=rows, eval_dataset=rows)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before / 4


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(3, 36, dtype=torch.long), r"labels: expected one for each prediction, \[3, 37\], got \[3, 36\]"),
        (torch.zeros(3, 37), "labels: expected whole numbers, got torch.float32"),
        (torch.full((3, 37), 50), "labels: expected classes from 0 to 49, or -100 for no loss, got 50"),
        (torch.full((3, 37), -1), "got -1"),
    ],
)
def test_wrong_labels_are_refused(labels: Tensor, message: str, texts: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ShapeError, match=message):
        model_of()(*texts, labels=labels)


def test_the_configuration_stays_the_users_own() -> None:
    config = SimMIMConfig(vocab_size=50, hidden_size=16, num_attention_heads=2, intermediate_size=24)
    model = SimMIMForMaskedLM(config)
    assert model.encoder.hierarchy is None
    assert not config.is_encoder_decoder
