"""One document on several processes: segments are shared out, and states and neighbouring segments exchanged."""

from simmim.parallel.style import SegmentParallel, reduce_gradients

__all__ = ["SegmentParallel", "reduce_gradients"]
