"""What several tests need: ragged batches with poisoned padding, random layers, and the reference over a batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from simmim import (
    SimMIMConfig,
    SimMIMForCausalLM,
    SimMIMForConditionalGeneration,
    SimMIMForMaskedLM,
    SimMIMForSequenceClassification,
    SimMIMForTokenClassification,
    SimMIMModel,
)
from simmim.models.modeling_simmim import SimMIMPreTrainedModel
from simmim.nn import SMIAttention
from simmim.ops import reference
from simmim.ops.options import AttentionOptions

HIDDEN, HEADS, LENGTH = 8, 2, 6
READS = ("none", "broadcast", "gated_broadcast", "attend")
POOLINGS = ("first", "last", "mean", "attention")
DOCUMENT_LENGTHS = (1, LENGTH - 1, LENGTH, LENGTH + 1, 2 * LENGTH, 27, 0)
"""N = 1, L-1, L, L+1, 2L, an odd number of segments, and a document of padding alone."""

DEFAULT: dict[str, Any] = {"state_read": "attend", "state_pooling": "mean", "neighbours": 1}
LITERAL: dict[str, Any] = {"state_read": "broadcast", "state_pooling": "first", "neighbours": 0}


def every_option() -> Iterator[dict[str, Any]]:
    """Return every combination that a layer can be built with."""
    aggregators = itertools.cycle(("concat", "weighted_sum", "attention", "concat", "attention"))
    values = {
        **{"causal": (False, True), "state_read": READS, "state_pooling": POOLINGS, "state_null": (False, True)},
        **{"neighbours": (0, 1), "segment_shift": (0, LENGTH // 2), "rotary": (True, False)},
        "state_reach": ("all", "pyramid"),
    }
    weights = itertools.cycle(("shared", "shared", "each"))
    trained = itertools.cycle((2, None, 1))
    tied = itertools.cycle((True, False, True, False, False, True, False))
    factors = itertools.cycle((0.5, 1.0, 0.5, 0.0, 0.5))
    for combination in itertools.product(*values.values()):
        options = dict(zip(values, combination, strict=True))
        if options["causal"] and options["state_pooling"] == "first":
            continue
        if options["state_reach"] == "pyramid":
            if options["state_read"] == "none":
                continue
            options["aggregator"] = next(aggregators)
        if options["state_read"] == "attend":
            options["state_weight"] = next(weights)
            options["trained_states"] = next(trained) if options["state_weight"] == "each" else None
            options["tie_state_projections"] = next(tied)
        if options["rotary"]:
            options["partial_rotary_factor"] = next(factors)
        yield options


def covering(combinations: Iterable[dict[str, Any]], strength: int = 2) -> list[dict[str, Any]]:
    """Choose combinations in which all values meet that meet in any: every two of them, or so many as ``strength``.

    Greedy, from those that show most that is new down to those that show anything; the same ones every time.
    """
    shown: set[Any] = set()
    chosen: dict[int, dict[str, Any]] = {}
    waiting = [
        (
            number,
            combination,
            set(itertools.combinations(sorted(combination.items(), key=lambda pair: pair[0]), strength)),
        )
        for number, combination in enumerate(combinations)
    ]
    least = max((len(meetings) for _, _, meetings in waiting), default=0)
    while least:
        for number, combination, meetings in waiting:
            if len(meetings - shown) >= least:
                shown |= meetings
                chosen[number] = combination
        least = least * 4 // 5
    return [chosen[number] for number in sorted(chosen)]


def some_options(strength: int = 2, **fixed: Any) -> list[dict[str, Any]]:
    """Return combinations in which every two values of two options meet, or every three; with some options fixed."""
    found = [options for options in every_option() if options.items() >= fixed.items()]
    return covering(found, strength)


def name_of(options: dict[str, Any]) -> str:
    return "-".join(
        f"{value}" if isinstance(value, str) else f"{key}={value}" for key, value in options.items() if value
    )


def random_layer(dtype: torch.dtype = torch.float64, seed: int = 0, **options: Any) -> SMIAttention:
    """Build a layer none of whose parameters is zero or one."""
    generator = torch.Generator().manual_seed(seed)
    layer = SMIAttention(HIDDEN, HEADS, LENGTH, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return layer.to(dtype)


def documents(lengths: Sequence[int], dtype: torch.dtype = torch.float64, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, HIDDEN, generator=generator, dtype=torch.float64).to(dtype) for n in lengths]


def batch_of(texts: Sequence[Tensor], width: int, seed: int = 2) -> tuple[Tensor, Tensor]:
    """Put documents into a batch whose padding is NaN: padded left, right and, every third, in between."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.full((len(texts), width, HIDDEN), float("nan"), dtype=texts[0].dtype)
    mask = torch.zeros(len(texts), width, dtype=torch.bool)
    for row, text in enumerate(texts):
        left = torch.arange(width - len(text), width)
        right = torch.arange(len(text))
        holes = torch.randperm(width, generator=generator)[: len(text)].sort().values
        places = (left, right, holes)[row % 3]
        hidden[row, places], mask[row, places] = text, True
    return hidden, mask


def reference_output(layer: SMIAttention, text: Tensor, options: dict[str, Any]) -> Tensor:
    """Apply the equations, with the layer's own parameters, so that gradients reach them."""
    if not len(text):
        return text
    weights = dict(layer.named_parameters())
    return reference.smi_attention(text, weights, AttentionOptions(HIDDEN, HEADS, LENGTH, **options))


def with_large_weights(model: SimMIMForConditionalGeneration, seed: int = 0) -> SimMIMForConditionalGeneration:
    """Give a model weights that are large enough to make every token matter, in float64."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model.double().eval()


def small_config(**changes: Any) -> SimMIMConfig:
    sizes = {
        "vocab_size": 50,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_attention_heads": 2,
        "segment_length": 8,
    }
    return SimMIMConfig(**{**sizes, "num_hidden_layers": 2, "num_decoder_layers": 2, **changes})


MODELS: tuple[type[SimMIMPreTrainedModel], ...] = (
    *(SimMIMModel, SimMIMForMaskedLM, SimMIMForSequenceClassification, SimMIMForTokenClassification),
    *(SimMIMForConditionalGeneration, SimMIMForCausalLM),
)
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "literal": LITERAL,
    "pyramid": {"state_reach": "pyramid", "aggregator": "attention", "segment_shift": 4, "state_null": True},
    "lstm": {"segment_encoder": "lstm", "segment_shift": 4},
    "cnn": {"segment_encoder": "cnn", "aggregator": "weighted_sum", "training_length": 12},
    "gated-pyramid-memory": {"memory": "pyramid", "state_read": "gated_broadcast", "state_pooling": "attention"},
    "two-level-copying": {"memory": "two_level", "memory_top_k": 2, "copy_head": True, "state_weight": "shared"},
}
TEXTS = (20, 37, 7, 13)
"""Tokens of the documents that ``family_batch`` makes."""


def family(*, attentive: bool = False) -> list[tuple[type[SimMIMPreTrainedModel], str]]:
    """Return every model class with the variants that it can have; ``attentive``: those whose layers have maps."""
    reads_memory = ("gated-pyramid-memory", "two-level-copying")
    return [
        (head, name)
        for head in MODELS
        for name in VARIANTS
        if (name not in reads_memory or head is SimMIMForConditionalGeneration)
        and (name not in ("lstm", "cnn") or not (attentive or head is SimMIMForCausalLM))
    ]


def some_of_the_family(*, attentive: bool = False) -> list[tuple[type[SimMIMPreTrainedModel], str]]:
    """Return every model class and every variant, with all pairs of a plain encoder and of both decoders.

    The variants take turns with the classes that put a layer on the encoder.
    """
    plain = (SimMIMModel, SimMIMForConditionalGeneration, SimMIMForCausalLM)
    pairs = family(attentive=attentive)
    return [pair for number, pair in enumerate(pairs) if pair[0] in plain or number % 3 == 0]


def fewest_layers(variant: str) -> dict[str, Any]:
    """Return as few layers as show all that a variant does: of two, the second is shifted, if the variant shifts."""
    layers = 2 if "segment_shift" in VARIANTS[variant] else 1
    return {"num_hidden_layers": layers, "num_decoder_layers": layers}


def family_model(
    head: type[SimMIMPreTrainedModel], variant: str = "default", dtype: torch.dtype = torch.float64, **changes: Any
) -> SimMIMPreTrainedModel:
    """Build a model of four labels whose weights are large enough to make every token matter."""
    model = head(small_config(**{"num_labels": 4, **VARIANTS[variant], **changes}))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model.to(dtype).eval()


def family_batch(head: type[SimMIMPreTrainedModel]) -> dict[str, Tensor]:
    """Make documents padded right, not at all, left and in between, rubbish in the padding, and labels for a head."""
    generator = torch.Generator().manual_seed(1)
    width = max(TEXTS)
    ids = torch.randint(4, 50, (len(TEXTS), width), generator=generator)
    mask = torch.zeros_like(ids)
    holes = torch.randperm(width, generator=generator)
    for row, (places, tokens) in enumerate(
        zip((torch.arange(width), torch.arange(width), torch.arange(width).flip(0), holes), TEXTS, strict=True)
    ):
        mask[row, places[:tokens]] = 1
    batch = {"input_ids": ids, "attention_mask": mask}
    if head is SimMIMForSequenceClassification:
        batch["labels"] = torch.tensor([0, 3, 1, 2])
    elif head is SimMIMForConditionalGeneration:
        targets = torch.randint(4, 50, (len(TEXTS), 21), generator=generator)
        batch["labels"] = targets.masked_fill(torch.arange(21) >= torch.tensor([[21], [5], [14], [9]]), -100)
    elif head is not SimMIMModel:
        labels = ids % 4 if head is SimMIMForTokenClassification else ids
        batch["labels"] = labels.masked_fill(mask == 0, -100)
    return batch


def one_of(batch: dict[str, Tensor], row: int) -> dict[str, Tensor]:
    """Take one document out of a batch, without its padding."""
    held = batch["attention_mask"][row].bool()
    along = {name: tensor[row : row + 1] for name, tensor in batch.items() if name != "attention_mask"}
    wide = batch["attention_mask"].shape
    return {name: tensor[:, held] if batch[name].shape == wide else tensor for name, tensor in along.items()}


def predicted(output: Any) -> Tensor:
    """Return what a model says: logits, or the encoder's output."""
    found: Tensor = output.logits if "logits" in output else output.last_hidden_state
    return found


def score(output: Any) -> Tensor:
    """Return a number to differentiate: the loss, or of an encoder something like one."""
    if output.get("loss") is not None:
        return output.loss
    parts = [output.last_hidden_state, output.pooler_output] if "last_hidden_state" in output else [output.logits]
    return sum((part.square().mean() for part in parts), torch.zeros(()))
