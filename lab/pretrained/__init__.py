"""Small models that this project trained from nothing, beside their recipes and cards; no part of the wheel."""

from pathlib import Path

__all__ = ["LANGUAGE_MODEL"]

LANGUAGE_MODEL = Path(__file__).parent / "manuals-and-plays"
"""The folder of the causal model, which `configs/manuals-and-plays.yaml` trained."""
