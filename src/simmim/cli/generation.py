"""Where the commands find what writes summaries."""

from simmim.tasks.generation import Summary, summaries

__all__ = ["Summary", "summaries"]
