"""Pretrained models that read documents of any length: local attention, an index of segments, files on disk."""
