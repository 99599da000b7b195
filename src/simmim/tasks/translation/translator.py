"""The base of translators: what a model needs before a text, and what is taken of what it writes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from simmim.tasks.batches import batches

__all__ = ["Translator", "Written"]


@dataclass(frozen=True)
class Written:
    """What a model wrote for a group of blocks.

    Attributes:
        blocks: the texts; as many as there were, unless the model has lost count.
        complete: whether the model ended them itself.
        score: the mean log-probability of their tokens, in nats; None where it was not worked out.
    """

    blocks: Sequence[str]
    complete: bool
    score: float | None = None


class Translator(ABC):
    """Base of what lets a model translate.

    Attributes:
        reads_groups: whether it takes several blocks at once.

    Args:
        model: the model.
        tokenizer: its tokenizer.
        source: the language of the texts.
        target: the language to write.
        settings: `num_beams`, and whatever else `generate` of transformers takes.
    """

    reads_groups = False

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: str, target: str, **settings: Any
    ) -> None:
        self.model, self.tokenizer, self.source, self.target = model, tokenizer, source, target
        self.settings = {"num_beams": 1, "do_sample": False, **settings}

    @abstractmethod
    def encode(self, group: Sequence[str]) -> list[int]:
        """Return the ids that the model reads for a group of blocks."""

    @property
    def limit(self) -> int:
        """The most tokens that the model reads."""
        found = int(min(self.tokenizer.model_max_length, 10**9))
        positions = getattr(self.model.config, "max_position_embeddings", None)
        return min(found, positions) if isinstance(positions, int) and positions > 0 else found

    def decode(self, ids: Sequence[int]) -> list[str]:
        """Return the blocks in what the model wrote."""
        return [str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()]

    def generate(self, rows: Sequence[Sequence[int]], **settings: Any) -> Any:
        """Let the model write."""
        inputs = self.tokenizer.pad({"input_ids": [list(row) for row in rows]}, return_tensors="pt")
        generate: Any = self.model.generate
        return generate(
            **inputs.to(self.model.device),
            **self.settings,
            **settings,
            return_dict_in_generate=True,
            output_scores=True,
        )

    @torch.inference_mode()
    def write(
        self, groups: Sequence[Sequence[str]], *, batch_size: int = 16, token_budget: int = 4096
    ) -> list[Written]:
        """Translate groups of blocks.

        Args:
            groups: each is read at once; of one block each, unless `reads_groups`.
            batch_size: groups at a time at most.
            token_budget: tokens at a time at most, padding included; a longer group is alone.
        """
        ids = [self.encode(group) for group in groups]
        return self._continued(ids, [len(row) for row in ids], batch_size, token_budget)

    def _continued(
        self, ids: Sequence[Sequence[int]], lengths: Sequence[int], batch_size: int, token_budget: int
    ) -> list[Written]:
        """Return what the model writes for each row of ids; `lengths` are those of the texts to translate in them."""
        written: dict[int, Written] = {}
        for indices in batches([len(row) for row in ids], batch_size, token_budget):
            rows = [ids[index] for index in indices]
            # a translation has about as many tokens as its source; none of those seen has twice as many and 32 more
            found = self.generate(rows, max_new_tokens=2 * max(lengths[index] for index in indices) + 32)
            written |= dict(zip(indices, self._taken(found, max(map(len, rows))), strict=True))
        return [written[index] for index in range(len(ids))]

    @property
    def ends(self) -> set[int | None]:
        """The tokens that end a translation."""
        found = self.model.generation_config.eos_token_id
        return set(found) if isinstance(found, list) else {found, self.tokenizer.eos_token_id}

    def _taken(self, found: Any, source_length: int) -> list[Written]:
        sequences = found.sequences[:, self._skipped(source_length) :]
        stops = self.ends
        scores = self._scores(found)
        written = []
        for row, score in zip(sequences.tolist(), scores, strict=True):
            kept = row if row and row[0] not in stops else row[1:]  # some models begin with the end token
            written.append(Written(self.decode(kept), bool(stops.intersection(kept)), score))
        return written

    def _skipped(self, source_length: int) -> int:
        """Return how many tokens of what `generate` gives are not the model's: the start token."""
        return 1

    def _scores(self, found: Any) -> list[float | None]:
        if "sequences_scores" in found and found.sequences_scores is not None:
            return [float(score) for score in found.sequences_scores]
        compute: Any = self.model.compute_transition_scores
        moves = compute(found.sequences, found.scores, normalize_logits=True)
        scores: list[float | None] = []
        pad = self.tokenizer.pad_token_id
        for row, ids in zip(moves, found.sequences[:, -moves.shape[1] :], strict=True):
            kept = [float(value) for value, token in zip(row, ids.tolist(), strict=True) if token != pad]
            finite = [value for value in kept if math.isfinite(value)]
            scores.append(sum(finite) / len(finite) if finite else None)
        return scores
