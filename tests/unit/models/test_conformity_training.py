"""Contract 9, in training: labels, checkpointing, the Trainer with all that changes batches, and LoRA."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from simmim import SimMIMForCausalLM, SimMIMForConditionalGeneration, SimMIMForSequenceClassification, SimMIMModel
from simmim.models.modeling_simmim import SimMIMPreTrainedModel
from support import (
    MODELS,
    family_batch,
    family_model,
    fewest_layers,
    predicted,
    score,
    small_config,
    some_of_the_family,
)

Head = type[SimMIMPreTrainedModel]
LEARNING = [head for head in MODELS if head is not SimMIMModel]
"""The heads that have a loss."""


@pytest.mark.parametrize(("head", "variant"), [pair for pair in some_of_the_family() if pair[0] is not SimMIMModel])
def test_labels_of_minus_100_ask_for_nothing(head: Head, variant: str) -> None:
    """Of the others the loss is the mean; where there are none it is 0, and so is every gradient."""
    model, batch = family_model(head, variant, **fewest_layers(variant)), family_batch(head)
    model.config.problem_type = "single_label_classification"
    labels = batch["labels"].clone()
    labels[2] = -100
    # Without these labels the decoder would be given other inputs, too.
    extra = {}
    if head is SimMIMForConditionalGeneration:
        extra["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(batch["labels"])
    loss = model(**{**batch, "labels": labels}, **extra).loss
    logits = predicted(model(**batch, **extra))
    if head is SimMIMForCausalLM:  # the label of a text's first token is never asked for, wherever it stands
        labels, logits = labels[:, 1:], logits[:, :-1]
        begun = (batch["attention_mask"].cumsum(1) > 0)[:, :-1]
        labels = labels.masked_fill(~begun, -100)
    wanted = labels != -100
    by_hand = nn.functional.cross_entropy(logits[wanted].float(), labels[wanted])
    torch.testing.assert_close(loss, by_hand)
    nothing = model(**{**batch, "labels": torch.full_like(batch["labels"], -100)}, **extra).loss
    assert nothing == 0
    nothing.backward()
    grads = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert grads
    assert not any(grad.any() for grad in grads)


def saved_bytes(run: Callable[[], Tensor]) -> tuple[Tensor, int]:
    """Return what a call gives, and the bytes of the tensors that it keeps for the backward pass."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = run()
    return result, sum(kept.values())


@pytest.mark.parametrize(
    ("head", "variant", "reentrant"),
    [*((*pair, False) for pair in some_of_the_family()), *((head, "default", True) for head in MODELS)],
)
def test_checkpointing_keeps_less_and_changes_nothing(head: Head, variant: str, reentrant: bool) -> None:
    found = []
    for checkpointing in (False, True):
        model, batch = family_model(head, variant, dropout=0.25).train(), family_batch(head)
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": reentrant})
            assert model.is_activation_checkpointing
            if reentrant:
                model.enable_input_require_grads()
        torch.manual_seed(3)
        loss, size = saved_bytes(lambda model=model, batch=batch: score(model(**batch)))
        loss.backward()
        found.append((loss, size, [weight.grad for weight in model.parameters()]))
    (loss, size, grads), (again, less, same) = found
    assert torch.equal(loss, again)
    torch.testing.assert_close(grads, same)
    assert less < 0.7 * size
    model.activation_checkpointing_disable()
    assert not model.is_activation_checkpointing


def rows_for(head: Head, count: int = 16) -> list[dict[str, Any]]:
    """Make ragged examples, some of whose labels are not asked for."""
    generator = torch.Generator().manual_seed(5)
    rows = []
    for number in range(count):
        ids = torch.randint(4, 50, (3 + 2 * number,), generator=generator)
        if head is SimMIMForSequenceClassification:
            labels: Any = number % 4
        elif head is SimMIMForConditionalGeneration:
            labels = ids[: 2 + number].tolist()
        else:
            labels = (ids % 4 if "Token" in head.__name__ else ids).masked_fill(torch.arange(len(ids)) % 3 == 1, -100)
            labels = labels.tolist()
        rows.append({"input_ids": ids.tolist(), "labels": labels})
    return rows


def collate(rows: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Pad a batch."""

    def pad(lists: list[list[int]], value: int) -> Tensor:
        return nn.utils.rnn.pad_sequence([torch.tensor(x) for x in lists], batch_first=True, padding_value=value)

    ids = [row["input_ids"] for row in rows]
    labels = [row["labels"] for row in rows]
    whole = torch.tensor(labels) if isinstance(labels[0], int) else pad(labels, -100)
    return {"input_ids": pad(ids, 0), "attention_mask": pad([[1] * len(x) for x in ids], 0), "labels": whole}


def trainer_of(model: nn.Module, folder: Path, **settings: Any) -> Trainer:
    """Build a Trainer that is to be quiet and to stay on the CPU."""
    defaults = {"max_steps": 4, "learning_rate": 0.05, "lr_scheduler_type": "constant", "report_to": "none"}
    more = {"use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "logging_steps": 1, "seed": 1}
    arguments = TrainingArguments(str(folder), **{**defaults, **more, **settings})
    return Trainer(model, arguments, train_dataset=rows_for(type(model)), data_collator=collate)


def trained(trainer: Trainer, **how: Any) -> list[Tensor]:
    trainer.train(**how)
    return [weight.detach().clone() for weight in trainer.model.parameters()]


@pytest.mark.contract
@pytest.mark.parametrize("head", LEARNING)
def test_parts_of_a_batch_train_as_the_batch(head: Head, tmp_path: Path) -> None:
    start = head(small_config(num_labels=4, **fewest_layers("default")))
    whole, parts = (
        trained(
            trainer_of(
                copy.deepcopy(start),
                tmp_path,
                **{"per_device_train_batch_size": 8 // count, "gradient_accumulation_steps": count, "optim": "sgd"},
                max_steps=2,
            )
        )
        for count in (1, 4)
    )
    moved = [float((a - b.detach()).norm()) for a, b in zip(whole, start.parameters(), strict=True)]
    apart = [float((a - b).norm()) for a, b in zip(whole, parts, strict=True)]
    assert max(moved) > 1e-3
    assert max(apart) < 1e-4 * max(moved)


@pytest.mark.contract
@pytest.mark.parametrize("head", LEARNING)
def test_a_run_that_was_cut_off_goes_on_as_if_it_had_not_been(head: Head, tmp_path: Path) -> None:
    """Batches grouped by length, gradient checkpointing and dropout."""
    settings = {
        **{"per_device_train_batch_size": 4, "train_sampling_strategy": "group_by_length"},
        **{"save_strategy": "steps", "save_steps": 2, "activation_checkpointing": True},
    }
    start = head(small_config(num_labels=4, **fewest_layers("default"), dropout=0.2))
    whole = trained(trainer_of(copy.deepcopy(start), tmp_path, **settings))
    checkpoint = tmp_path / "checkpoint-2"
    assert (checkpoint / "model.safetensors").is_file()
    again = trainer_of(
        head(small_config(num_labels=4, **fewest_layers("default"), dropout=0.2)), tmp_path / "again", **settings
    )
    torch.testing.assert_close(trained(again, resume_from_checkpoint=str(checkpoint)), whole, rtol=0, atol=0)
    assert any(not torch.equal(a, b) for a, b in zip(whole, start.parameters(), strict=True))
    last = head.from_pretrained(tmp_path / "checkpoint-4")
    torch.testing.assert_close(list(last.parameters()), [*map(nn.Parameter, whole)], rtol=0, atol=0)


@pytest.mark.parametrize("head", LEARNING)
def test_the_trainer_trains_and_evaluates_in_bf16(head: Head, tmp_path: Path) -> None:
    settings = {"bf16": True, "per_device_train_batch_size": 8, "per_device_eval_batch_size": 8, "max_steps": 6}
    trainer = trainer_of(head(small_config(num_labels=4, **fewest_layers("default"))), tmp_path, **settings)
    trainer.eval_dataset = trainer.train_dataset
    before = trainer.evaluate()["eval_loss"]
    weights = trained(trainer)
    assert {weight.dtype for weight in weights} == {torch.float32}
    assert all(weight.isfinite().all() for weight in weights)
    assert trainer.evaluate()["eval_loss"] < before


LORA = {
    SimMIMForSequenceClassification: "SEQ_CLS",
    SimMIMForConditionalGeneration: "SEQ_2_SEQ_LM",
    SimMIMForCausalLM: "CAUSAL_LM",
}


@pytest.mark.contract
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # peft still says it so
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("head", "task"), LORA.items())
def test_lora_trains_adapters_alone_and_merges(head: Head, task: str, checkpointing: bool, tmp_path: Path) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model

    base, batch = family_model(head, dtype=torch.float32, **fewest_layers("default")), family_batch(head)
    before = predicted(base(**batch)).detach()
    lora = LoraConfig(task_type=task, r=2, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    adapted = get_peft_model(copy.deepcopy(base), lora)
    if checkpointing:
        adapted.activation_checkpointing_enable()
    learns = {name for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert {name.split(".")[-3] for name in learns} <= {"lora_A", "lora_B", "modules_to_save"}
    assert sum("lora_A" in name for name in learns) == len([x for x in base.state_dict() if "q_proj" in x]) * 2
    torch.testing.assert_close(predicted(adapted.eval()(**batch)), before)
    frozen = {name: weight.clone() for name, weight in adapted.named_parameters() if not weight.requires_grad}
    optimizer = torch.optim.AdamW([w for w in adapted.parameters() if w.requires_grad], lr=0.05)
    losses = []
    for _ in range(3):
        loss = adapted.train()(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert all(torch.equal(weight, frozen[name]) for name, weight in adapted.named_parameters() if name in frozen)
    after = predicted(adapted.eval()(**batch))
    assert not torch.allclose(after, before, atol=1e-2)
    adapted.save_pretrained(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
    again = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path)
    torch.testing.assert_close(predicted(again(**batch)), after)
    merged = again.merge_and_unload()
    assert type(merged) is head
    assert merged.state_dict().keys() == base.state_dict().keys()
    torch.testing.assert_close(predicted(merged(**batch)), after, rtol=1e-4, atol=1e-4)
    if head is not SimMIMForSequenceClassification:
        asked = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        settings = {"max_new_tokens": 5, "eos_token_id": None, "do_sample": False}
        assert adapted.generate(**asked, **settings).shape == merged.generate(**asked, **settings).shape
