"""Has the model write the replies to one prompt, and tells of each piece as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    StoppingCriteria,
    StoppingCriteriaList,
)

from simmim.data.chat_template import turn_end_ids
from simmim.errors import ConfigError
from simmim.models import SimMIMForCausalLM
from simmim.serve.engine import Expired, Job
from simmim.serve.errors import RequestError
from simmim.serve.pieces import Pieces
from simmim.serve.prompts import PromptEncoder
from simmim.serve.sampling import Sampler, Sampling

__all__ = ["Ended", "Limits", "Order", "Piece", "Writer"]

_CHUNK = 2048
"""Tokens of a prompt that our models read at once: between two chunks, and two layers, a request can be given up."""


@dataclass(frozen=True)
class Limits:
    """Holds how much one request may ask for.

    Attributes:
        max_context: tokens of a prompt and its reply together.
        max_new_tokens: tokens of a reply.
    """

    max_context: int = 1 << 17
    max_new_tokens: int = 4096


@dataclass(frozen=True)
class Order:
    """Holds what is to be written.

    Attributes:
        sampling: how tokens are chosen.
        choices: how many replies.
        max_tokens: tokens of a reply; None for as many as there may be.
        stops: texts that end a reply.
        limit: the parameter that `max_tokens` came from.
    """

    sampling: Sampling
    choices: int = 1
    max_tokens: int | None = None
    stops: Sequence[str] = ()
    limit: str = "max_tokens"


@dataclass(frozen=True)
class Piece:
    """A piece of the text of a choice."""

    choice: int
    text: str


@dataclass(frozen=True)
class Ended:
    """The end of a choice: why, and how many tokens it has."""

    choice: int
    reason: str
    tokens: int


class Writer:
    """Writes with one model, one prompt at a time.

    Attributes:
        prompts: encodes what is asked.
        limits: how much one request may ask for, the model's own limit included.

    Args:
        model: a causal language model with ``generate``, which nothing else uses. Of its saved settings of generation
            only those count that no request can set: the end tokens and the penalty of repetitions.
        tokenizer: its tokenizer, a fast one.
        limits: how much one request may ask for.

    Raises:
        ConfigError: the tokenizer is no fast one.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, limits: Limits) -> None:
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ConfigError("tokenizer: expected a fast one (tokenizer.json), which decodes token by token")
        self._model, self._tokenizer = model, tokenizer
        longest = min(limits.max_context, _own_limit(model, tokenizer))
        self.limits = Limits(longest, limits.max_new_tokens)
        embeddings: Any = model.get_input_embeddings()
        self._vocabulary: int = embeddings.weight.shape[0]
        self.prompts = PromptEncoder(tokenizer, self._vocabulary, longest)
        self._ends = _ends(model, tokenizer)
        model.generation_config = _bare(model.generation_config)
        self._job: Job | None = None
        for module in _checkpoints(model):
            module.register_forward_pre_hook(self._check)

    def check(self, order: Order) -> None:
        """Return if an order can be carried out.

        Raises:
            RequestError: it asks for too much, or for tokens that the model does not know.
        """
        if order.max_tokens is not None and order.max_tokens > self.limits.max_new_tokens:
            raise RequestError(
                f"{order.limit}: expected at most {self.limits.max_new_tokens}, got {order.max_tokens}",
                param=order.limit,
            )
        unknown = [token for token in order.sampling.logit_bias if token >= self._vocabulary]
        if unknown:
            raise RequestError(
                f"logit_bias: expected ids of tokens below {self._vocabulary}, got {unknown[0]}", param="logit_bias"
            )

    @torch.inference_mode()
    def write(self, ids: list[int], order: Order, first: int, job: Job, tell: Callable[[Piece | Ended], None]) -> None:
        """Write the choices of one prompt.

        Args:
            ids: the prompt's tokens.
            order: what is to be written.
            first: the number of the first choice.
            job: what it is done for; its checks are kept.
            tell: gets every piece and every end.

        Raises:
            RequestError: there is no room for the reply.
            Cancelled: nobody awaits it any more.
            Expired: time was over before the prompt was read. A reply that was begun ends there, for its length.
        """
        room = self._room(len(ids), order)

        def follow(choice: int) -> Pieces:
            return Pieces(self._tokenizer, self._ends, order.stops, lambda text: tell(Piece(choice, text)))

        following = _Following(job, [follow(first + row) for row in range(order.choices)], first, tell)
        inputs = torch.tensor([ids] * order.choices, device=self._model.device)
        settings: dict[str, Any] = {"max_new_tokens": room, "eos_token_id": self._ends or None}
        if isinstance(self._model, SimMIMForCausalLM):
            settings["prefill_chunk_size"] = max(1, _CHUNK // order.choices)
        generate: Any = self._model.generate  # PreTrainedModel does not declare it
        try:
            with self._checked(job):
                generate(
                    inputs,
                    attention_mask=torch.ones_like(inputs),
                    logits_processor=LogitsProcessorList([Sampler(order.sampling, order.choices, inputs.device)]),
                    stopping_criteria=StoppingCriteriaList([following]),
                    **settings,
                )
        except Expired:
            if not following.begun:
                raise
        following.finish()

    def _room(self, prompt: int, order: Order) -> int:
        """Return how many tokens a reply may have."""
        left = self.limits.max_context - prompt
        if order.max_tokens is None:
            return min(left, self.limits.max_new_tokens)
        if order.max_tokens > left:
            raise RequestError(
                f"{order.limit}: expected at most {left} beside a prompt of {prompt} tokens, since both have "
                f"{self.limits.max_context} together, got {order.max_tokens}",
                param=order.limit,
                code="context_length_exceeded",
            )
        return order.max_tokens

    @contextmanager
    def _checked(self, job: Job) -> Iterator[None]:
        self._job = job
        try:
            yield
        finally:
            self._job = None

    def _check(self, *_: Any) -> None:
        if self._job is not None:
            self._job.check()


class _Following(StoppingCriteria):
    """Hands the tokens of each step on, and tells ``generate`` which texts have ended."""

    def __init__(self, job: Job, rows: list[Pieces], first: int, tell: Callable[[Ended], None]) -> None:
        self._job, self._rows, self._first, self._tell = job, rows, first, tell
        self.begun = False

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        self._job.check()
        self.begun = True
        for number, (row, token) in enumerate(zip(self._rows, input_ids[:, -1].tolist(), strict=True), self._first):
            if row.reason is None:
                row.put(token)
                self._report(number, row)
        return torch.tensor([row.reason is not None for row in self._rows], device=input_ids.device)

    def finish(self) -> None:
        """End what was cut off by a limit."""
        for number, row in enumerate(self._rows, self._first):
            if row.reason is None:
                row.end("length")
                self._report(number, row)

    def _report(self, number: int, row: Pieces) -> None:
        if row.reason is not None:
            self._tell(Ended(number, row.reason, row.tokens))


def _own_limit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the tokens that a model can read, in its own words; tokenizers without a limit have a huge number."""
    found = [getattr(model.config, "max_position_embeddings", None), tokenizer.model_max_length]
    return min((limit for limit in found if isinstance(limit, int) and limit > 0), default=1 << 62)


def _ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens that end a text or a turn."""
    config = model.generation_config
    given = None if config is None else config.eos_token_id
    known = given if isinstance(given, list) else [] if given is None else [given]
    return list(dict.fromkeys([*turn_end_ids(tokenizer), *known]))


def _bare(saved: GenerationConfig | None) -> GenerationConfig:
    """Return settings that do what a request says, whatever a model was saved with."""
    kept = ("bos_token_id", "eos_token_id", "pad_token_id", "repetition_penalty", "no_repeat_ngram_size")
    found = {name: getattr(saved, name, None) for name in kept}
    if found["pad_token_id"] is None:  # stands behind ended texts, where nobody reads it
        found["pad_token_id"] = 0
    return GenerationConfig(do_sample=False, num_beams=1, use_cache=True, **found)


def _checkpoints(model: PreTrainedModel) -> Iterator[nn.Module]:
    """Yield the modules before which it is seen whether the work is to go on: the model and its layers."""
    yield model
    for module in model.modules():
        if isinstance(module, nn.ModuleList):
            yield from module
