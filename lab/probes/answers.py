"""Asks a model the questions of a probe: batches of examples, and what it answers where something is asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from lab.probes.probe import IGNORED, Example

__all__ = ["ask", "batch_of"]


def batch_of(examples: Sequence[Example]) -> dict[str, Tensor]:
    """Make a batch; texts of different lengths are padded on the right, and have a mask then.

    Returns:
        ``input_ids`` and ``labels [B, N]``, and ``attention_mask [B, N]`` if it is needed.
    """
    lengths = [len(example.input_ids) for example in examples]
    if len(set(lengths)) == 1:
        batch = {"input_ids": np.stack([example.input_ids for example in examples])}
    else:
        held = np.arange(max(lengths)) < np.array(lengths)[:, None]
        batch = {"input_ids": np.zeros(held.shape, dtype=np.int64), "attention_mask": held.astype(np.int64)}
        batch["input_ids"][held] = np.concatenate([example.input_ids for example in examples])
    labels = np.full(batch["input_ids"].shape, IGNORED)
    for row, example in zip(labels, examples, strict=True):
        row[: len(example.labels)] = example.labels
    return {name: torch.from_numpy(array) for name, array in (batch | {"labels": labels}).items()}


def ask(model: PreTrainedModel, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the logits ``[answers, C]`` where something is asked, and what should be answered ``[answers]``.

    The head sees these places alone: a vocabulary of thousands is costly at all of them. Any causal language model of
    transformers will do.
    """
    inputs, labels = {name: batch[name] for name in batch if name != "labels"}, batch["labels"]
    wanted = labels[:, 1:] != IGNORED
    hidden = model.base_model(**inputs).last_hidden_state[:, :-1][wanted]
    head = model.get_output_embeddings()
    assert head is not None
    return head(hidden), labels[:, 1:][wanted]
