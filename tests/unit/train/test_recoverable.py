"""Tests that a run keeps its last checkpoint whatever happens, and goes on from it as if nothing had."""

import dataclasses
import errno
import functools
import json
import os
import signal
from pathlib import Path

import pytest
import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from simmim.errors import CheckpointError, ConfigError
from simmim.models import SimMIMForConditionalGeneration
from simmim.tasks.training.batching import LengthBatches
from simmim.tasks.training.sections import BatchingSection, EarlyStoppingSection, PretrainingSection
from simmim.train.interruption import RunInterrupted
from simmim.train.recoverable import DivergedError, RecoverableTrainer
from simmim.train.run_config import load_recipe
from simmim.train.trainer import train


@pytest.fixture
def recipe(tmp_path, make_recipe):
    return load_recipe(make_recipe(tmp_path))


def changed(recipe, **training):
    return dataclasses.replace(recipe, training={**recipe.training, **training})


def checkpoints(recipe):
    return sorted(path.name for path in Path(recipe.output_dir, "checkpoints").iterdir())


def state_of(recipe, step):
    path = Path(recipe.output_dir, "checkpoints", f"checkpoint-{step}", "trainer_state.json")
    return json.loads(path.read_text())


def at_loss(monkeypatch, number, value):
    """Make the loss of one batch what is said, counted from 1."""
    calls = [0]
    forward = SimMIMForConditionalGeneration.forward

    @functools.wraps(forward)
    def faulty(self, *args, **kwargs):
        output = forward(self, *args, **kwargs)
        calls[0] += self.training
        if self.training and calls[0] == number:
            output.loss = value(output.loss)
        return output

    monkeypatch.setattr(SimMIMForConditionalGeneration, "forward", faulty)


def assert_same_weights(model, other):
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (model, other))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)


def test_no_logits_are_held_in_training_and_validation(recipe, monkeypatch):
    held = []
    forward = SimMIMForConditionalGeneration.forward

    @functools.wraps(forward)
    def watched(self, *args, **kwargs):
        output = forward(self, *args, **kwargs)
        held.append((self.training, output.logits))
        return output

    monkeypatch.setattr(SimMIMForConditionalGeneration, "forward", watched)
    train(recipe)
    assert {training for training, _ in held} == {True, False}
    assert all(logits is None for _, logits in held)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_run_and_is_not_saved(recipe, monkeypatch, value):
    at_loss(monkeypatch, 3, lambda loss: loss * value)
    with pytest.raises(DivergedError) as caught:
        train(recipe)
    message = str(caught.value)
    assert f"step 3: the loss is {value}" in message
    for part in ("learning_rate", "max_grad_norm", "bf16 off", "training rows ", "checkpoint-2 is whole: go on"):
        assert part in message
    rows = [int(row) for row in message.split("training rows ")[1].split(" (")[0].split(", ")]
    assert len(rows) == 4
    assert all(1 <= row <= 32 for row in rows)
    assert checkpoints(recipe) == ["checkpoint-2"]
    assert not Path(recipe.output_dir, "model").exists()


def test_the_rows_that_are_named_are_those_of_the_batch(recipe, monkeypatch):
    seen = []
    collate = transformers.DataCollatorForSeq2Seq.__call__

    def spy(self, features, return_tensors=None):
        seen.append(sorted(len(row["input_ids"]) for row in features))
        return collate(self, features, return_tensors)

    monkeypatch.setattr(transformers.DataCollatorForSeq2Seq, "__call__", spy)
    at_loss(monkeypatch, 2, lambda loss: loss * float("nan"))
    with pytest.raises(DivergedError) as caught:
        train(recipe)
    rows = [int(row) for row in str(caught.value).split("training rows ")[1].split(" (")[0].split(", ")]
    lines = Path(recipe.data.train).read_text().splitlines()
    tokenizer = transformers.AutoTokenizer.from_pretrained(Path(recipe.output_dir, "tokenizer"))
    lengths = sorted(len(tokenizer(json.loads(lines[row - 1])["document"])["input_ids"]) for row in rows)
    assert lengths == seen[1]


def test_after_a_resume_the_rows_are_still_those_of_the_batch(recipe, monkeypatch, tiny_run):
    with monkeypatch.context() as patch:
        with_callback(patch, stop_at(2, signal.SIGTERM))
        with pytest.raises(RunInterrupted):
            train(recipe)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_run / "tokenizer")
    documents = [json.loads(line)["document"] for line in Path(recipe.data.train).read_text().splitlines()]
    lengths = [len(tokenizer(document)["input_ids"]) for document in documents]
    fourth = LengthBatches(lengths, seed=0, max_examples=4).batches(0)[3]
    at_loss(monkeypatch, 1, lambda loss: loss * float("nan"))
    with pytest.raises(DivergedError, match="step 4: ") as caught:
        train(recipe, resume=True)
    assert f"rows {', '.join(str(row + 1) for row in sorted(fourth))} (counted" in str(caught.value)


def test_a_gradient_that_is_no_number_stops_the_run(recipe, monkeypatch):
    class Poisoned(torch.autograd.Function):
        @staticmethod
        def forward(context, loss):
            return loss.clone()

        @staticmethod
        def backward(context, gradient):
            return gradient * float("nan")

    at_loss(monkeypatch, 2, Poisoned.apply)
    with pytest.raises(DivergedError, match=r"step 2: the gradient norm is nan.*There was no checkpoint before"):
        train(recipe)
    assert checkpoints(recipe) == []


def test_a_weight_that_is_no_number_is_not_saved(recipe):
    with pytest.raises(DivergedError, match=r"step 1: the weight \S+ is nan, .* saves nothing of it"):
        train(changed(recipe, learning_rate=1e39, save_steps=1, eval_strategy="no"))
    assert checkpoints(recipe) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_full_disk_leaves_the_last_checkpoint(recipe, monkeypatch, tiny_run, error):
    write = RecoverableTrainer._save_rng_state

    def full(self, folder):
        if self.state.global_step == 4:
            raise error
        write(self, folder)

    with monkeypatch.context() as patch:
        patch.setattr(RecoverableTrainer, "_save_rng_state", full)
        with pytest.raises(CheckpointError, match=r"checkpoint-4: cannot write it: .*checkpoint-2 is whole: go on"):
            train(recipe)
    assert checkpoints(recipe) == ["checkpoint-2"]
    assert_same_weights(train(recipe, resume=True), tiny_run / "model")


def stop_at(step, number, times=1):
    """Give a callback that sends a signal to this process while it trains."""

    class Stopper(transformers.TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, **kwargs):
            if state.global_step == step:
                for _ in range(times):
                    signal.raise_signal(number)

    return Stopper()


def with_callback(monkeypatch, callback):
    start = RecoverableTrainer.__init__

    def patched(self, **kwargs):
        start(self, **kwargs)
        self.add_callback(callback)

    monkeypatch.setattr(RecoverableTrainer, "__init__", patched)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("strategies", [{}, {"eval_strategy": "epoch", "save_strategy": "epoch"}])
def test_a_request_to_stop_is_answered_with_a_checkpoint(recipe, monkeypatch, number, strategies, tiny_run):
    before = signal.getsignal(number)
    run = changed(recipe, **strategies)
    with monkeypatch.context() as patch:
        with_callback(patch, stop_at(2, number))
        with pytest.raises(RunInterrupted, match=f"stopped by {number.name}; saved .*checkpoint-3") as caught:
            train(run)
    assert caught.value.signal_number == number
    assert signal.getsignal(number) == before
    assert "checkpoint-3" in checkpoints(run)
    assert_same_weights(train(run, resume=True), tiny_run / "model")


def test_a_second_interrupt_stops_at_once(recipe, monkeypatch):
    with_callback(monkeypatch, stop_at(2, signal.SIGINT, times=2))
    with pytest.raises(KeyboardInterrupt):
        train(recipe)
    assert checkpoints(recipe) == ["checkpoint-2"]


def test_a_run_stops_early_loads_its_best_and_resuming_adds_nothing(recipe):
    run = changed(recipe, max_steps=40, learning_rate=0.3, eval_steps=2, load_best_model_at_end=True)
    run = dataclasses.replace(run, early_stopping=EarlyStoppingSection(patience=2))
    model = train(run)
    last = max(int(name.split("-")[1]) for name in checkpoints(run))
    state = state_of(run, last)
    assert last < 40
    assert state["stateful_callbacks"]["EarlyStoppingCallback"]["attributes"]["early_stopping_patience_counter"] == 2
    best = state["best_global_step"]
    assert best == last - 4
    assert_same_weights(model, Path(run.output_dir, "checkpoints", f"checkpoint-{best}"))
    log = Path(run.output_dir, "log.jsonl").read_text()
    assert_same_weights(train(run, resume=True), Path(run.output_dir, "checkpoints", f"checkpoint-{best}"))
    assert [json.loads(line) for line in Path(run.output_dir, "log.jsonl").read_text()[len(log) :].splitlines()] == [
        pytest.approx({"step": last, "seconds": 0, "epoch": state["epoch"], "train_loss": 0}, abs=60)
    ]


def test_resuming_a_finished_run_takes_no_step_more(recipe, monkeypatch, tiny_run):
    model, warned = train(recipe), []
    monkeypatch.setattr(transformers.trainer.logger, "warning", lambda text, *_, **__: warned.append(text))
    assert_same_weights(train(recipe, resume=True), tiny_run / "model")
    assert not warned, "tied weights are not in a checkpoint, and nothing is missing"
    assert checkpoints(recipe) == ["checkpoint-2", "checkpoint-4"]
    assert model.exists()


def test_an_evaluation_at_the_end_of_an_epoch_is_in_the_checkpoint_of_its_last_step(recipe):
    run = changed(recipe, max_steps=16, save_steps=8, eval_strategy="epoch")
    train(dataclasses.replace(run, early_stopping=EarlyStoppingSection(patience=9)))
    history = state_of(run, 8)["log_history"]
    assert [entry["step"] for entry in history if "eval_loss" in entry] == [8]
    history = state_of(run, 16)["log_history"]
    assert [entry["step"] for entry in history if "eval_loss" in entry] == [8, 16]


def test_old_checkpoints_go_and_the_best_stays(recipe):
    run = changed(recipe, max_steps=12, save_total_limit=2, load_best_model_at_end=True, metric_for_best_model="loss")
    model = train(changed(run, greater_is_better=True))  # the loss falls, so the first is the best
    assert checkpoints(run) == ["checkpoint-12", "checkpoint-2"]
    for step in (2, 12):
        best = state_of(run, step)["best_model_checkpoint"]
        assert best == str(Path(run.output_dir, "checkpoints", "checkpoint-2"))
    assert_same_weights(model, Path(run.output_dir, "checkpoints", "checkpoint-2"))


def test_a_token_budget_bounds_batches_and_the_loss_is_a_mean_over_tokens(recipe, monkeypatch):
    shapes, items = [], []
    forward = SimMIMForConditionalGeneration.forward

    @functools.wraps(forward)  # the trainer asks for its signature
    def spy(self, **kwargs):
        if self.training:
            shapes.append(kwargs["input_ids"].shape)
            items.append((int(kwargs["num_items_in_batch"]), int((kwargs["labels"] != -100).sum())))
        return forward(self, **kwargs)

    monkeypatch.setattr(SimMIMForConditionalGeneration, "forward", spy)
    training = {key: value for key, value in recipe.training.items() if key != "per_device_train_batch_size"}
    training |= {"gradient_accumulation_steps": 2, "num_train_epochs": 2, "max_steps": -1, "save_strategy": "no"}
    run = dataclasses.replace(recipe, training=training, batching=BatchingSection(max_tokens=400))
    train(run)
    assert max(rows * tokens for rows, tokens in shapes) <= 400
    assert sum(rows for rows, _ in shapes) == 2 * 32
    for first, second in zip(items[::2], items[1::2], strict=False):
        if first[0] == second[0]:
            assert first[0] == first[1] + second[1]
    logged = [json.loads(line) for line in Path(run.output_dir, "log.jsonl").read_text().splitlines()]
    steps = [entry["step"] for entry in logged if "loss" in entry]
    per_epoch = len(shapes) // 2
    assert steps[-1] == 2 * -(-per_epoch // 2)


def with_pretraining(recipe):
    first = {"max_steps": 6, "learning_rate": 0.01, "logging_steps": 1, "save_steps": 2, "use_cpu": True}
    return dataclasses.replace(recipe, pretraining=PretrainingSection(training=first))


@pytest.fixture
def pretrained_recipe(recipe):
    return with_pretraining(recipe)


@pytest.fixture(scope="module")
def pretrained_model(tmp_path_factory, make_recipe):
    """Train a model after pretraining without interruption, once."""
    return train(with_pretraining(load_recipe(make_recipe(tmp_path_factory.mktemp("pretrained")))))


def test_pretraining_comes_first_and_hands_its_weights_over(pretrained_recipe, monkeypatch, tiny_run):
    run = Path(pretrained_recipe.output_dir)
    started = []
    step = RecoverableTrainer.training_step

    def spy(self, model, inputs, num_items_in_batch=None):
        if self.state.global_step == 0:
            started.append({name: weight.clone() for name, weight in model.state_dict().items()})
        return step(self, model, inputs, num_items_in_batch)

    monkeypatch.setattr(RecoverableTrainer, "training_step", spy)
    model = train(pretrained_recipe)
    saved = load_file(run / "pretraining" / "model" / "model.safetensors")
    assert all(started[1][name].equal(saved[name]) for name in saved)
    assert not all(started[0][name].equal(saved[name]) for name in saved)
    losses = [json.loads(line) for line in (run / "pretraining" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in losses if "loss" in entry] == [1, 2, 3, 4, 5, 6]
    assert losses[5]["loss"] < losses[0]["loss"]
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (model, tiny_run / "model"))
    assert not all(ours[name].equal(theirs[name]) for name in ours)


def test_pretraining_reads_train_documents_alone(pretrained_recipe, monkeypatch):
    from simmim.train import trainer

    seen, epochs = [], []

    class Spy(trainer.SpanCorruption):
        def set_epoch(self, epoch):
            epochs.append(epoch)
            super().set_epoch(epoch)

        def __call__(self, rows):
            seen.extend(tuple(row["input_ids"]) for row in rows)
            return super().__call__(rows)

    monkeypatch.setattr(trainer, "SpanCorruption", Spy)
    section = pretrained_recipe.pretraining
    longer = dataclasses.replace(section, training={**section.training, "max_steps": 9})  # an epoch has 4
    train(dataclasses.replace(pretrained_recipe, pretraining=longer))
    assert epochs == [0, 1, 2]
    tokenizer = transformers.AutoTokenizer.from_pretrained(Path(pretrained_recipe.output_dir, "tokenizer"))
    lines = Path(pretrained_recipe.data.train).read_text().splitlines()
    known = {tuple(tokenizer(json.loads(line)["document"])["input_ids"]) for line in lines}
    assert len(seen) >= 2 * 32
    assert set(seen) <= known


@pytest.mark.parametrize("step", [3, 5])
def test_an_interrupted_pretraining_goes_on(pretrained_recipe, pretrained_model, monkeypatch, step):
    with monkeypatch.context() as patch:
        with_callback(patch, stop_at(step, signal.SIGTERM))
        with pytest.raises(RunInterrupted, match=f"pretraining/checkpoints/checkpoint-{step + 1}"):
            train(pretrained_recipe)
    model = train(pretrained_recipe, resume=True)
    assert_same_weights(model, pretrained_model)


def test_tensorboard_writes_into_the_run_folder(pretrained_recipe, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    first = dataclasses.replace(
        pretrained_recipe.pretraining, training={**pretrained_recipe.pretraining.training, "report_to": "tensorboard"}
    )
    run = dataclasses.replace(changed(pretrained_recipe, report_to="tensorboard"), pretraining=first)
    train(run)
    for folder, steps in (("tensorboard", [1, 2, 3, 4]), ("pretraining/tensorboard", [1, 2, 3, 4, 5, 6])):
        events = EventAccumulator(str(Path(run.output_dir, folder))).Reload()
        assert [event.step for event in events.Scalars("train/loss")] == steps
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"early_stopping": EarlyStoppingSection(2)}, "early_stopping: expected training.eval_strategy steps or epoch"),
        ({"metric": "rouge"}, "training.metric_for_best_model: expected loss"),
    ],
)
def test_what_cannot_work_is_refused_before_it_starts(recipe, change, message):
    metric = change.pop("metric", None)
    run = dataclasses.replace(changed(recipe, eval_strategy="no", metric_for_best_model=metric), **change)
    with pytest.raises(ConfigError, match=message):
        train(run)
    assert not Path(recipe.output_dir).exists()
