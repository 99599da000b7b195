"""Summaries that are made of a document's own sentences: nothing in them can be invented."""
