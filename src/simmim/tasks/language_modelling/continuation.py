"""Lets a causal language model continue a text."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from simmim.data.unicode import check_text
from simmim.errors import DataError
from simmim.tasks.context_window import check_window
from simmim.tasks.language_modelling.examples import encode_text
from simmim.tasks.streaming import TextStream

__all__ = ["Continuation", "continuations"]


@dataclass(frozen=True)
class Continuation:
    """Holds what a model wrote.

    Attributes:
        text: the continuation, without the prompt.
        prompt_tokens: tokens of the prompt, all of which the model read.
        new_tokens: tokens that it wrote.
        complete: whether the model ended the text itself, before the limit on new tokens.
        seed: of what was drawn at random; the same gives the same again.
        seconds: how long it took.
    """

    text: str
    prompt_tokens: int
    new_tokens: int
    complete: bool
    seed: int
    seconds: float


@torch.inference_mode()
def continuations(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    *,
    samples: int = 1,
    seed: int | None = None,
    write: Callable[[str], None] | None = None,
    **settings: Any,
) -> Iterator[Continuation]:
    """Continue a text.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer, a fast one.
        prompt: the text, read in full.
        samples: how many continuations.
        seed: of the first one, the next one has the next; None draws one.
        write: gets each piece of a continuation as it is written; None writes none.
        **settings: what `generate` of transformers takes.

    Yields:
        The continuations, each when it is done.

    Raises:
        DataError: the prompt is blank, or longer than the model's window.
        ConfigError: the tokenizer is no fast one, or has no start or end token.
    """
    if not prompt.strip():
        raise DataError("prompt: expected a text to continue, got a blank one")
    check_text("prompt", prompt)
    [ids] = encode_text(tokenizer, [prompt])
    needed = len(ids) - 1 + int(settings.get("max_new_tokens") or 1)
    check_window(model, tokenizer, needed, "shorten it; to ask about a long text: simmim ask FILE QUESTION")
    inputs = torch.tensor([ids[:-1]], device=model.device)
    generate: Any = model.generate  # PreTrainedModel does not declare it
    first = random.SystemRandom().randrange(2**31) if seed is None else seed
    for number in range(samples):
        pieces: list[str] = []

        def take(piece: str, pieces: list[str] = pieces) -> None:
            pieces.append(piece)
            if write is not None:
                write(piece)

        began = time.perf_counter()
        stream = TextStream(tokenizer, take)
        set_seed(first + number)
        generate(inputs, attention_mask=torch.ones_like(inputs), streamer=stream, **{"num_beams": 1, **settings})
        yield Continuation(
            text="".join(pieces),
            prompt_tokens=inputs.shape[1],
            new_tokens=len(stream.tokens),
            complete=stream.tokens[-1:] == [tokenizer.eos_token_id],
            seed=first + number,
            seconds=time.perf_counter() - began,
        )
