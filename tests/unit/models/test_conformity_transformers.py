"""Contract 9, to transformers: auto classes, pipelines, wrapping and shards get what they look for, or are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    FeatureExtractionPipeline,
    PreTrainedTokenizerFast,
)
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.trainer_pt_utils import get_module_class_from_name

from lab.pretrained import LANGUAGE_MODEL
from simmim import (
    CheckpointError,
    ShapeError,
    SimMIMForCausalLM,
    SimMIMForConditionalGeneration,
    SimMIMForSequenceClassification,
    SimMIMModel,
)
from simmim.data.tokenizer import train_tokenizer
from simmim.models import pretrained_path
from simmim.models.modeling_simmim import SimMIMPreTrainedModel
from support import MODELS, family_batch, family_model, one_of, predicted

Head = type[SimMIMPreTrainedModel]
AUTO: dict[Head, Any] = dict(
    zip(
        MODELS,
        (
            *(AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoModelForTokenClassification),
            *(AutoModelForSeq2SeqLM, AutoModelForCausalLM),
        ),
        strict=True,
    )
)
MAY_BE_MADE_OF: dict[Head, tuple[Head, ...]] = {
    **dict.fromkeys(MODELS[:4], MODELS[:5]),
    SimMIMForConditionalGeneration: (SimMIMForConditionalGeneration,),
    SimMIMForCausalLM: (SimMIMForCausalLM,),
}
"""Of each class, those whose checkpoints hold its layers."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    for head in MODELS:
        family_model(head, dtype=torch.float32).save_pretrained(folder / head.__name__)
    return folder


@pytest.mark.parametrize(
    ("head", "source", "named"),
    # With its class's name or without in turn; both where the names of the layers are alike.
    [
        *((head, source, (i + j) % 2 == 0) for i, head in enumerate(MODELS) for j, source in enumerate(MODELS)),
        (SimMIMForCausalLM, SimMIMForConditionalGeneration, True),
        (SimMIMForConditionalGeneration, SimMIMForCausalLM, True),
        *((SimMIMForCausalLM, source, True) for source in (SimMIMModel, SimMIMForSequenceClassification)),
    ],
)
def test_no_layer_is_ever_random(head: Head, source: Head, named: bool, saved: Path, tmp_path: Path) -> None:
    """A checkpoint of another class gives its encoder, or is refused, whether or not it says what it is of."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in (saved / source.__name__).iterdir():
        (folder / file.name).hardlink_to(file)
    if not named:
        entries = json.loads((folder / "config.json").read_text())
        del entries["architectures"]
        (folder / "config.json").unlink()
        (folder / "config.json").write_text(json.dumps(entries))
    if source in MAY_BE_MADE_OF[head]:
        model = AUTO[head].from_pretrained(folder)
        held = source.from_pretrained(saved / source.__name__)
        layers = {name: weight for name, weight in model.state_dict().items() if "layers." in name}
        theirs = held.state_dict()
        for name, weight in layers.items():
            other = next(other for other in theirs if f"encoder.{other}".endswith(name) or name.endswith(other))
            assert torch.equal(weight, theirs[other])
    elif named or (head, source) != (SimMIMForCausalLM, SimMIMForConditionalGeneration):
        if not named and head is SimMIMForCausalLM:
            return  # an encoder's layers have the same names: nothing is random, and nothing says what they are
        with pytest.raises(CheckpointError, match=f"expected a checkpoint of {head.__name__}"):
            AUTO[head].from_pretrained(folder)


@pytest.mark.parametrize("head", MODELS)
def test_blocks_that_are_not_split_are_there_and_can_be_computed_again(head: Head) -> None:
    model = family_model(head)
    assert head._no_split_modules
    for name in head._no_split_modules:
        found = get_module_class_from_name(model, name)
        assert found is not None, f"{head.__name__} has no {name}"
        assert issubclass(found, GradientCheckpointingLayer)
    assert set(head._no_split_modules) == set(model._no_split_modules)


@pytest.mark.parametrize("head", MODELS)
def test_what_evaluation_gathers_is_predictions(head: Head) -> None:
    """The Trainer concatenates every output that is not ignored: tensors with a row for each document."""
    model, batch = family_model(head), family_batch(head)
    attentive = {"output_attentions": True, "output_hidden_states": False}
    output = model(**batch, use_cache=True) if head is SimMIMForConditionalGeneration else model(**batch)
    ignored = {"loss", *model.config.keys_to_ignore_at_inference}
    for outputs in (output, model(**batch, **attentive)):
        left = {name: value for name, value in outputs.items() if name not in ignored}
        kinds = (torch.Tensor, tuple)
        assert all(isinstance(value, kinds) for value in left.values()), left.keys()
        assert not any("encoder" in name for name in left if "decoder" not in name)


def test_the_feature_extraction_pipeline_takes_batches() -> None:
    tokenizer = train_tokenizer(["a user asks the assistant about the system"] * 3, 280)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    model = family_model(SimMIMModel, dtype=torch.float32, vocab_size=len(tokenizer))
    extract = FeatureExtractionPipeline(model=model, tokenizer=tokenizer)
    texts = ["a user asks", "the system", "about the assistant and the user and the system", "a"]
    alone = [torch.tensor(extract(text)) for text in texts]
    for text, found in zip(alone, extract(texts, batch_size=3), strict=True):
        torch.testing.assert_close(torch.tensor(found)[:, : text.shape[1]], text)


def test_a_pyramid_is_a_sequence_of_documents_and_a_pytree() -> None:
    model, batch = family_model(SimMIMModel), family_batch(SimMIMModel)
    pyramid = model(**batch).pyramid
    assert len(pyramid) == len(list(pyramid)) == 4
    for row, mine in enumerate(pyramid):
        alone = model(**one_of(batch, row)).pyramid
        assert [level.counts.tolist() for level in mine.levels] == [level.counts.tolist() for level in alone.levels]
        torch.testing.assert_close(mine.pooled, alone.pooled)
        for level, other in zip(mine.levels, alone.levels, strict=True):
            torch.testing.assert_close(level.nodes[:, : other.nodes.shape[1]], other.nodes)
    assert torch.equal(pyramid[1:3].pooled, pyramid.pooled[1:3])
    assert torch.equal(pyramid[-1].pooled, pyramid.pooled[3:])
    with pytest.raises(IndexError):
        pyramid[4]
    leaves, structure = pytree.tree_flatten(pyramid)
    assert sum(isinstance(leaf, torch.Tensor) for leaf in leaves) == 3 + 3 * len(pyramid.levels)
    assert torch.equal(pytree.tree_unflatten(leaves, structure).pooled, pyramid.pooled)


@pytest.mark.parametrize("padded", [False, True])
def test_labels_that_were_moved_before_are_taken_as_they_are(padded: bool) -> None:
    model, batch = family_model(SimMIMForCausalLM), family_batch(SimMIMForCausalLM)
    mask = batch["attention_mask"] if padded else torch.ones_like(batch["attention_mask"])
    ids, labels = batch["input_ids"], batch["labels"] if padded else batch["input_ids"]
    moved = torch.nn.functional.pad(labels, (0, 1), value=-100)[:, 1:]
    call = {"input_ids": ids, "attention_mask": mask}
    expected = model(**call, labels=labels).loss
    for others in ({}, {"labels": labels}, {"labels": torch.zeros_like(labels)}):
        assert torch.equal(model(**call, shift_labels=moved, **others).loss, expected)
    summed = model(**call, shift_labels=moved, num_items_in_batch=7).loss
    wanted = model(**call, labels=labels, num_items_in_batch=7).loss
    assert torch.equal(summed, wanted)
    # of a shard, the last token is asked for as well
    shard = model(input_ids=ids[:, :20], shift_labels=ids[:, 1:21])
    by_hand = torch.nn.functional.cross_entropy(predicted(shard).flatten(0, 1).float(), ids[:, 1:21].flatten())
    torch.testing.assert_close(shard.loss, by_hand)
    with pytest.raises(ShapeError, match="shift_labels: expected one for each prediction"):
        model(**call, shift_labels=moved[:, 1:])


IN_A_NEW_PROCESS = """
import sys, torch, transformers
for auto, folder in zip(sys.argv[1::2], sys.argv[2::2]):
    assert auto == sys.argv[1] or "simmim" in sys.modules
    model = getattr(transformers, auto).from_pretrained(folder, trust_remote_code=True)
    assert type(model).__module__.startswith("simmim.models."), type(model)
    print(type(model).__name__)
"""


@pytest.mark.slow
@pytest.mark.contract
def test_saved_models_load_where_simmim_was_not_imported(saved: Path, tmp_path: Path) -> None:
    """Every class as the first one that a process loads, and the shipped models."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HF_MODULES_CACHE": str(tmp_path)}
    pairs = [(head, saved / head.__name__) for head in MODELS]
    pairs += [
        (SimMIMForConditionalGeneration, pretrained_path()),
        (SimMIMForCausalLM, LANGUAGE_MODEL),
    ]
    for head, folder in pairs:
        command = [sys.executable, "-c", IN_A_NEW_PROCESS, AUTO[head].__name__, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, input="", check=False)
        assert done.stdout.split() == [head.__name__], done.stderr


@pytest.mark.parametrize("head", MODELS)
@pytest.mark.parametrize("trusted", [None, False, True])
def test_where_simmim_is_imported_nobody_is_asked(
    head: Head, trusted: bool | None, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*_: Any) -> str:
        raise AssertionError("asked on the terminal")

    monkeypatch.setattr("builtins.input", ask)
    more = {} if trusted is None else {"trust_remote_code": trusted}
    config = AutoConfig.from_pretrained(saved / head.__name__, **more)
    assert not hasattr(config, "auto_map")
    model = AUTO[head].from_pretrained(saved / head.__name__, **more)
    assert type(model) is head
    model.save_pretrained(tmp_path)
    names = [file.name for file in tmp_path.glob("*.py")]
    assert names == ["simmim_auto.py"]
    assert all(
        name.startswith("simmim_auto.")
        for name in json.loads((tmp_path / "config.json").read_text())["auto_map"].values()
    )
