"""Attention to far text that each layer chooses anew for every chunk: InfLLM, and mean states in the softmax."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from simmim.reading.cache import ReadingCache
from simmim.reading.rotation import layer_type_of, uses_rotation

__all__ = ["BlockCache", "FarCache", "MeanCache"]


class FarCache(ReadingCache):
    """Every chunk attends to the first block, to far blocks in some form, to the last blocks and to itself.

    All far keys stand at one distance, that of the local window, as InfLLM places them. Text is read in chunks of one
    block; questions and answers in any chunks. Keys stay without rotation, and nothing is forgotten.

    Args:
        model: a causal model, loaded with `attn_implementation="simmim"`.
        block: tokens of a block.
        local: last blocks that are read in full.
    """

    def __init__(self, model: PreTrainedModel, *, block: int, local: int) -> None:
        super().__init__(model)
        self.block, self.local = block, local
        self.reading = True

    def attend(
        self, attention: nn.Module, query: Float[Tensor, "1 H C D"], scale: float, softcap: float | None
    ) -> Float[Tensor, "1 C H D"]:
        """Attend from the new tokens of a layer, with one softmax over far and local keys."""
        number: Any = attention.layer_idx
        keys, values = self.layers[number].keys[0], self.layers[number].values[0]  # [G, N, D]
        count, new = keys.shape[1], query.shape[2]
        first = max((count - new) // self.block - self.local, 0) * self.block
        kind, rotated = layer_type_of(attention), uses_rotation(attention)

        def turned(x: Tensor, positions: Tensor) -> Tensor:
            tables = self.rotation.tables(positions[None], x, kind) if rotated else None
            return self.rotation.rotate(x[None], tables)[0]

        places = torch.arange(count - first, device=keys.device)
        own = turned(query[0], places[-new:])
        distant = turned(query[0], torch.full_like(places[-new:], self.local * self.block))
        groups = keys.shape[0]
        own, distant = (q.unflatten(0, (groups, -1)) for q in (own, distant))  # [G, share, C, D]
        near = own @ turned(keys[:, first:], places)[:, None].transpose(-1, -2) * scale
        near = near.masked_fill(places > places[-new:, None], -torch.inf)
        far_keys, far_values, bias = self.far(number, keys, values, distant, first)
        far = distant @ far_keys[:, None].transpose(-1, -2) * scale + bias
        weights = torch.cat([far, near], -1).softmax(-1, dtype=torch.float32).to(values.dtype)
        self.seen(number, weights[..., far.shape[-1] :].sum((1, 2)), first)
        out = weights @ torch.cat([far_values, values[:, first:]], 1)[:, None]
        return out.flatten(0, 1).transpose(0, 1)[None]

    def far(self, number: int, keys: Tensor, values: Tensor, query: Tensor, end: int) -> tuple[Tensor, Tensor, Any]:
        """Return keys and values of a layer's far text, [G, F, D], and what is added to their scores.

        Args:
            number: of the layer.
            keys: of all tokens, [G, N, D].
            values: likewise.
            query: of the new tokens at the distance of far text, [G, share, C, D].
            end: tokens that are far.
        """
        raise NotImplementedError

    def seen(self, number: int, weights: Float[Tensor, "G n"], first: int) -> None:
        """Take note of how much attention the local tokens of a layer got."""

    def rewind(self, length: int) -> None:
        """Forget all tokens but the first ones."""
        if length < self.get_seq_length():
            self.crop(length - self.get_seq_length())


class BlockCache(FarCache):
    """Reads the far blocks that fit best, chosen in each layer by the tokens of a block that were attended to most.

    This is InfLLM (Xiao et al. 2024, arXiv 2402.04617), as its authors' program has it: representatives are the tokens
    with most attention while their block was local, a block's score is the product of their mean key with the mean
    query of a chunk, summed over the heads of a layer, and far tokens stand at the distance of the local window.

    Args:
        model: a causal model.
        block: tokens of a block; 128 in the publication.
        local: last blocks that are read in full.
        chosen: far blocks that are read, besides the first.
        representatives: tokens that stand for a block.
    """

    def __init__(
        self, model: PreTrainedModel, *, block: int = 128, local: int = 2, chosen: int = 2, representatives: int = 4
    ) -> None:
        super().__init__(model, block=block, local=local)
        self.chosen, self.representatives = chosen, representatives
        self._weights: dict[int, Tensor] = {}
        self._means: dict[int, list[Tensor]] = {}

    def far(self, number: int, keys: Tensor, values: Tensor, query: Tensor, end: int) -> tuple[Tensor, Tensor, Any]:
        """Return the first block and the chosen ones."""
        blocks = end // self.block
        means = self._means.setdefault(number, [])
        while len(means) < blocks:
            span = slice(len(means) * self.block, (len(means) + 1) * self.block)
            best = self._weights[number][:, span].topk(self.representatives, dim=-1).indices
            picked = keys[:, span].gather(1, best[..., None].expand(-1, -1, keys.shape[-1]))
            means.append(picked.mean(1))
        chosen = [0] if blocks else []
        if blocks > 1:
            fit = torch.einsum("gd,bgd->b", query.sum(1).mean(1), torch.stack(means[1:blocks]))
            chosen += sorted((fit.topk(min(self.chosen, blocks - 1)).indices + 1).tolist())
        rows = torch.tensor([b * self.block + i for b in chosen for i in range(self.block)], dtype=torch.long)
        rows = rows.to(keys.device)
        return keys[:, rows], values[:, rows], 0.0

    def seen(self, number: int, weights: Float[Tensor, "G n"], first: int) -> None:
        """Sum up the attention that tokens of the document get while they are local."""
        if not self.reading:
            return
        before = self._weights.get(number, weights[:, :0])
        grown = torch.nn.functional.pad(before, (0, first + weights.shape[1] - before.shape[1]))
        grown[:, first:] += weights
        self._weights[number] = grown


class MeanCache(FarCache):
    """Reads of each far block the mean of its keys and values alone, all of them, beside the local tokens.

    A mean that stands for n tokens gets log n more: were they alike, it would weigh as much as they do. The heavily
    compressed attention of DeepSeek-V4 has this form, with weights that were trained for it; here nothing is trained.

    Args:
        model: a causal model.
        block: tokens that one mean stands for.
        local: last blocks that are read in full.
    """

    def __init__(self, model: PreTrainedModel, *, block: int = 64, local: int = 8) -> None:
        super().__init__(model, block=block, local=local)

    def far(self, number: int, keys: Tensor, values: Tensor, query: Tensor, end: int) -> tuple[Tensor, Tensor, Any]:
        """Return the first block as it is, and the mean of every other."""
        first = min(self.block, end)
        means = [t[:, first:end].unflatten(1, (-1, self.block)).mean(2) for t in (keys, values)]
        bias = torch.zeros(first + means[0].shape[1], device=keys.device, dtype=keys.dtype)
        bias[first:] = float(torch.tensor(self.block).log())
        return torch.cat([keys[:, :first], means[0]], 1), torch.cat([values[:, :first], means[1]], 1), bias
