"""Trains and scores one cell of the benchmark of language: one form, one learning rate, one seed, so many tokens."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, load_from_disk
from torch import Tensor
from transformers import AutoTokenizer, get_cosine_schedule_with_warmup, set_seed

from benchmarks.language_models import LanguageSize, build_language_model
from benchmarks.measure import machine_facts
from benchmarks.processes import autocast, device, peak_bytes, prepare_process
from simmim import SimMIMForCausalLM
from simmim.atomic import replaced_file, replaced_folder
from simmim.models.losses import IGNORED
from simmim.tasks.language_modelling.bits_per_byte import TokenCosts, score_texts
from simmim.tasks.language_modelling.comparison import bits_by_position, position_edges
from simmim.tasks.language_modelling.packing import PackedRows

__all__ = ["LanguageCell", "LanguageTraining", "run_cell"]

_WEIGHT_DECAY, _CLIP = 0.01, 1.0


@dataclass(frozen=True)
class LanguageTraining:
    """Says how every model is trained.

    Attributes:
        size: of the models.
        tokens_per_batch: of a batch: whole sequences.
        warmup_tokens: during which the learning rate rises, in short runs as in long ones; half of a run at most.
        dtype: `float32`, or `bfloat16` for autocast.
        threads: of torch.
        checkpoint_seconds: a cell that is ended goes on from where it was so many seconds before, at most.
    """

    size: LanguageSize
    tokens_per_batch: int
    warmup_tokens: int
    dtype: str
    threads: int
    checkpoint_seconds: float


@dataclass(frozen=True)
class LanguageCell:
    """Names one model that is trained.

    Attributes:
        form: a key of `FORMS`.
        learning_rate: the highest one.
        seed: of the weights and the order of the sequences.
        tokens: to learn from.
        scored: whether it reads the test documents at the end, or only validates.
    """

    form: str
    learning_rate: float
    seed: int
    tokens: int
    scored: bool

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.form}-{self.tokens}-lr{self.learning_rate:g}-seed{self.seed}"


def run_cell(
    work: Path, results: Path, training: LanguageTraining, cell: LanguageCell, data: str, deadline: float | None
) -> dict[str, Any] | None:
    """Train and score a cell, unless its file holds that already, and return its figures.

    Args:
        work: the folder of the benchmark, with `data` and `tokenizer` in it; checkpoints and weights are kept there.
        results: where the figures are kept, a small file of JSON each.
        training: how.
        cell: what.
        data: digest of the tokens and texts, which is kept with the figures.
        deadline: `time.time()` from which to stop at the next checkpoint; None never stops.

    Returns:
        The figures; None if the cell is not done by then.
    """
    file = results / f"{cell.name}.json"
    if not file.exists():
        if deadline is not None and time.time() > deadline:
            return None
        prepare_process(training.threads)
        set_seed(cell.seed)
        model: Any = build_language_model(cell.form, training.size)
        model.to(device())
        run = _Run(work, training, cell, model, data)
        if not run.train(deadline):
            return None
        facts = {"data_sha256": data, "training": asdict(training), "machine": machine_facts()}
        found = {**asdict(cell), **facts, **run.figures()}
        if cell.scored:
            found |= _score(model, work)
            (work / "models").mkdir(exist_ok=True)
            with replaced_folder(work / "models" / cell.name) as draft:
                model.save_pretrained(draft)
        with replaced_file(file) as stream:
            stream.write(json.dumps(found) + "\n")
        run.forget()
    figures: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return figures


class _Run:
    """One training, which goes on from its last checkpoint."""

    def __init__(
        self, work: Path, training: LanguageTraining, cell: LanguageCell, model: SimMIMForCausalLM, data: str
    ) -> None:
        self._work, self._training, self._cell, self._model = work, training, cell, model
        self._rows = load_from_disk(work / "data" / "train").with_format("numpy")
        self._optimizer = torch.optim.AdamW(
            model.parameters(), lr=cell.learning_rate, weight_decay=_WEIGHT_DECAY, fused=True
        )
        size = max(1, training.tokens_per_batch // training.size.sequence_length)
        tokens_per_step = size * training.size.sequence_length
        self._size, self._steps = size, max(1, math.ceil(cell.tokens / tokens_per_step))
        warmup = min(math.ceil(training.warmup_tokens / tokens_per_step), self._steps // 2)
        self._schedule = get_cosine_schedule_with_warmup(self._optimizer, warmup, self._steps)
        self._kept: dict[str, Any] = {
            "step": 0,
            "seconds": 0.0,
            "cpu_seconds": 0.0,
            "tokens": 0,
            "losses": [],
            "data": data,
        }
        self._folder = work / "running" / cell.name
        if (self._folder / "state.pt").exists():
            state = torch.load(self._folder / "state.pt", weights_only=True, map_location=device())
            if state["kept"]["data"] == data:
                model.load_state_dict(state["model"])
                self._optimizer.load_state_dict(state["optimizer"])
                self._schedule.load_state_dict(state["schedule"])
                self._kept = state["kept"]

    def train(self, deadline: float | None) -> bool:
        """Train to the end, or to the deadline; return whether it is the end."""
        kept, saved = self._kept, time.perf_counter()
        self._model.train()
        while kept["step"] < self._steps:
            began, cpu = time.perf_counter(), time.process_time()
            loss, tokens = self._step(kept["step"])
            kept["step"] += 1
            kept["tokens"] += tokens
            kept["losses"].append(loss)
            kept["seconds"] += time.perf_counter() - began
            kept["cpu_seconds"] += time.process_time() - cpu
            over = deadline is not None and time.time() > deadline
            if over or time.perf_counter() - saved > self._training.checkpoint_seconds:
                self._save()
                saved = time.perf_counter()
            if over:
                return kept["step"] == self._steps
        return True

    def _step(self, number: int) -> tuple[float, int]:
        """Make one update."""
        loss, batch = self._read([self._rows[place] for place in self._places(number)])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), _CLIP)
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad()
        return float(loss.detach()), batch["input_ids"].numel()

    def _read(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of packed sequences, and their batch."""
        batch = {name: tensor.to(device()) for name, tensor in PackedRows()(rows).items()}
        with autocast(self._training.dtype):
            return self._model(**batch, skip_logits=True).loss, batch

    def _places(self, number: int) -> list[int]:
        """Return the rows of a step: each epoch goes through all of them, in an order of its own."""
        chosen = range(number * self._size, (number + 1) * self._size)
        count = len(self._rows)
        return [
            int(np.random.default_rng((self._cell.seed, place // count)).permutation(count)[place % count])
            for place in chosen
        ]

    def _save(self) -> None:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        with replaced_folder(self._folder) as draft:
            state = {"model": self._model.state_dict(), "optimizer": self._optimizer.state_dict()}
            torch.save({**state, "schedule": self._schedule.state_dict(), "kept": self._kept}, draft / "state.pt")

    def forget(self) -> None:
        """Remove the checkpoint."""
        (self._folder / "state.pt").unlink(missing_ok=True)

    def figures(self) -> dict[str, Any]:
        """Return what the training took and reached."""
        kept = self._kept
        last = kept["losses"][-max(self._steps // 20, 1) :]
        return {
            "parameters": self._model.num_parameters(),
            "intermediate_size": self._model.config.intermediate_size,
            "steps": self._steps,
            "tokens_read": kept["tokens"],
            "seconds": kept["seconds"],
            "cpu_seconds": kept["cpu_seconds"],
            "tokens_per_cpu_second": kept["tokens"] / kept["cpu_seconds"],
            "peak_bytes": peak_bytes(),
            "training_loss": sum(last) / len(last),
            "losses": [round(loss, 4) for loss in kept["losses"][:: max(1, self._steps // 100)]],
            "validation_loss": self._validate(load_from_disk(self._work / "data" / "validation")),
        }

    @torch.no_grad()
    def _validate(self, rows: Dataset) -> float:
        """Return nats per token of the validation sequences; infinite where training came to nothing."""
        self._model.eval()
        nats, count = 0.0, 0
        for row in rows:
            loss, batch = self._read([row])
            labels = int((batch["labels"] != IGNORED).sum())
            nats, count = nats + float(loss) * labels, count + labels
        return nats / count if math.isfinite(nats) else math.inf


def _score(model: SimMIMForCausalLM, work: Path) -> dict[str, Any]:
    """Read the test documents, the context carried, and return bits and bytes of each by position."""
    tokenizer = AutoTokenizer.from_pretrained(work / "tokenizer", local_files_only=True)
    texts = list(load_from_disk(work / "data" / "test")["text"])
    began = time.process_time()
    found = dict(score_texts(model.eval(), tokenizer, texts))
    costs: list[TokenCosts] = [found[place] for place in range(len(texts))]
    positions = position_edges(max(len(one.nats) for one in costs))
    bits, sizes = bits_by_position(costs, costs, positions)
    return {
        "scoring_cpu_seconds": time.process_time() - began,
        "bits": [[round(value, 2) for value in row] for row in bits.tolist()],
        "bytes": [[int(value) for value in row] for row in sizes.tolist()],
    }
