"""Keys and values of a segment as bytes: bfloat16, or int8 with a scale for every channel."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Precision", "Record", "Rows"]

Precision = Literal["bfloat16", "int8"]
_CHECK = 4
_HALF = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Rows:
    """The layout of vectors in a file: for each a scale in float16 and its numbers in int8.

    Attributes:
        width: E, numbers of a vector.
    """

    width: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the type of a row in numpy."""
        return np.dtype([("scale", "<f2"), ("numbers", "i1", (self.width,))])

    @property
    def nbytes(self) -> int:
        """Return the bytes of a vector."""
        return self.dtype.itemsize

    def encode(self, vectors: np.ndarray) -> bytes:
        """Return vectors, [n, E], as they stand in the file. A number moves by half a step, 1/254 of the largest."""
        found = np.zeros(len(vectors), self.dtype)
        scale = np.abs(vectors).max(1, initial=0) / 127
        # rounded up, so that the largest number is not cut
        found["scale"] = np.minimum(scale * (1 + 2.0**-11) + 2.0**-25, _HALF)
        steps = vectors / np.maximum(found["scale"].astype(np.float32), 2.0**-24)[:, None]
        with np.errstate(invalid="ignore"):  # numbers that are none have a scale that is none
            found["numbers"] = np.clip(np.rint(steps), -127, 127)
        return found.tobytes()

    def decode(self, content: np.ndarray) -> np.ndarray:
        """Return vectors of an array of `dtype`, float32, [n, E]."""
        return content["numbers"] * content["scale"].astype(np.float32)[:, None]


@dataclass(frozen=True)
class Record:
    """The layout of one segment in a file: keys and values of all layers, `[layers, 2, G, L, D]`, and a CRC-32.

    Segments are records of one size, so that a chosen one is read in one piece and a new one is appended.

    Attributes:
        layers: of the model.
        heads: G, heads of keys and values.
        segment: L, tokens.
        width: D, channels of a head.
        precision: of a number. int8 is scaled by the largest of a channel's L tokens: keys have few channels that are
            far larger than the others (KIVI, arXiv 2402.02750, section 3).
    """

    layers: int
    heads: int
    segment: int
    width: int
    precision: Precision

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Return the shape of a segment's keys and values."""
        return self.layers, 2, self.heads, self.segment, self.width

    @property
    def scale_bytes(self) -> int:
        """Return the bytes of the scales, which stand before the numbers."""
        return 2 * self.layers * 2 * self.heads * self.width if self.precision == "int8" else 0

    @property
    def nbytes(self) -> int:
        """Return the bytes of a segment."""
        numbers = self.layers * 2 * self.heads * self.segment * self.width
        return self.scale_bytes + numbers * (1 if self.precision == "int8" else 2) + _CHECK

    def encode(self, values: Float[Tensor, "layers 2 G L D"]) -> bytes:
        """Return a segment as it stands in the file."""
        content = self._encode(values.detach().cpu())
        return content + zlib.crc32(content).to_bytes(_CHECK, "little")

    def _encode(self, values: Float[Tensor, "layers 2 G L D"]) -> bytes:
        if self.precision == "bfloat16":
            return values.to(torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes()
        values = values.float()
        # rounded up, so that the largest number is not cut; half precision ends at 65504
        scale = values.abs().amax(-2, keepdim=True) / 127
        scale = (scale * (1 + 2.0**-11) + 2.0**-25).clamp(max=65504).half()
        numbers = (values / scale.float().clamp(min=2.0**-24)).round().clamp(-127, 127).to(torch.int8)
        return scale.numpy().tobytes() + numbers.contiguous().numpy().tobytes()

    def intact(self, content: np.ndarray) -> bool:
        """Tell whether a record, `nbytes` of uint8, is as it was written."""
        return zlib.crc32(content[:-_CHECK].tobytes()) == int.from_bytes(content[-_CHECK:].tobytes(), "little")

    def decode(self, content: np.ndarray, dtype: torch.dtype) -> Float[Tensor, "layers 2 G L D"]:
        """Return the keys and values of a record, `nbytes` of uint8."""
        content = content[:-_CHECK]
        if self.precision == "bfloat16":
            whole = torch.from_numpy(content.copy()).view(torch.bfloat16)
            return whole.view(self.shape).to(dtype)
        head = torch.from_numpy(content[: self.scale_bytes].copy()).view(torch.float16).float()
        body = torch.from_numpy(content[self.scale_bytes :].copy()).view(torch.int8)
        scale = head.view(self.layers, 2, self.heads, 1, self.width)
        return (body.view(self.shape) * scale).to(dtype)
