"""Makes a ready model of a task's name, as transformers does; quick to import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from simmim.errors import ConfigError

if TYPE_CHECKING:
    from simmim.tasks.summarization.pipeline import SummarizationPipeline
    from simmim.tasks.translation.pipeline import TranslationPipeline

__all__ = ["TASKS", "pipeline"]

TASKS = ("summarization", "translation")


def pipeline(
    task: str, model: str | Path | None = None, *, device: int | str | None = None, **settings: Any
) -> SummarizationPipeline | TranslationPipeline:
    """Load a model together with what turns text into its input and its output into text.

    Args:
        task: `summarization` or `translation`.
        model: the folder of a saved model, or the name of one on the Hugging Face hub; None takes the default
            model of the task.
        device: where to compute, such as `cpu` or `cuda:1`, or the number of an accelerator (-1 is the CPU); None takes
            the accelerator where there is one.
        **settings: for every call where the call does not say otherwise: `batch_size`, and whatever `generate` of
            transformers takes; of translation those of `simmim.tasks.translation.pipeline.TranslationPipeline`.

    Returns:
        A pipeline, to be called with a text or a list of texts.

    Raises:
        ConfigError: the task or the device is not known, or `config.json` holds a value that the model does not know.
        CheckpointError: the model is missing, incomplete or damaged, or cannot be fetched.
    """
    if task not in TASKS:
        raise ConfigError(f"task: expected one of {', '.join(TASKS)}; got {task!r}")
    # seconds to import: not before a pipeline is wanted
    if task == "translation":
        from simmim.tasks.translation.pipeline import TranslationPipeline

        return TranslationPipeline(model, device=_device_name(device), **settings)
    from simmim.models import pretrained_path
    from simmim.nn import lay_out_for_decoding
    from simmim.tasks.checkpoints import fetch_model, load_model
    from simmim.tasks.summarization.pipeline import SummarizationPipeline

    folder = pretrained_path() if model is None else Path(model)
    if isinstance(model, str) and not folder.exists():
        folder = fetch_model(model)
    network, tokenizer = load_model(folder, _device_name(device))
    parts: dict[str, Any] = {"model": lay_out_for_decoding(network), "tokenizer": tokenizer, "device": network.device}
    return SummarizationPipeline(task=task, **parts, **settings)


def _device_name(device: int | str | None) -> str | None:
    """Return the name of a numbered device."""
    if not isinstance(device, int):
        return device
    import torch

    accelerator = torch.accelerator.current_accelerator()
    return "cpu" if device < 0 or accelerator is None else f"{accelerator.type}:{device}"
