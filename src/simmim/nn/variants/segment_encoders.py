"""What an encoder layer does with its segments (``segment_encoder``): SMI attention, an LSTM, or a convolution.

Letters: B documents, N tokens, S segments of all documents together, L segment length, E model width.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from simmim.errors import ConfigError
from simmim.nn.registry import Registry
from simmim.nn.smi_attention import SMIAttention
from simmim.ops.layout import SegmentLayout

__all__ = ["SEGMENT_ENCODERS", "CNNEncoder", "LSTMEncoder", "SegmentEncoder"]


class SegmentEncoder(nn.Module):
    """Mixes the tokens of each segment. Subclass it and register the class in ``SEGMENT_ENCODERS``.

    A subclass defines ``encode`` on whole segments. Nothing crosses a segment's border: with such a layer only
    ``segment_shift`` and the pyramid connect segments.

    Args:
        hidden_size: E.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size

    def forward(self, hidden_states: Float[Tensor, "B N E"], *, layout: SegmentLayout) -> Float[Tensor, "B N E"]:
        """Return ``[B, N, E]``, zero at padding."""
        if not layout.segments:
            return torch.zeros_like(hidden_states)
        return layout.to_tokens(self.encode(layout.to_segments(hidden_states), layout))

    def encode(self, segments: Float[Tensor, "S L E"], layout: SegmentLayout) -> Float[Tensor, "S L E"]:
        """Return the encoded segments.

        Args:
            segments: ``[S, L, E]``, zero where ``layout.mask`` has no token.
            layout: says which slots hold tokens.
        """
        raise TypeError(f"{type(self).__name__} must define encode")


SEGMENT_ENCODERS: Registry[nn.Module] = Registry("segment_encoder")
SEGMENT_ENCODERS.register("smi")(SMIAttention)


@SEGMENT_ENCODERS.register("lstm")
class LSTMEncoder(SegmentEncoder):
    """A bidirectional LSTM over each segment (Hochreiter and Schmidhuber, 1997), E/2 channels a direction, then o_proj.

    Both directions begin anew in every segment. State-dict keys are torch's: ``lstm.weight_ih_l0`` and so on, and
    ``o_proj``. Cost: 14·E² FLOPs a token, L steps in turn; ``torch.compile`` breaks its graph here.

    Raises:
        ConfigError: the hidden size is odd.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        if hidden_size % 2:
            raise ConfigError(f"hidden_size: expected an even number for segment_encoder='lstm', got {hidden_size}")
        self.lstm = nn.LSTM(hidden_size, hidden_size // 2, bidirectional=True, batch_first=True)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def encode(self, segments: Float[Tensor, "S L E"], layout: SegmentLayout) -> Float[Tensor, "S L E"]:
        """Return o_proj([forward; backward])."""
        if torch.compiler.is_exporting():
            raise ConfigError("segment_encoder: expected 'smi' or 'cnn' for a model that is exported, got 'lstm'")
        # Tokens to the front: a shifted document's first segment has its empty slots before them.
        slots = torch.arange(segments.shape[1], device=segments.device)
        order = (slots + (~layout.mask) * slots.shape[0]).argsort(dim=1)
        front = segments.gather(1, order[..., None].expand_as(segments))
        lengths = layout.mask.sum(1).clamp(min=1)
        packed = nn.utils.rnn.pack_padded_sequence(front, lengths.cpu(), batch_first=True, enforce_sorted=False)
        encoded, _ = self.lstm(packed)
        front, _ = nn.utils.rnn.pad_packed_sequence(encoded, batch_first=True, total_length=slots.shape[0])
        back = front.gather(1, order.argsort(dim=1)[..., None].expand_as(front))
        out: Tensor = self.o_proj(back)
        return out


@SEGMENT_ENCODERS.register("cnn")
class CNNEncoder(SegmentEncoder):
    """A gated convolution over each segment (Dauphin et al., arXiv 1612.08083), then o_proj.

    o_proj(a ⊙ σ(b)) with [a; b] = conv(x), kernel 5, zeros beyond the segment's ends. Cost: 22·E² FLOPs a
    token.
    """

    KERNEL = 5

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.conv = nn.Conv1d(hidden_size, 2 * hidden_size, self.KERNEL, padding=self.KERNEL // 2)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def encode(self, segments: Float[Tensor, "S L E"], layout: SegmentLayout) -> Float[Tensor, "S L E"]:
        """Return o_proj(GLU(conv))."""
        gated = nn.functional.glu(self.conv(segments.transpose(1, 2)), dim=1).transpose(1, 2)
        out: Tensor = self.o_proj(gated)
        return out
