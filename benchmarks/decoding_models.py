"""Builds what the decoding benchmark compares: language models of equal size, and their caches at a given context."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)
from transformers.cache_utils import Cache, DynamicCache

from benchmarks.measure import matching_width, memory_held
from simmim import SimMIMConfig, SimMIMForCausalLM, lay_out_for_decoding
from simmim.models import SimMIMCache
from simmim.models.transformers_hooks import PREFILL_CHUNK

__all__ = ["FORMS", "LAID_OUT", "OURS", "Decoder", "build", "bytes_of", "parameters", "prompt", "read_prompt"]

OURS = ("all", "pyramid")
FORMS = (*OURS, "llama", "mistral", "mistral_laid_out", "mamba")
LAID_OUT = (*OURS, "mistral_laid_out")
"""Forms whose weights are laid out for decoding: ours, and the fastest of the others, once more."""
SIZES: dict[str, Any] = {"vocab_size": 8192, "hidden_size": 256, "eos_token_id": None}
LAYERS, HEADS, SEGMENT, FFN = 6, 4, 64, 704
MAMBA_LAYERS = 13
PEER_CHUNK = 512
"""Tokens that a peer reads at once: their masks are of chunk times context, and Mamba's scan keeps states of each."""


def parameters(model: PreTrainedModel) -> int:
    """Return how many parameters a model has; shared ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _of_width(form: str, width: int, layers: int) -> PreTrainedModel:
    """Build a form with inner layers of some width."""
    if form in OURS:
        own: dict[str, Any] = {"num_hidden_layers": layers, "num_attention_heads": HEADS, "segment_length": SEGMENT}
        return SimMIMForCausalLM(SimMIMConfig(state_reach=form, intermediate_size=width, **own, **SIZES))
    if form == "mamba":
        config = MambaConfig(num_hidden_layers=max(1, MAMBA_LAYERS * layers // LAYERS), bos_token_id=None, **SIZES)
        config.intermediate_size = width  # which has no setting of its own
        return MambaForCausalLM(config)
    peer: dict[str, Any] = {"num_hidden_layers": layers, "num_attention_heads": HEADS, "num_key_value_heads": HEADS}
    peer |= {"tie_word_embeddings": True, "bos_token_id": None, "max_position_embeddings": 1 << 21}
    if form == "llama":
        return LlamaForCausalLM(LlamaConfig(intermediate_size=width, **peer, **SIZES))
    return MistralForCausalLM(MistralConfig(intermediate_size=width, sliding_window=2 * SEGMENT, **peer, **SIZES))


def build(form: str, layers: int = LAYERS) -> PreTrainedModel:
    """Build a form with random weights and as many parameters as the default preset with all states.

    What a form spends more or less elsewhere goes into its FFN, or the inner width of Mamba.

    Args:
        form: ``all`` or ``pyramid`` (SimMIM), ``llama``, ``mistral`` (with a window of two segments), also
            ``mistral_laid_out``, or ``mamba``.
        layers: of all but Mamba, which has twice as many and one.
    """
    with torch.device("meta"):
        wanted = parameters(_of_width("all", FFN, layers))
        width = matching_width(wanted, lambda width: parameters(_of_width(form, width, layers)))
    width = FFN if form == "all" else width
    torch.manual_seed(0)
    model = _of_width(form, width, layers).eval()
    return lay_out_for_decoding(model) if form in LAID_OUT else model


def prompt(tokens: int) -> Tensor:
    """Return ``[1, N]`` random token ids."""
    return torch.randint(SIZES["vocab_size"], (1, tokens), generator=torch.Generator().manual_seed(1))


class Decoder:
    """A model in the midst of decoding.

    Args:
        form: what ``build`` takes.
        layers: as for ``build``.
    """

    def __init__(self, form: str, layers: int = LAYERS) -> None:
        self.form, self.model = form, build(form, layers)
        self.cache: Cache = SimMIMCache(layers) if form in OURS else DynamicCache(config=self.model.config)
        self.token = prompt(1)

    def _forward(self, ids: Tensor) -> Tensor:
        name = "cache_params" if self.form == "mamba" else "past_key_values"
        logits: Tensor = self.model(ids, use_cache=True, logits_to_keep=1, **{name: self.cache}).logits
        return logits

    @torch.inference_mode()
    def read(self, ids: Tensor) -> None:
        """Read a prompt, part by part."""
        for part in ids.split(PREFILL_CHUNK if self.form in OURS else PEER_CHUNK, dim=1):
            self.token = self._forward(part).argmax(-1)

    @torch.inference_mode()
    def step(self) -> None:
        """Write the likeliest next token."""
        self.token = self._forward(self.token).argmax(-1)

    def fill(self, tokens: int) -> None:
        """Put random keys and values into a peer's cache, as many as it would hold after so many tokens."""
        assert self.form not in OURS
        self.read(prompt(2 * SEGMENT))
        if self.form == "mamba":
            return  # its state is of one size
        layers: Any = self.cache.layers
        for layer in layers:
            slides = self.form.startswith("mistral")
            held = min(tokens, 2 * SEGMENT - 1) if slides else tokens
            shape = (*layer.keys.shape[:2], held, layer.keys.shape[3])
            layer.keys, layer.values = torch.randn(shape), torch.randn(shape)
            if slides:
                layer.cumulative_length = tokens


def read_prompt(form: str, tokens: int, threads: int, layers: int, file: Path) -> dict[str, Any]:
    """Read a prompt and leave the cache in a file; for a fresh process.

    Returns:
        The seconds, and the bytes that the process held before and at most.
    """
    torch.set_num_threads(threads)
    decoder = Decoder(form, layers)
    decoder.read(prompt(min(tokens, 2 * SEGMENT)))  # loads libraries
    decoder = Decoder(form, layers)
    ids, ready, start = prompt(tokens), memory_held(), time.perf_counter()
    decoder.read(ids)
    seconds, most = time.perf_counter() - start, memory_held()
    torch.save(decoder.cache, file)
    return {"seconds": seconds, "ready_bytes": ready and ready[0], "peak_bytes": most and most[1]}


def bytes_of(cache: Cache) -> int:
    """Count the floating-point numbers that a cache holds, and the table of a copy head, in bytes."""
    found = {id(tensor): tensor for tensor in _tensors(cache)}
    table = getattr(cache, "continuations", None)
    held = sum(tensor.nbytes for tensor in found.values() if tensor.is_floating_point())
    return held if table is None else held + int(table.rows.nbytes)


def _tensors(thing: Any) -> Iterator[Tensor]:
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, dict):
        for value in thing.values():
            yield from _tensors(value)
    elif isinstance(thing, list | tuple):
        for value in thing:
            yield from _tensors(value)
    elif hasattr(thing, "__dict__") and type(thing).__module__.split(".")[0] in ("simmim", "transformers"):
        yield from _tensors(vars(thing))
