"""Finds segments by their meaning: vectors of sentences and of segments from a small encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Encoder"]

_LONGEST = 256  # tokens of a text that are read


class Encoder:
    """Turns texts into vectors of length 1: the mean of an encoder's hidden states (Sentence-BERT, arXiv 1908.10084).

    Args:
        model: an encoder of transformers.
        tokenizer: its tokenizer.
        fingerprint: names what it computes.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, fingerprint: str) -> None:
        self.model, self.tokenizer, self.fingerprint = model, tokenizer, fingerprint
        self.width: int = model.config.hidden_size

    def encode(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> np.ndarray:
        """Return a vector of each text, float32, [n, E].

        Texts of like length go through the encoder together; the vectors do not depend on that beyond rounding.
        """
        ids: Any = self.tokenizer(list(texts), truncation=True, max_length=_LONGEST)["input_ids"] if texts else []
        return self._vectors(ids, progress)

    def encode_whole(
        self, texts: Sequence[str], progress: Callable[[int], None] | None = None
    ) -> tuple[np.ndarray, int]:
        """Return a vector of each text, float32, [n, E], and the number of tokens.

        A text that is longer than what the encoder reads at once gets the mean of its parts, by their tokens.
        """
        inputs: Any = self.tokenizer(
            list(texts), truncation=True, max_length=_LONGEST, return_overflowing_tokens=True, verbose=False
        )
        ids, owners = inputs["input_ids"], np.array(inputs["overflow_to_sample_mapping"])
        lengths = np.array([len(part) for part in ids])
        found = np.zeros((len(texts), self.width), dtype=np.float32)
        np.add.at(found, owners, self._vectors(ids, progress) * lengths[:, None])
        return found / np.linalg.norm(found, axis=1, keepdims=True), int(lengths.sum())

    @torch.inference_mode()
    def _vectors(self, ids: Sequence[list[int]], progress: Callable[[int], None] | None = None) -> np.ndarray:
        found = np.zeros((len(ids), self.width), dtype=np.float32)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for begin in range(0, len(order), 32):
            batch = order[begin : begin + 32]
            inputs = self.tokenizer.pad({"input_ids": [ids[i] for i in batch]}, return_tensors="pt")
            hidden = self.model(**inputs.to(self.model.device)).last_hidden_state
            mask = inputs["attention_mask"][..., None].to(hidden.dtype)
            vectors = functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
            found[batch] = vectors.float().cpu().numpy()
            if progress is not None:
                progress(len(batch))
        return found
