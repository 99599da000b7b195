"""Trains and scores one cell of the benchmark of summaries: one model, one learning rate, one seed."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, load_from_disk
from transformers import (
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    get_cosine_schedule_with_warmup,
    set_seed,
)

from benchmarks.measure import machine_facts
from benchmarks.processes import autocast, device, peak_bytes, prepare_process
from benchmarks.quality_models import Size, build, load, parameters
from simmim.atomic import replaced_file, replaced_folder
from simmim.errors import DataError
from simmim.models.losses import IGNORED
from simmim.tasks.summarization.generation import summaries

__all__ = ["Cell", "Training", "batches", "score", "train"]

_WEIGHT_DECAY, _CLIP = 0.01, 1.0


@dataclass(frozen=True)
class Training:
    """Says how every model is trained and how it writes.

    Attributes:
        size: of the models.
        steps: updates.
        tokens_per_batch: most source tokens of a batch, padding included.
        dtype: `float32`, or `bfloat16` for autocast.
        beams: width of the beam search.
        batch_size: documents that are summarised at a time.
        threads: of torch.
    """

    size: Size
    steps: int
    tokens_per_batch: int
    dtype: str
    beams: int
    batch_size: int
    threads: int


@dataclass(frozen=True)
class Cell:
    """Names one model that is trained.

    Attributes:
        form: a key of `FORMS`.
        copy_head: whether it can copy source tokens.
        learning_rate: the highest one.
        seed: of weights, dropout and the order of the batches.
    """

    form: str
    copy_head: bool
    learning_rate: float
    seed: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.form}{'-copy' * self.copy_head}-lr{self.learning_rate:g}-seed{self.seed}"


def batches(lengths: Sequence[int], tokens: int, seed: int) -> Iterator[list[int]]:
    """Yield batches of places for ever: documents of like length, at most so many tokens with their padding.

    Args:
        lengths: tokens of each document.
        tokens: most of a batch: its documents times the longest of them.
        seed: of the order, which does not depend on anything else.

    Raises:
        DataError: a document is longer than a batch may be.
    """
    if max(lengths) > tokens:
        raise DataError(
            f"tokens_per_batch: expected at least the longest document ({max(lengths)} tokens), got {tokens}; "
            "raise --tokens-per-batch or lower --max-source-tokens"
        )
    drawn = random.Random(seed)
    while True:
        # random among documents of nearly the same length
        order = sorted(range(len(lengths)), key=lambda place: lengths[place] * drawn.uniform(0.9, 1.1))
        found: list[list[int]] = [[]]
        longest = 0
        for place in order:
            longest = max(longest, lengths[place])
            if found[-1] and longest * (len(found[-1]) + 1) > tokens:
                found.append([])
                longest = lengths[place]
            found[-1].append(place)
        drawn.shuffle(found)
        yield from found


def train(work: Path, training: Training, cell: Cell) -> dict[str, Any]:
    """Train a cell, unless its folder holds it already, and return its figures.

    Args:
        work: the folder of the benchmark, with `data` and `tokenizer` in it.
        training: how.
        cell: what.
    """
    folder = work / "cells" / cell.name
    if not folder.exists():
        prepare_process(training.threads)
        folder.parent.mkdir(exist_ok=True)
        set_seed(cell.seed)
        model = build(cell.form, training.size, copy_head=cell.copy_head)
        facts = {"parameters": parameters(model), "machine": machine_facts()}
        found = {**asdict(cell), **facts, **_fit(model, work, training, cell)}
        with replaced_folder(folder) as draft:
            model.save_pretrained(draft)
            (draft / "figures.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    figures: dict[str, Any] = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    return figures


def score(work: Path, training: Training, cell: Cell) -> dict[str, Any]:
    """Let a trained cell summarise the test documents, unless it has, and return summaries and cost.

    Args:
        work: as in `train`.
        training: how it was trained, and how it writes.
        cell: which.
    """
    file = work / "cells" / cell.name / "summaries.json"
    if not file.exists():
        prepare_process(training.threads)
        model: Any = load(cell.form, file.parent)
        model.to(device())
        documents = list(load_from_disk(work / "data" / "test")["document"])
        began = time.perf_counter()
        settings = {"num_beams": training.beams, "batch_size": training.batch_size}
        limit = training.size.max_target_tokens
        written = dict(summaries(model, _tokenizer(work), documents, max_new_tokens=limit, **settings))
        found = {
            "seconds": time.perf_counter() - began,
            "peak_bytes": peak_bytes(),
            "machine": machine_facts(),
            "stopped_at_limit": sum(not summary.complete for summary in written.values()),
            "texts": [written[place].text for place in range(len(documents))],
        }
        with replaced_file(file) as stream:
            stream.write(json.dumps(found, ensure_ascii=False) + "\n")
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return result


def _fit(model: Any, work: Path, training: Training, cell: Cell) -> dict[str, Any]:
    """Train a model in place and return what it took and what it reached."""
    data = load_from_disk(work / "data" / "train")
    collate = DataCollatorForSeq2Seq(_tokenizer(work))
    model.to(device()).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=cell.learning_rate, weight_decay=_WEIGHT_DECAY)
    schedule = get_cosine_schedule_with_warmup(optimizer, min(200, training.steps // 10), training.steps)
    order = batches(data["length"], training.tokens_per_batch, cell.seed)
    losses, tokens, padded = [], 0, 0
    began = time.perf_counter()
    for _ in range(training.steps):
        batch = _batch(data, next(order), collate)
        tokens += int(batch["attention_mask"].sum())
        padded += batch["attention_mask"].numel()
        with autocast(training.dtype):
            loss = model(**batch, skip_logits=True).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    last = [float(loss) for loss in losses[-max(training.steps // 20, 1) :]]
    seconds = time.perf_counter() - began
    return {
        "steps": training.steps,
        "seconds": seconds,
        "tokens": tokens,
        "tokens_with_padding": padded,
        "tokens_per_second": tokens / seconds,
        "peak_bytes": peak_bytes(),
        "training_loss": sum(last) / len(last),
        "validation_loss": _validate(model, work, training, collate),
    }


@torch.no_grad()
def _validate(model: PreTrainedModel, work: Path, training: Training, collate: DataCollatorForSeq2Seq) -> float:
    """Return nats per token of the validation summaries; infinite where training came to nothing."""
    data = load_from_disk(work / "data" / "validation")
    model.eval()
    nats, count, seen = 0.0, 0, 0
    for places in batches(data["length"], training.tokens_per_batch, seed=0):
        batch = _batch(data, places, collate)
        with autocast(training.dtype):
            loss = float(model(**batch, skip_logits=True).loss)
        tokens = int((batch["labels"] != IGNORED).sum())
        nats, count, seen = nats + loss * tokens, count + tokens, seen + len(places)
        if seen == len(data):
            break
    return nats / count if math.isfinite(nats) else math.inf


def _batch(data: Dataset, places: list[int], collate: DataCollatorForSeq2Seq) -> dict[str, torch.Tensor]:
    rows = data.select_columns(["input_ids", "labels"])[places]
    features = [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
    return {name: tensor.to(device()) for name, tensor in collate(features).items()}


def _tokenizer(work: Path) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(work / "tokenizer", local_files_only=True)
    return tokenizer
