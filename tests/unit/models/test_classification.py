"""The classifiers: losses of every problem type, saving, own aggregators, invariance, training, and refusals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel, Trainer, TrainingArguments

from simmim import (
    ConfigError,
    ShapeError,
    SimMIMForMaskedLM,
    SimMIMForSequenceClassification,
    SimMIMForTokenClassification,
    SimMIMModel,
)
from simmim.nn import AGGREGATORS
from simmim.nn.aggregators import Aggregator
from support import small_config

Classifier = SimMIMForSequenceClassification | SimMIMForTokenClassification
HEADS = [SimMIMForSequenceClassification, SimMIMForTokenClassification]


def model_of(head: type[Classifier] = SimMIMForSequenceClassification, **changes: Any) -> Classifier:
    """Build a model of four labels whose weights are large enough to make every token matter."""
    model = head(small_config(**{"num_labels": 4, **changes}))
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


@pytest.fixture
def _mine() -> Iterator[None]:
    """Register an aggregator of one's own for the time of a test."""

    @AGGREGATORS.register("mine")
    class Mine(Aggregator):
        def __init__(self, hidden_size: int) -> None:
            super().__init__(hidden_size)
            self.gate = nn.Linear(2 * hidden_size, hidden_size)

        def forward(self, left: Tensor, right: Tensor, both: Tensor) -> Tensor:
            share = torch.sigmoid(self.gate(torch.cat((left, right), dim=-1)))
            return share * left + (1 - share) * right

    yield
    AGGREGATORS.pop("mine", None)


def cross_entropy(logits: Tensor, classes: list[int]) -> Tensor:
    """Return the mean by hand, in float64."""
    shares = logits.double().softmax(-1)
    return -sum(row[label].log() for row, label in zip(shares, classes, strict=True)) / len(classes)


class TestLossOfDocuments:
    def test_one_class(self, texts: tuple[Tensor, Tensor]) -> None:
        model = model_of()
        output = model(*texts, labels=torch.tensor([3, 0, 1]))
        assert output.logits.shape == (3, 4)
        torch.testing.assert_close(output.loss.double(), cross_entropy(output.logits, [3, 0, 1]))
        assert model.config.problem_type == "single_label_classification"

    def test_documents_without_a_label_do_not_count(self, texts: tuple[Tensor, Tensor]) -> None:
        model = model_of()
        output = model(*texts, labels=torch.tensor([3, -100, 1]))
        torch.testing.assert_close(output.loss.double(), cross_entropy(output.logits[[0, 2]], [3, 1]))
        assert model(*texts, labels=torch.tensor([-100, -100, -100])).loss == 0

    def test_several_classes(self, texts: tuple[Tensor, Tensor]) -> None:
        model = model_of()
        labels = torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 0]]).float()
        output = model(*texts, labels=labels)
        shares = output.logits.double().sigmoid()
        by_hand = -(labels * shares.log() + (1 - labels) * (1 - shares).log()).mean()
        torch.testing.assert_close(output.loss.double(), by_hand)
        assert model.config.problem_type == "multi_label_classification"

    @pytest.mark.parametrize("shape", [(3,), (3, 1)])
    def test_one_number(self, shape: tuple[int, ...], texts: tuple[Tensor, Tensor]) -> None:
        model = model_of(num_labels=1)
        output = model(*texts, labels=torch.tensor([0.5, -2.0, 3.0]).view(shape))
        by_hand = (output.logits[:, 0] - torch.tensor([0.5, -2.0, 3.0])).pow(2).mean()
        torch.testing.assert_close(output.loss, by_hand)
        assert model.config.problem_type == "regression"

    def test_several_numbers(self, texts: tuple[Tensor, Tensor]) -> None:
        labels = torch.randn(3, 4)
        output = model_of(problem_type="regression")(*texts, labels=labels)
        torch.testing.assert_close(output.loss, (output.logits - labels).pow(2).mean())

    @pytest.mark.parametrize(
        "problem_type", ["single_label_classification", "multi_label_classification", "regression"]
    )
    def test_parts_of_a_batch_add_up_to_the_batch(self, problem_type: str, texts: tuple[Tensor, Tensor]) -> None:
        ids, mask = texts
        model = model_of(problem_type=problem_type)
        labels = torch.tensor([3, 0, 1]) if problem_type.startswith("single") else torch.rand(3, 4)
        items = labels.ne(-100).sum()  # as the Trainer counts
        parts = (
            model(ids[i : i + 1], mask[i : i + 1], labels=labels[i : i + 1], num_items_in_batch=items) for i in range(3)
        )
        torch.testing.assert_close(sum(part.loss for part in parts), model(ids, mask, labels=labels).loss)


def test_loss_of_tokens_is_the_mean_over_the_labels(texts: tuple[Tensor, Tensor]) -> None:
    ids, mask = texts
    labels = torch.full_like(ids, -100)
    labels[0, 3], labels[1, 30], labels[2, 36] = 3, 0, 1
    model = model_of(SimMIMForTokenClassification)
    output = model(ids, mask, labels=labels)
    assert output.logits.shape == (3, 37, 4)
    predicted = output.logits[[0, 1, 2], [3, 30, 36]]
    torch.testing.assert_close(output.loss.double(), cross_entropy(predicted, [3, 0, 1]))
    torch.testing.assert_close(model(ids, mask, labels=labels, num_items_in_batch=6).loss, output.loss / 2)


@pytest.mark.parametrize("head", HEADS)
def test_a_document_does_not_depend_on_its_batch(head: type[Classifier], texts: tuple[Tensor, Tensor]) -> None:
    ids, mask = texts
    model = model_of(head).double()
    together = model(ids, mask).logits
    for row in range(3):
        held = mask[row].bool()
        alone = model(ids[row][held][None]).logits[0]
        found = together[row][held] if head is SimMIMForTokenClassification else together[row]
        torch.testing.assert_close(found, alone)


@pytest.mark.parametrize("head", HEADS)
def test_outputs_have_what_is_asked_for(head: type[Classifier], texts: tuple[Tensor, Tensor]) -> None:
    ids, mask = texts
    model = model_of(head)
    output = model(ids, mask, output_hidden_states=True, output_attentions=True)
    encoded = model.encoder(ids, mask, output_hidden_states=True, output_attentions=True)
    for name in ("hidden_states", "attentions", "state_attentions"):
        ours, theirs = getattr(output, name), getattr(encoded, name)
        assert len(ours) == len(theirs) >= 2
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    [logits] = model(ids, mask, return_dict=False)
    torch.testing.assert_close(logits, output.logits)
    torch.testing.assert_close(model(inputs_embeds=model.encoder.embed_tokens(ids)).logits, model(ids).logits)


@pytest.mark.parametrize("head", HEADS)
def test_saved_models_come_back_and_give_their_encoder(
    head: type[Classifier], tmp_path: Path, texts: tuple[Tensor, Tensor]
) -> None:
    names = {0: "crude", 1: "earn", 2: "ship", 3: "trade"}
    model = model_of(head, id2label=names)
    expected = model(*texts)
    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", "simmim_auto.py"}
    again = head.from_pretrained(tmp_path).eval()
    assert again.config.id2label == names
    torch.testing.assert_close(again(*texts).logits, expected.logits, rtol=0, atol=0)
    encoder = AutoModel.from_pretrained(tmp_path).eval()
    assert type(encoder) is SimMIMModel
    torch.testing.assert_close(
        encoder(*texts).last_hidden_state, model.encoder(*texts).last_hidden_state, rtol=0, atol=0
    )


def test_an_encoder_and_its_pyramid_become_a_classifier_and_come_back(
    tmp_path: Path, texts: tuple[Tensor, Tensor]
) -> None:
    source = model_of().encoder
    source.save_pretrained(tmp_path / "encoder")
    model = SimMIMForSequenceClassification.from_pretrained(tmp_path / "encoder", num_labels=4).eval()
    pooled = source(*texts).pooler_output
    torch.testing.assert_close(model(*texts).logits, model.classifier(pooled), rtol=0, atol=0)
    model.save_pretrained(tmp_path / "classifier")
    encoder = AutoModel.from_pretrained(tmp_path / "classifier").eval()
    torch.testing.assert_close(encoder(*texts).pooler_output, pooled, rtol=0, atol=0)


@pytest.mark.usefixtures("_mine")
def test_an_own_aggregator_is_saved_by_name_and_must_be_registered_to_load(
    tmp_path: Path, texts: tuple[Tensor, Tensor]
) -> None:
    model = model_of(aggregator="mine")
    model.save_pretrained(tmp_path)
    again = SimMIMForSequenceClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again(*texts).logits, model(*texts).logits, rtol=0, atol=0)
    del AGGREGATORS["mine"]
    with pytest.raises(ConfigError, match="aggregator: expected one of .*concat.*; got 'mine'"):
        SimMIMForSequenceClassification.from_pretrained(tmp_path)


@pytest.mark.usefixtures("_mine")
@pytest.mark.parametrize("aggregator", ["concat", "weighted_sum", "attention", "mine"])
def test_every_parameter_learns_also_those_of_the_aggregator(aggregator: str, texts: tuple[Tensor, Tensor]) -> None:
    model = model_of(aggregator=aggregator).train()
    model(*texts, labels=torch.tensor([0, 1, 2])).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("head", HEADS)
def test_gradient_checkpointing_changes_no_gradient(head: type[Classifier], texts: tuple[Tensor, Tensor]) -> None:
    ids, mask = texts
    labels = torch.tensor([0, 1, 2]) if head is SimMIMForSequenceClassification else ids % 4
    model = model_of(head).train()
    grads = []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable()
            assert model.encoder.gradient_checkpointing
        model.zero_grad()
        model(ids, mask, labels=labels).loss.backward()
        grads.append([parameter.grad.clone() for parameter in model.parameters()])
    torch.testing.assert_close(grads[0], grads[1])


@pytest.mark.parametrize("head", HEADS)
def test_the_vocabulary_can_be_resized(head: type[Classifier], texts: tuple[Tensor, Tensor]) -> None:
    model = model_of(head)
    before = model(*texts).logits
    model.resize_token_embeddings(57, mean_resizing=False)
    torch.testing.assert_close(model(*texts).logits, before)
    assert model(texts[0].clone().fill_(56)).logits.isfinite().all()


@pytest.mark.parametrize("head", HEADS)
def test_dropout_is_the_configurations_and_rests_outside_training(head: type[Classifier]) -> None:
    model = model_of(head, dropout=0.25, num_hidden_layers=0)  # without layers no dropout but the classifier's
    assert model.dropout.p == 0.25
    ids = torch.randint(4, 50, (1, 30))
    assert torch.equal(model(ids).logits, model(ids).logits)
    assert not torch.equal(model.train()(ids).logits, model(ids).logits)


@pytest.mark.parametrize("head", HEADS)
def test_trainer_lowers_the_loss(head: type[Classifier], tmp_path: Path) -> None:
    """A document's class is that of its first token, a token's class is its own; parts of a batch, padding."""
    rows = []
    for i, ids in enumerate(torch.randint(8, 50, (64, 24))):
        ids[0] = 4 + i % 4
        mask = torch.arange(24) < 12 + i % 12
        label = ids[0] - 4 if head is SimMIMForSequenceClassification else (ids % 4).where(mask, -100)
        rows.append({"input_ids": ids, "attention_mask": mask.long(), "labels": label})
    model = head(small_config(num_hidden_layers=1, num_labels=4))
    arguments = TrainingArguments(
        str(tmp_path),
        **{"max_steps": 40, "learning_rate": 5e-2, "per_device_train_batch_size": 16, "report_to": "none"},
        **{"gradient_accumulation_steps": 2, "use_cpu": True, "disable_tqdm": True, "save_strategy": "no"},
    )
    trainer = Trainer(model, arguments, train_dataset=rows, eval_dataset=rows)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before / 4


@pytest.mark.parametrize(
    ("settings", "labels", "message"),
    [
        ({}, torch.tensor([0, 1]), r"labels: expected one for each prediction, \[3\], got \[2\]"),
        ({}, torch.zeros(3, 4, dtype=torch.long), r"expected one for each prediction, \[3\], got \[3, 4\]"),
        ({}, torch.tensor([0, 4, 1]), "labels: expected classes from 0 to 3, or -100 for no loss, got 4; .*num_labels"),
        ({}, torch.zeros(3), r"labels: expected \[3, 4\] for multi_label_classification, got \[3\]"),
        ({}, torch.full((3, 4), 2.0), "floats from 0 to 1 for multi_label_classification, got 2 to 2"),
        (
            {"problem_type": "multi_label_classification"},
            torch.ones(3, 4, dtype=torch.long),
            "labels: expected floats for multi_label_classification, got torch.int64; use labels.float()",
        ),
        ({"num_labels": 1}, torch.tensor([1, 2, 3]), "labels: expected floats for regression, got torch.int64"),
        ({"num_labels": 1}, torch.rand(2), r"labels: expected \[3, 1\] for regression, got \[2, 1\]"),
        (
            {"problem_type": "single_label_classification"},
            torch.zeros(3),
            "labels: expected whole numbers, got torch.float32; use labels.long()",
        ),
    ],
)
def test_wrong_labels_of_documents_are_refused(
    settings: dict[str, Any], labels: Tensor, message: str, texts: tuple[Tensor, Tensor]
) -> None:
    with pytest.raises(ShapeError, match=message):
        model_of(**settings)(*texts, labels=labels)


def test_wrong_labels_of_tokens_are_refused(texts: tuple[Tensor, Tensor]) -> None:
    model = model_of(SimMIMForTokenClassification)
    with pytest.raises(ShapeError, match=r"\[3, 37\], got \[3\]"):
        model(*texts, labels=torch.tensor([0, 1, 2]))
    with pytest.raises(ShapeError, match="classes from 0 to 3, or -100 for no loss, got 49"):
        model(*texts, labels=torch.full((3, 37), 49))


def test_an_own_aggregator_starts_as_its_reset_parameters_says(tmp_path: Path) -> None:
    """In a new model, and where a checkpoint lacks it; loaded weights stay as they are."""

    @AGGREGATORS.register("started")
    class Started(Aggregator):
        def __init__(self, hidden_size: int) -> None:
            super().__init__(hidden_size)
            self.share = torch.nn.Parameter(torch.empty(hidden_size))
            self.reset_parameters()

        def reset_parameters(self) -> None:
            torch.nn.init.constant_(self.share, 0.25)

        def forward(self, left: Tensor, right: Tensor, both: Tensor) -> Tensor:
            return self.share * left + (1 - self.share) * right

    try:
        config = small_config(aggregator="started")
        SimMIMForMaskedLM(config).save_pretrained(tmp_path / "without")
        lacks = SimMIMForSequenceClassification.from_pretrained(tmp_path / "without")
        for model in (SimMIMForSequenceClassification(config), lacks):
            share = model.get_parameter("encoder.hierarchy.aggregator.share")
            assert bool((share == 0.25).all())
        with torch.no_grad():
            share.fill_(0.75)
        model.save_pretrained(tmp_path / "trained")
        trained = SimMIMForSequenceClassification.from_pretrained(tmp_path / "trained")
        assert bool((trained.get_parameter("encoder.hierarchy.aggregator.share") == 0.75).all())
    finally:
        del AGGREGATORS["started"]
