"""The card of a trained model: what it is, how it came about, and what it has learnt from."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData
from transformers import PreTrainedModel

from simmim.data.redistribution import data_notice

__all__ = ["model_card"]


def model_card(folder: Path, model: PreTrainedModel) -> str:
    """Return the card in Markdown, with the metadata that hubs read.

    Args:
        folder: where the model lies, with the records of its run.
        model: the model.
    """
    about = ModelCardData(
        library_name="transformers",
        pipeline_tag="summarization" if model.config.is_encoder_decoder else "text-generation",
        tags=["simmim", "long-documents"],
    )
    text = [
        f"# {type(model).__name__}",
        f"{model.num_parameters():,} parameters, trained by `simmim train` with the recipe in `recipe.yaml`; "
        "`resolved.yaml` has every setting, `versions.json` the versions of packages, `data.json` the data.",
        "## Learnt from",
        data_notice(folder),
        "## Scores",
        "Not measured yet: `simmim evaluate`.",
    ]
    return str(ModelCard(f"---\n{about.to_yaml()}\n---\n\n" + "\n\n".join(text) + "\n"))
