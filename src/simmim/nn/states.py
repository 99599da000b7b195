"""The states of segments: what makes one of a segment's tokens, who reads which of them, and what a cache keeps.

Letters: B documents, S segments of all documents together, L segment length, Z states that anybody may read, U
documents at different positions, C states of a cache, H heads, D head width, E width.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from simmim.nn.cache import SegmentCache
from simmim.nn.registry import Registry
from simmim.ops.layout import EverySegment, Reach, SegmentLayout
from simmim.ops.options import AttentionOptions
from simmim.ops.steps import READ, UNREAD, BatchColumns, StepLayout

__all__ = ["STATE_POOLINGS", "STATE_REACHES", "AllStates", "MeanPooling", "StateKeys", "StatePooling"]

Pooled = tuple[Float[Tensor, "S E"], Float[Tensor, " S"]]
StateKeys = tuple[Float[Tensor, "Z H D"], Float[Tensor, "Z H D"]]


class StatePooling(nn.Module):
    """Turns the tokens of a segment into one state ``[E]`` (``state_pooling``).

    A pooling works on whole segments (``forward``), and joins what it made of the parts of one (``merge``) while
    decoding. Subclass it and register the class in ``STATE_POOLINGS``.

    Args:
        hidden_size: E.
    """

    causal = True
    """Whether the state may tell of a whole segment; a causal segment's first token has seen nothing."""

    empty = 0.0
    """Weight of a segment that holds no token yet."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size

    def forward(self, tokens: Float[Tensor, "S L E"], mask: Bool[Tensor, "S L"]) -> Pooled:
        """Return the states, and the weight (float32 or better) that each has gathered.

        An empty segment, which ``torch.compile`` cannot leave out, gives anything finite.
        """
        raise TypeError(f"{type(self).__name__} must define forward")

    def merge(self, pooled: Pooled, more: Pooled) -> Pooled:
        """Return the states of segments from those of their first and their further tokens, in float32 or better.

        A part that holds no token has weight ``empty``.
        """
        raise TypeError(f"{type(self).__name__} must define merge")

    def add(self, pooled: Pooled, token: Float[Tensor, "S E"], layout: StepLayout) -> Pooled:
        """Return the states of segments from those of their first tokens and the next one; the same as ``merge``."""
        more: Pooled = self(token[:, None], torch.ones(len(token), 1, dtype=torch.bool, device=token.device))
        return self.merge(pooled, more)


STATE_POOLINGS: Registry[StatePooling] = Registry("state_pooling")


@STATE_POOLINGS.register("mean")
class MeanPooling(StatePooling):
    """s = mean of the tokens; the weight counts them."""

    def forward(self, tokens: Float[Tensor, "S L E"], mask: Bool[Tensor, "S L"]) -> Pooled:
        """Return the mean token of every segment."""
        count = mask.sum(1).float()
        mean = tokens.masked_fill(~mask[..., None], 0).sum(1) / count.clamp(min=1).to(tokens.dtype)[:, None]
        return mean, count

    def merge(self, pooled: Pooled, more: Pooled) -> Pooled:
        """Return the mean of all tokens."""
        mean, count = pooled[0], pooled[1] + more[1]
        share = more[1].to(mean.dtype) / count.clamp(min=1).to(mean.dtype)
        return torch.lerp(mean, more[0], share[:, None]), count

    def add(self, pooled: Pooled, token: Float[Tensor, "S E"], layout: StepLayout) -> Pooled:
        """Return the mean of all tokens; layers that share a layout share the new one's part of it."""

        def share() -> Tensor:
            shares = [1 / count for count in layout.counts]
            return torch.tensor(shares, dtype=token.dtype, device=token.device)[:, None]

        return torch.lerp(pooled[0], token, layout.memo(("share", token.dtype), share)), pooled[1] + 1


STATE_REACHES: Registry[AllStates] = Registry("state_reach")


@STATE_REACHES.register("all")
class AllStates(nn.Module):
    """Base of attention that reads the state of every other segment (causal: of every earlier one): Z = S.

    It says which states there are, who reads which, and what a decoding cache keeps of them. A state has a number: that
    of its segment. Another reach is a subclass that overrides these methods, registered in ``STATE_REACHES``; the
    attention is then combined of it and a read (``simmim.nn.attend``), and owns the parameters of both.
    """

    options: AttentionOptions

    def project_states(self, states: Float[Tensor, "*S E"], numbers: Shaped[Tensor, "*S"]) -> StateKeys:
        """Return the keys and values ``[..., H, D]`` of states with these numbers."""
        raise TypeError(f"{type(self).__name__} must define project_states")

    def build_reach(self) -> None:
        """Add the parameters that this reach needs; it needs none."""

    def state_keys(
        self, pooled: Float[Tensor, "S E"], layout: SegmentLayout, past: SegmentCache | None = None
    ) -> tuple[Float[Tensor, "_ E"], StateKeys]:
        """Return the vectors of new states, and keys and values of all states that anybody may read."""
        keys, values = self.project_states(pooled, layout.number)
        if past is not None:
            # Cached ones first, document by document, all columns of the cache: as ``EverySegment`` counts them.
            cached_keys, cached_values = (states.transpose(1, 2).flatten(0, 1) for states in past.states)
            keys, values = torch.cat((cached_keys, keys)), torch.cat((cached_values, values))
        return pooled, (keys, values)

    def reach(self, layout: SegmentLayout, past: SegmentCache | None = None) -> Reach:
        """Say who reads which of these states; layers that share a layout share the answer."""
        causal, capacity = self.options.causal, 0 if past is None else past.states[0].shape[2]
        reach: Reach = layout.memo(("every segment", causal, capacity), EverySegment, layout, causal, capacity)
        return reach

    def cache_states(self, cache: SegmentCache, reach: Reach, vectors: Float[Tensor, "_ E"], keys: StateKeys) -> None:
        """Put into a cache what the tokens to come may read."""
        cache.add_states(reach.arrange(keys[0]), reach.arrange(keys[1]))

    def finished(self, layout: StepLayout) -> list[list[float]]:
        """Return ``[U][C]``: READ for those of a cache's states that the next token reads; there are no more than C."""
        most = max(layout.numbers, default=0)
        return [[READ] * number + [UNREAD] * (most - number) for number in layout.unique_numbers]

    def finish(self, cache: SegmentCache, layout: StepLayout, pooled: Float[Tensor, "B E"]) -> None:
        """Take up the states of the segments that the next token finishes."""
        cache.write_state(BatchColumns(layout.numbers, layout.ends), *self.project_states(pooled, cache.number))
