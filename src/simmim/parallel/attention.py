"""SMI attention over segments that several ranks hold: the module's own code, on tokens and states that were received.

``parallel_layer`` gives a layer's module a class that is derived of its own, as ``fully_shard`` does: parameters, names
and saved models stay what they are. Letters: B documents, N tokens, T tokens of this rank, S segments of all documents,
S1 those here, H heads, D head width, C states that a segment reads, E width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from simmim.errors import ConfigError
from simmim.nn.attend import AttendAttention
from simmim.nn.cache import SegmentCache
from simmim.nn.smi_attention import SMIAttention
from simmim.nn.states import AllStates, StateKeys
from simmim.nn.variants.pyramid_states import PyramidStates
from simmim.nn.variants.segment_encoders import SegmentEncoder
from simmim.ops.layout import EverySegment, Reach, SegmentLayout
from simmim.ops.options import AttentionOptions
from simmim.parallel.collectives import join
from simmim.parallel.nodes import SharedNodes, SharedPyramid, Step
from simmim.parallel.shares import ShardedLayout, Shares

__all__ = ["Current", "derive", "parallel_layer"]


class Current:
    """Holds the shares of the batch that a model is reading; all its modules have the same one."""

    shares: Shares | None = None

    def of(self, layout: SegmentLayout) -> Shares:
        """Return the shares of the call that this layout belongs to, also when a checkpoint calls a layer again."""
        shares: Shares | None = layout.memo("segment parallel", lambda: self.shares)
        if shares is None:
            raise ConfigError(
                "segment parallel: expected a call of the whole model, which shares out the batch; got one of a layer"
            )
        return shares


class _OnShares(nn.Module):
    """Base of a layer's module whose input is this rank's tokens."""

    current: Current
    received: list[Tensor]

    def forward(
        self,
        hidden_states: Float[Tensor, "B N E"],
        attention_mask: Tensor | None = None,
        *,
        layout: SegmentLayout,
        **cached: Any,
    ) -> Float[Tensor, "B N E"]:
        """Receive the neighbouring segments, work on those that this rank's tokens are in, and keep its tokens.

        Raises:
            ConfigError: a cache or attention maps are asked for.
        """
        if any(cached.values()):
            raise ConfigError(
                "use_cache, past_key_values, output_attentions: expected none of them in a segment-parallel model; "
                "generate, or look at maps, with the model on one process"
            )
        shares = self.current.of(layout)
        here = self.sharded_layout(shares)
        own = shares.pack(hidden_states)
        tokens = here.receive(own)
        # A rank without tokens reads nothing of all this, and takes part in the backward pass nevertheless.
        self.received = [tokens, *self.parameters()]
        out = here.to_tokens(self.work(here.to_segments(tokens[None]), here))[0, here.own_tokens]
        joined = join(out, self.received)
        self.received = []
        return shares.spread(joined, hidden_states)

    def sharded_layout(self, shares: Shares) -> ShardedLayout:
        """Return the layout of this layer's segments."""
        raise TypeError(f"{type(self).__name__} must define sharded_layout")

    def work(self, segments: Float[Tensor, "S1 L E"], layout: ShardedLayout) -> Float[Tensor, "S1 L E"]:
        """Do what the layer does."""
        raise TypeError(f"{type(self).__name__} must define work")


class _ParallelAttention(_OnShares):
    options: AttentionOptions

    def sharded_layout(self, shares: Shares) -> ShardedLayout:
        return shares.layout(self.options.segment_shift, self.options.causal, self.options.neighbours)

    def work(self, segments: Float[Tensor, "S1 L E"], layout: ShardedLayout) -> Float[Tensor, "S1 L E"]:
        return cast(SMIAttention, self).attend_segments(segments, layout)[0]


class _ParallelStates(_ParallelAttention, AllStates):
    """Tokens read the states of all segments, which are gathered."""

    def state_keys(
        self, pooled: Float[Tensor, "S1 E"], layout: SegmentLayout, past: SegmentCache | None = None
    ) -> tuple[Float[Tensor, "S E"], StateKeys]:
        assert isinstance(layout, ShardedLayout)
        states = layout.gather(join(pooled, self.received))
        self.received.append(states)
        return states, self.project_states(states, layout.whole.rank.to(states.device))

    def reach(self, layout: SegmentLayout, past: SegmentCache | None = None) -> Reach:
        causal = self.options.causal
        reach: Reach = layout.memo(("gathered states", causal), GatheredStates, layout, causal)
        return reach


class _ParallelNodes(_ParallelAttention, PyramidStates):
    """Tokens read nodes of the pyramid, of which those that lie in other shares are gathered."""

    def state_keys(
        self, pooled: Float[Tensor, "S1 E"], layout: SegmentLayout, past: SegmentCache | None = None
    ) -> tuple[Float[Tensor, "Z E"], StateKeys]:
        assert isinstance(layout, ShardedLayout)
        shared = self._nodes_of(layout)
        leaves = self.state_norm(join(pooled, self.received)[layout.owned])
        nodes, gathered = shared.build(leaves, self._pair, "states")
        self.received.append(gathered)
        return nodes, self.project_states(nodes, shared.positions)

    def reach(self, layout: SegmentLayout, past: SegmentCache | None = None) -> Reach:
        assert isinstance(layout, ShardedLayout)
        causal, shared = self.options.causal, self._nodes_of(layout)
        reach: Reach = layout.memo(("shared nodes", causal), SharedNodes, layout, causal, shared)
        return reach

    def _pair(self, left: Tensor, right: Tensor, step: Step) -> Tensor:
        return torch.where(step.paired[:, None], self._merge(left, right, step.paired), left)

    def _nodes_of(self, layout: ShardedLayout) -> SharedPyramid:
        def make() -> SharedPyramid:
            return SharedPyramid(
                *(layout.whole, layout.owner, layout.ranks),
                guests=layout.guests,
                causal=self.options.causal,
                device=layout.rank.device,
            )

        shared: SharedPyramid = layout.memo(("shared pyramid", self.options.causal), make)
        return shared


class _ParallelSegmentEncoder(_OnShares, SegmentEncoder):
    """An encoder of one segment at a time; of a segment in two shares both ranks have the tokens."""

    shift: int

    def sharded_layout(self, shares: Shares) -> ShardedLayout:
        return shares.layout(self.shift, causal=False, neighbours=0)

    def work(self, segments: Float[Tensor, "S1 L E"], layout: ShardedLayout) -> Float[Tensor, "S1 L E"]:
        return self.encode(segments, layout) if len(segments) else segments


class GatheredStates(EverySegment):
    """The states of all other segments of the document, which were gathered; queries are of the segments here."""

    def scores(self, q: Float[Tensor, "S1 H D"], k: Float[Tensor, "S H D"]) -> Float[Tensor, "S1 H C"]:
        """Multiply document by document."""
        keys = self.arrange(k)
        return torch.cat([torch.einsum("ihd,jhd->ihj", q[rows], keys[b]) for b, rows in self._documents()])

    def mix(self, weights: Float[Tensor, "S1 H C"], v: Float[Tensor, "S H D"]) -> Float[Tensor, "S1 H D"]:
        """Sum document by document."""
        values = self.arrange(v)
        return torch.cat([torch.einsum("ihj,jhd->ihd", weights[rows], values[b]) for b, rows in self._documents()])

    def _documents(self) -> Iterator[tuple[int, slice]]:
        documents, counts = torch.unique_consecutive(self.layout.document, return_counts=True)
        end = 0
        for document, count in zip(documents.tolist(), counts.tolist(), strict=True):
            yield document, slice(end, end + count)
            end += count


def parallel_layer(module: nn.Module, current: Current, shift: int) -> None:
    """Let a layer's module work on this rank's tokens.

    Args:
        module: SMI attention or a segment encoder.
        current: the shares of the batch.
        shift: tokens by which the layer's borders move.

    Raises:
        ConfigError: the module is another one.
    """
    if isinstance(module, PyramidStates):
        mixin: type[_OnShares] = _ParallelNodes
    elif isinstance(module, AttendAttention):
        mixin = _ParallelStates
    elif isinstance(module, SegmentEncoder):
        mixin = _ParallelSegmentEncoder
        module.shift = shift  # type: ignore[assignment]
    else:
        raise ConfigError(
            f"segment parallel: expected SMI attention or a SegmentEncoder, got {type(module).__name__}; "
            "a state reach of your own has to say what its ranks gather"
        )
    derive(module, mixin, current)


def derive(module: nn.Module, mixin: type[nn.Module], current: Current) -> None:
    """Give a module the class that does what its own and another do, under its own name, by which models are saved.

    Args:
        module: of any class.
        mixin: what comes first.
        current: the shares of the batch that its model reads.
    """
    cls = type(module)
    module.__class__ = type(cls.__name__, (mixin, cls), {"__module__": cls.__module__})
    module.current = current  # type: ignore[assignment]
