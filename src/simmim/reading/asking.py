"""What the model itself would attend to: the queries of a question, and their scores against the keys of the index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from simmim.reading.cache import ReadingCache
from simmim.reading.heads import Head
from simmim.reading.interface import decoder_of
from simmim.reading.prompt import Prompt

__all__ = ["best_of_segments", "question_queries", "segment_scores"]

NO_QUESTION = "N/A"
"""Asked to learn which segments any question would attend to (contextual calibration, arXiv 2102.09690)."""


@torch.inference_mode()
def question_queries(
    model: PreTrainedModel, prompt: Prompt, question: str, heads: Sequence[Head]
) -> Float[Tensor, "heads Q D"]:
    """Return the queries of a question's own tokens at some heads, without rotation.

    Args:
        model: the model.
        prompt: writes the question in the model's template; no document stands before it.
        question: what is asked.
        heads: query heads.

    Returns:
        In the order of `heads`; Q tokens are those that differ from the template's, at least one.
    """
    after = prompt.after([{"role": "user", "content": question}])
    frame = prompt.after([{"role": "user", "content": ""}])
    tail = 0
    while tail < min(len(frame), len(after)) and frame[-1 - tail] == after[-1 - tail]:
        tail += 1
    before = prompt.before()
    ids = torch.tensor([before + after], device=model.device)
    cache = ReadingCache(model, near=-(-ids.shape[1] // 64))
    cache.queries = {}
    decoder_of(model)(input_ids=ids, past_key_values=cache)
    first = len(before) + next((i for i, (a, b) in enumerate(zip(frame, after, strict=False)) if a != b), 0)
    rows = list(range(first, max(len(before) + len(after) - tail, first + 1)))
    found: Any = cache.queries
    return torch.stack([found[head.layer][0, head.head, rows] for head in heads]).float()


def segment_scores(
    queries: Float[Tensor, "heads Q D"],
    keys: np.ndarray,
    key_heads: Sequence[int],
    segment: int,
    block: int = 65_536,
) -> Float[Tensor, "heads Q S"]:
    """Return the best score of any token of a segment: max over its tokens of q·k / √D.

    Args:
        queries: of the heads, without rotation.
        keys: of the index, `[N, key heads]` of the type of `Rows(D)`, without rotation.
        key_heads: which of the index' heads each query head reads.
        segment: L, tokens of a segment.
        block: tokens that are scored at once.

    Cost: heads Q N D multiplications; memory of `block` tokens.
    """
    scale = queries.shape[-1] ** -0.5
    found = []
    block -= block % segment
    for begin in range(0, len(keys), block):
        part = keys[begin : begin + block]
        numbers = torch.from_numpy(np.ascontiguousarray(part["numbers"])).to(queries.device)
        steps = torch.from_numpy(part["scale"].astype(np.float32)).to(queries.device).T * scale
        scores = [row @ numbers[:, head].float().T * steps[head] for row, head in zip(queries, key_heads, strict=True)]
        found.append(best_of_segments(torch.stack(scores), segment))
    return torch.cat(found, -1)


def best_of_segments(scores: Float[Tensor, "heads Q N"], segment: int) -> Float[Tensor, "heads Q S"]:
    """Return the largest score of each segment's tokens; the last segment may be short."""
    scores = torch.nn.functional.pad(scores, (0, -scores.shape[-1] % segment), value=-torch.inf)
    return scores.unflatten(-1, (-1, segment)).amax(-1)
