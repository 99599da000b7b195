"""Builds the corpora that translation is learnt from, and studies of it."""
