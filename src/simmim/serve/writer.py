"""Generates the replies to one prompt and reports each piece of text at once."""

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
from simmim.tasks.context_window import context_window

__all__ = ["Ended", "Limits", "Order", "Piece", "Writer"]

_CHUNK = 2048
"""Tokens of a prefill chunk: a request can be cancelled between two chunks, and between two layers."""


@dataclass(frozen=True)
class Limits:
    """Holds the limits of one request.

    Attributes:
        max_context: maximum tokens of a prompt and its reply together.
        max_new_tokens: maximum tokens of a reply.
    """

    max_context: int = 1 << 17
    max_new_tokens: int = 4096


@dataclass(frozen=True)
class Order:
    """Holds the settings of a generation.

    Attributes:
        sampling: the sampling parameters.
        choices: number of replies.
        max_tokens: maximum tokens of a reply; None for the limit of the server.
        stops: texts that end a reply.
        limit: the parameter that sets `max_tokens`.
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
    """The end of a choice: its reason and number of tokens."""

    choice: int
    reason: str
    tokens: int


class Writer:
    """Generates with one model, one prompt at a time.

    Attributes:
        prompts: encodes prompts.
        limits: the limits of one request, including the model's context length.

    Args:
        model: a causal language model with ``generate``, for the sole use of the writer. Of its saved generation
            settings only those apply that no request can set: special tokens and repetition penalties.
        tokenizer: its tokenizer, a fast one.
        limits: the limits of one request.

    Raises:
        ConfigError: the tokenizer is not a fast one.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, limits: Limits) -> None:
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ConfigError("tokenizer: expected a fast one (tokenizer.json), which decodes token by token")
        self._model, self._tokenizer = model, tokenizer
        longest = min(limits.max_context, context_window(model, tokenizer))
        self.limits = Limits(longest, limits.max_new_tokens)
        embeddings: Any = model.get_input_embeddings()
        self._vocabulary: int = embeddings.weight.shape[0]
        self.prompts = PromptEncoder(tokenizer, self._vocabulary, longest)
        self._ends = turn_end_ids(tokenizer, model)
        model.generation_config = _bare(model.generation_config)
        self._job: Job | None = None
        for module in _checkpoints(model):
            module.register_forward_pre_hook(self._check)

    def check(self, order: Order) -> None:
        """Return if an order is valid.

        Raises:
            RequestError: it exceeds a limit, or has tokens that are not in the vocabulary.
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
        """Generate the choices of one prompt.

        Args:
            ids: the prompt's tokens.
            order: the settings of the generation.
            first: the number of the first choice.
            job: the job of the request, whose `check` is called regularly.
            tell: receives every piece and every end.

        Raises:
            RequestError: prompt and reply exceed the context.
            Cancelled: the client no longer waits for it.
            Expired: the time limit was reached before the first token. Later, replies end with the reason `length`.
        """
        max_new_tokens = self._max_new_tokens(len(ids), order)

        def pieces(choice: int) -> Pieces:
            return Pieces(self._tokenizer, self._ends, order.stops, lambda text: tell(Piece(choice, text)))

        progress = _Progress(job, [pieces(first + row) for row in range(order.choices)], first, tell)
        inputs = torch.tensor([ids] * order.choices, device=self._model.device)
        settings: dict[str, Any] = {"max_new_tokens": max_new_tokens, "eos_token_id": self._ends or None}
        if isinstance(self._model, SimMIMForCausalLM):
            settings["prefill_chunk_size"] = max(1, _CHUNK // order.choices)
        generate: Any = self._model.generate  # PreTrainedModel does not declare it
        try:
            with self._checked(job):
                generate(
                    inputs,
                    attention_mask=torch.ones_like(inputs),
                    logits_processor=LogitsProcessorList([Sampler(order.sampling, order.choices, inputs.device)]),
                    stopping_criteria=StoppingCriteriaList([progress]),
                    **settings,
                )
        except Expired:
            if not progress.begun:
                raise
        progress.finish()

    def _max_new_tokens(self, prompt: int, order: Order) -> int:
        """Return the maximum number of tokens of a reply."""
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


class _Progress(StoppingCriteria):
    """Passes the tokens of each step on, and stops ``generate`` when all texts have ended."""

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
        """End the texts that a limit cut off."""
        for number, row in enumerate(self._rows, self._first):
            if row.reason is None:
                row.end("length")
                self._report(number, row)

    def _report(self, number: int, row: Pieces) -> None:
        if row.reason is not None:
            self._tell(Ended(number, row.reason, row.tokens))


def _bare(saved: GenerationConfig | None) -> GenerationConfig:
    """Return generation settings without saved ones that would override a request."""
    names = ("bos_token_id", "eos_token_id", "pad_token_id", "repetition_penalty", "no_repeat_ngram_size")
    found = {name: getattr(saved, name, None) for name in names}
    if found["pad_token_id"] is None:  # fills rows that have ended; it is never decoded
        found["pad_token_id"] = 0
    return GenerationConfig(do_sample=False, num_beams=1, use_cache=True, **found)


def _checkpoints(model: PreTrainedModel) -> Iterator[nn.Module]:
    """Yield the modules whose forward pass checks for cancellation: the model and its layers."""
    yield model
    for module in model.modules():
        if isinstance(module, nn.ModuleList):
            yield from module
