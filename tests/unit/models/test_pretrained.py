"""The model that comes with the package loads, is small enough to ship, and writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from simmim import CheckpointError, pretrained_path

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_shipped_model_is_small_bf16_safetensors_with_its_card_and_recipe() -> None:
    folder = pretrained_path()
    weights = folder / "model.safetensors"
    assert weights.stat().st_size <= 16_000_000
    assert {tensor.dtype for tensor in load_file(weights).values()} == {torch.bfloat16}
    names = {"README.md", "config.json", "recipe.yaml", "tokenizer.json", "versions.json"}
    assert names <= {path.name for path in folder.iterdir()}
    assert json.loads((folder / "config.json").read_text())["model_type"] == "simmim"


def test_shipped_model_names_what_it_reads_about() -> None:
    """Each of two held-out texts gets a summary with its own name and without the other's, in one batch."""
    tokenizer = AutoTokenizer.from_pretrained(pretrained_path())
    model = AutoModelForSeq2SeqLM.from_pretrained(pretrained_path(), dtype=torch.float32).eval()
    names = {"aptitude-doc-en": "aptitude", "python3-mistralclient": "Mistral"}
    texts = [(EXAMPLES / f"{file}.txt").read_text(encoding="utf-8") for file in names]
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    written = tokenizer.batch_decode(
        model.generate(**inputs, num_beams=4, max_new_tokens=32, do_sample=False), skip_special_tokens=True
    )
    found = [[name in summary for name in names.values()] for summary in written]
    assert found == [[True, False], [False, True]], written


def test_an_unknown_name_is_refused_with_what_there_is() -> None:
    with pytest.raises(CheckpointError, match="software-summaries"):
        pretrained_path("nothing")
