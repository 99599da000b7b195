"""Turns the options that say how the next token is chosen into the words of transformers."""

from __future__ import annotations

from typing import Any

__all__ = ["sampling_settings"]


def sampling_settings(temperature: float, top_k: int, top_p: float) -> dict[str, Any]:
    """Return what `generate` takes; without a temperature the likeliest token is always chosen."""
    if temperature == 0:
        return {"do_sample": False}
    return {"do_sample": True, "temperature": temperature, "top_k": top_k, "top_p": top_p}
