"""The token embedding, which may be scaled so that what a token is stands out from what the first layers add."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from simmim.errors import ShapeError

__all__ = ["TokenEmbedding"]


class TokenEmbedding(nn.Embedding):
    """Look up vectors, times a factor: √E in Vaswani et al. (arXiv 1706.03762, §3.4), where head and embedding are one.

    Args:
        vocab_size: V.
        hidden_size: E.
        scale: the factor.
    """

    def __init__(self, vocab_size: int, hidden_size: int, scale: float = 1.0) -> None:
        super().__init__(vocab_size, hidden_size)
        self.scale = scale

    def forward(self, input: Int[Tensor, "*B"]) -> Float[Tensor, "*B E"]:
        """Return the scaled vectors of ids.

        Raises:
            ShapeError: ids are no whole numbers or, on a CPU, not among those of the vocabulary. An accelerator would
                have to wait for the check; it fails on its own.
        """
        if input.dtype not in (torch.int64, torch.int32):
            raise ShapeError(
                f"input_ids: expected whole numbers (torch.long), got {input.dtype}; give the ids that the tokenizer "
                "makes of a text, or vectors as inputs_embeds"
            )
        if torch.compiler.is_compiling() or torch.compiler.is_exporting():  # a graph must not depend on values
            found: Tensor = super().forward(input)
        else:
            try:
                found = super().forward(input)
            except IndexError as error:
                raise self._explain(input) from error
        return found if self.scale == 1 else found * self.scale

    def _explain(self, input: Tensor) -> ShapeError:
        """Return the error of ids that are not in the vocabulary; only there do values have to be looked at."""
        size = self.weight.shape[0]
        wrong = input[(input < 0) | (input >= size)]
        return ShapeError(
            f"input_ids: expected ids from 0 to {size - 1} (the vocabulary has {size} tokens), got {int(wrong[0])}; "
            "encode texts with the tokenizer that belongs to the model, and after adding tokens to it call "
            "model.resize_token_embeddings(len(tokenizer))"
        )

    def extra_repr(self) -> str:
        """Say the factor, too."""
        return f"{super().extra_repr()}, scale={self.scale:g}"
