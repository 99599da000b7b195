"""Tells how many tokens a model reads at most, and refuses texts that are longer."""

from __future__ import annotations

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from simmim.errors import DataError

__all__ = ["check_window", "context_window"]


def context_window(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the context length that model and tokenizer declare; a huge number where they declare none."""
    found = [getattr(model.config, "max_position_embeddings", None), tokenizer.model_max_length]
    return min((limit for limit in found if isinstance(limit, int) and limit > 0), default=1 << 62)


def check_window(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: int, remedy: str) -> None:
    """Raise if a text and what follows it do not fit the model's window, beyond which its output is noise.

    Raises:
        DataError: they do not; the message ends with the remedy.
    """
    window = context_window(model, tokenizer)
    if tokens > window:
        raise DataError(
            f"prompt: expected at most {window:,} tokens with the reply, which is the model's window, got {tokens:,}; "
            f"{remedy}"
        )
