"""Segment parallelism as a style for ``parallelize_module``: one document on several processes.

    mesh = init_device_mesh("cuda", (4,), mesh_dim_names=("segments",))
    parallelize_module(model, mesh["segments"], SegmentParallel())
    model(**batch).loss.backward()          # every rank is given the whole batch, and reads its share of it
    reduce_gradients(model, mesh["segments"])

Model code is not changed: hooks share out what a model is called with, and layers get classes that are derived of
their own (``simmim.parallel.attention``). Letters: B documents, N tokens, N1 most tokens of a document in one share.
"""

from __future__ import annotations

import inspect
from collections import Counter
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor.parallel import ParallelStyle
from torch.nn import functional as F

from simmim.errors import ConfigError, ShapeError
from simmim.models import SimMIMForCausalLM, SimMIMForConditionalGeneration, SimMIMModel
from simmim.models.losses import IGNORED, check_labels
from simmim.models.modeling_base import SimMIMPreTrainedModel, one_of
from simmim.models.packed_documents import PackedDocuments, last_tokens
from simmim.ops.ngrams import find_continuations
from simmim.ops.segments import check_attention_mask
from simmim.parallel.attention import Current, derive, parallel_layer
from simmim.parallel.collectives import Ranks, whole_loss
from simmim.parallel.hierarchy import parallel_hierarchy
from simmim.parallel.memory import parallel_memory
from simmim.parallel.shares import Shares

__all__ = ["SegmentParallel", "reduce_gradients"]


class SegmentParallel(ParallelStyle):
    """Shares out the segments of each batch: a rank holds contiguous ones, as many as another, or one more.

    It is applied to a whole ``SimMIMModel``, ``SimMIMForCausalLM`` or ``SimMIMForConditionalGeneration`` (of which the
    encoder is shared out; every rank decodes all targets, and learns from a share of the labels). From then on every
    rank calls it with the same whole batch, and gets what belongs to its own tokens: ``last_hidden_state``,
    ``hidden_states`` and ``logits`` are ``[B, N1, ...]``, each document's tokens of this rank moved to the left
    (``shares.mask`` says which columns are tokens). ``loss``, the global representation and ``pooler_output`` are the
    whole batch's, the same on all ranks; the pyramid has no levels.

    The gradients of a rank are a part: the sum over all ranks is that of one process (``reduce_gradients``; a loss of
    one's own is to be the rank's part of it, so one of ``pooler_output`` is divided by the ranks). Where DDP or FSDP
    average over these ranks, multiply the loss by their number.

    Per layer one gather of states, in either direction, and one exchange with the ranks of neighbouring segments.
    """

    def __init__(self) -> None:
        super().__init__()
        self._current = Current()
        self._ranks: Ranks | None = None

    @property
    def sent(self) -> Counter[str]:
        """Bytes that this process has sent so far, by purpose (``simmim.parallel.collectives.Ranks``)."""
        return Counter() if self._ranks is None else self._ranks.sent

    @property
    def shares(self) -> Shares:
        """Which tokens of the last batch this rank holds.

        Raises:
            ConfigError: there has been none.
        """
        if self._current.shares is None:
            raise ConfigError("shares: expected a call of the model before, got none")
        return self._current.shares

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        if device_mesh.ndim != 1:
            raise ConfigError(f"device_mesh: expected one dimension, got {device_mesh.ndim}; take mesh['segments']")
        self._ranks = Ranks(device_mesh.get_group())
        if isinstance(module, SimMIMForCausalLM):
            stack: Any = module.decoder
            derive(module, _ParallelCausalLM, self._current)
        elif isinstance(module, SimMIMForConditionalGeneration):
            stack = module.encoder
            if module.copy_head is not None or module.config.memory != "tokens":
                raise ConfigError(
                    "segment parallel: expected an encoder-decoder with memory='tokens' and without copy head, got "
                    f"memory={module.config.memory!r}, copy_head={module.copy_head is not None}"
                )
            for layer in module.decoder.layers:
                parallel_memory(cast(Any, layer).cross_attention, self._current)
        elif isinstance(module, SimMIMModel):
            stack = module
            if module.hierarchy is not None:
                parallel_hierarchy(module.hierarchy, self._current)
        else:
            raise ConfigError(
                "segment parallel: expected a SimMIMModel, SimMIMForCausalLM or SimMIMForConditionalGeneration, got "
                f"{type(module).__name__}"
            )
        shifts = [0, module.config.segment_shift]
        for number, layer in enumerate(stack.layers):
            parallel_layer(layer.attention, self._current, shifts[number % 2])
        module.register_forward_pre_hook(self._share_out, with_kwargs=True)
        module.register_forward_hook(self._complete)
        return module

    def _share_out(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Replace what the model is called with by this rank's share of it."""
        assert self._ranks is not None and isinstance(model, SimMIMPreTrainedModel)
        names = [name for name, kind in inspect.signature(model.forward).parameters.items() if kind.name != "kwargs"]
        given = dict(zip(names, args, strict=False)) | kwargs
        _refuse(given)
        whole = one_of(given.get("input_ids"), given.get("inputs_embeds"))
        mask = given.get("attention_mask")
        batch, tokens = whole.shape[:2]
        mask = (
            torch.ones(batch, tokens, dtype=torch.bool, device=whole.device)
            if mask is None
            else check_attention_mask(mask, batch, tokens)
        )
        shares = self._current.shares = Shares(mask, model.config.segment_length, self._ranks)
        given["attention_mask"] = shares.mask
        for name in ("input_ids", "inputs_embeds"):
            if given.get(name) is not None:
                given[name] = shares.take(given[name])
        if isinstance(model, _ParallelCausalLM):
            model.found = _continuations(model, whole, mask, shares)
            moved = _next_labels(given.pop("labels", None), given.pop("shift_labels", None), mask, model)
            if moved is not None:
                given["shift_labels"] = shares.take(moved, IGNORED)
                _count_labels(given, moved)
        elif isinstance(model, SimMIMForConditionalGeneration) and given.get("labels") is not None:
            labels = given["labels"]
            check_labels(labels, labels.shape, model.config.vocab_size)
            if given.get("decoder_input_ids") is None and given.get("decoder_inputs_embeds") is None:
                given["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(labels.long())
            given["labels"] = _share_of_labels(labels, self._ranks)
            _count_labels(given, labels)
        return (), given

    def _complete(self, model: nn.Module, args: Any, output: Any) -> Any:
        """Add up the ranks' parts of the loss."""
        assert self._ranks is not None
        if not isinstance(output, tuple) and output.get("loss") is not None:
            output["loss"] = whole_loss(output["loss"], self._ranks)
        return output


class _ParallelCausalLM(SimMIMForCausalLM):
    """Takes what its copy head may copy from the ids of the whole batch, which every rank has."""

    current: Current
    found: Tensor | None = None

    def _continuations(self, *given: Any) -> Tensor:
        assert self.found is not None
        return self.found


def _continuations(model: SimMIMForCausalLM, whole: Tensor, mask: Tensor, shares: Shares) -> Tensor | None:
    """Return what the copy head may copy after each token of this rank; None without a copy head."""
    if model.copy_head is None:
        return None
    ids = whole.long() if whole.dim() == 2 else whole.new_full(whole.shape[:2], -1, dtype=torch.long)
    return shares.take(find_continuations(ids, mask), -1)


def _next_labels(labels: Tensor | None, moved: Tensor | None, mask: Tensor, model: SimMIMForCausalLM) -> Tensor | None:
    """Return what each token of the whole batch is to predict, at the token itself; None without labels."""
    given = labels if moved is None else moved
    if given is None:
        return None
    check_labels(given, mask.shape, model.config.vocab_size, "" if moved is None else "shift_")
    if moved is None:
        given = F.pad(given, (0, 1), value=IGNORED)[:, 1:]
    wanted = given != IGNORED
    # A label that stands at padding is for the token before it.
    token = last_tokens(mask)
    row, column = (wanted & (token >= 0)).nonzero().unbind(1)
    positions = torch.stack((row, token[row, column]))
    if positions.unique(dim=1).shape[1] != positions.shape[1]:
        raise ShapeError("labels: expected -100 at padding, got labels there; mask them out")
    return torch.full_like(given, IGNORED).index_put((positions[0], positions[1]), given[row, column])


def _share_of_labels(labels: Tensor, ranks: Ranks) -> Tensor:
    """Keep this rank's part of the labels, as many as another's, or one more."""
    wanted = (labels != IGNORED).flatten().nonzero()[:, 0]
    own = wanted[len(wanted) * ranks.rank // ranks.size : len(wanted) * (ranks.rank + 1) // ranks.size]
    flat = torch.full_like(labels, IGNORED).flatten()
    return flat.index_copy(0, own, labels.flatten()[own]).view_as(labels)


def _count_labels(given: dict[str, Any], labels: Tensor) -> None:
    """Have the loss divided by the labels of the whole batch, unless the caller says by what."""
    if given.get("num_items_in_batch") is None:
        given["num_items_in_batch"] = (labels != IGNORED).sum()


def _refuse(given: dict[str, Any]) -> None:
    """Refuse what a model on several processes has no use for."""
    for name in ("past_key_values", "use_cache", "output_attentions", "cu_seq_lens_q", "encoder_outputs"):
        if given.get(name) is not None and given[name] is not False:
            raise ConfigError(f"{name}: expected None in a segment-parallel model; use the model on one process")
    kept = given.get("logits_to_keep", 0)
    if not isinstance(kept, int) or kept:
        raise ConfigError(f"logits_to_keep: expected 0 in a segment-parallel model, got {kept}")
    positions = given.get("position_ids")
    if positions is not None:
        if PackedDocuments.find(*positions.shape, mask=given.get("attention_mask"), position_ids=positions):
            raise ConfigError("position_ids: expected one document a row in a segment-parallel model, got several")
        given.pop("position_ids")


def reduce_gradients(model: nn.Module, device_mesh: DeviceMesh) -> None:
    """Make every rank's gradients those of one process: the sum over the ranks; a missing one counts as zero.

    Where DDP or FSDP go over these ranks they do the same, and this is not called.
    """
    group = device_mesh.get_group()
    for parameter in model.parameters():
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad, group=group)
