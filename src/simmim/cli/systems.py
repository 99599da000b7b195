"""Lets models and baselines write summaries of the same documents, and keeps what that cost."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import torch

from simmim.cli.progress import track
from simmim.tasks.process_memory import peak_memory

__all__ = ["Cost", "Decoding", "System", "measured", "name_of", "run_baseline", "run_model"]

_CLEAR = Path("/proc/self/clear_refs")


class Decoding(TypedDict):
    """How models write: width of the beam search, longest summary in tokens, documents at a time."""

    num_beams: int
    max_new_tokens: int
    batch_size: int


@dataclass
class Cost:
    """What a piece of work took.

    Attributes:
        seconds: from its beginning to its end.
        peak_mib: the most main memory that the process used meanwhile, libraries and weights included; None where the
            system does not tell (Linux does).
        accelerator_mib: the most memory of a CUDA device in use meanwhile; None without one.
    """

    seconds: float = 0.0
    peak_mib: float | None = None
    accelerator_mib: float | None = None

    def facts(self) -> dict[str, float | None]:
        """Return what a record says of it."""
        return {
            "seconds": round(self.seconds, 3),
            "peak_mib": self.peak_mib and round(self.peak_mib, 1),
            "accelerator_mib": self.accelerator_mib and round(self.accelerator_mib, 1),
        }


@dataclass(frozen=True)
class System:
    """Holds what one system wrote.

    Attributes:
        about: what it is: the folder of a model, or a baseline in words.
        texts: the summaries, in the order of the documents.
        cost: of writing them.
        tokens: length of each document in its own tokens; None for a baseline.
        stopped: how many summaries were stopped at the limit on new tokens; None for a baseline.
        parameters: of a model.
        no_repeat_ngram_size: tokens of the sequences that it was saved not to write twice; 0 for any, None for a
            baseline.
    """

    about: str
    texts: list[str]
    cost: Cost
    tokens: list[int] | None = None
    stopped: int | None = None
    parameters: int | None = None
    no_repeat_ngram_size: int | None = None

    def facts(self) -> dict[str, Any]:
        """Return what a record says of it, without the summaries."""
        known = {
            "parameters": self.parameters,
            "no_repeat_ngram_size": self.no_repeat_ngram_size,
            "stopped_at_limit": self.stopped,
        }
        return {"about": self.about, **known, **self.cost.facts()}


def run_model(folder: Path, documents: Sequence[str], decoding: Decoding, **loading: Any) -> System:
    """Load a model and summarize documents behind a bar; it is gone from memory afterwards.

    Raises:
        CheckpointError, ConfigError: the model cannot be loaded.
    """
    from simmim.cli.checkpoints import load_model
    from simmim.tasks.summarization.generation import summaries

    with measured() as cost:
        model, tokenizer = load_model(folder, **loading)
        began = time.perf_counter()
        done = summaries(model, tokenizer, documents, **decoding)
        written = dict(track(done, f"summarizing with {folder}", len(documents)))
        writing = time.perf_counter() - began
    cost.seconds = writing  # loading is not in it
    found = [written[index] for index in range(len(documents))]
    parameters, repeated = model.num_parameters(), model.generation_config.no_repeat_ngram_size
    del model
    gc.collect()
    return System(
        about=str(folder),
        texts=[summary.text for summary in found],
        cost=cost,
        tokens=[summary.source_tokens for summary in found],
        stopped=sum(not summary.complete for summary in found),
        parameters=parameters,
        no_repeat_ngram_size=repeated or 0,
    )


def run_baseline(baseline: Callable[[str], str], documents: Sequence[str]) -> System:
    """Let a baseline write the summaries."""
    with measured() as cost:
        texts = [baseline(document) for document in documents]
    return System(about=str(baseline), texts=texts, cost=cost)


def name_of(folder: Path, taken: Collection[str]) -> str:
    """Return what a model is called beside others: its folder's name, or its run's where that is `model`."""
    # a run keeps its model in a folder `model`, which says less than the run's own
    name = folder.resolve().parent.name if folder.resolve().name == "model" else folder.resolve().name
    name = name if name not in taken else str(folder)
    while name in taken:
        name += "'"
    return name


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure a block; what it yields is filled in at the end."""
    cost, cuda = Cost(), torch.cuda.is_available()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    began_anew = _CLEAR.exists()
    if began_anew:
        _CLEAR.write_text("5", encoding="ascii")  # the peak begins anew at what is in use now
    began = time.perf_counter()
    yield cost
    cost.seconds = time.perf_counter() - began
    if began_anew:
        cost.peak_mib = peak_memory()
    if cuda:
        cost.accelerator_mib = torch.cuda.max_memory_allocated() / 2**20
