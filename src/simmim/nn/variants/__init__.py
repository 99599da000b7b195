"""Forms of attention and of its parts beside the default ones; importing registers them under their names."""

from simmim.nn.variants import broadcast, poolings, pyramid_states, segment_encoders

__all__ = ["broadcast", "poolings", "pyramid_states", "segment_encoders"]
