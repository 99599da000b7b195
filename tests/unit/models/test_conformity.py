"""Contract 9, at rest: every class saves, loads, copies, resizes and initialises itself as documented."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from simmim import (
    ConfigError,
    SimMIMConfig,
    SimMIMForCausalLM,
    SimMIMForConditionalGeneration,
    SimMIMForMaskedLM,
    SimMIMForSequenceClassification,
    SimMIMForTokenClassification,
    SimMIMModel,
)
from simmim.models.modeling_simmim import SimMIMPreTrainedModel
from support import MODELS, family_batch, family_model, fewest_layers, predicted, small_config, some_of_the_family

Head = type[SimMIMPreTrainedModel]
AUTO: dict[Head, Any] = {
    SimMIMModel: AutoModel,
    SimMIMForMaskedLM: AutoModelForMaskedLM,
    SimMIMForSequenceClassification: AutoModelForSequenceClassification,
    SimMIMForTokenClassification: AutoModelForTokenClassification,
    SimMIMForConditionalGeneration: AutoModelForSeq2SeqLM,
    SimMIMForCausalLM: AutoModelForCausalLM,
}
SPEAKING = (SimMIMForMaskedLM, SimMIMForConditionalGeneration, SimMIMForCausalLM)
"""The heads that have an output embedding."""


@pytest.fixture
def _quiet(caplog: pytest.LogCaptureFixture) -> Any:
    """Fail where transformers logs a warning."""
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    yield
    logger.removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.contract
@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize(
    ("head", "variant", "shard"),
    [*((*pair, "50GB") for pair in some_of_the_family()), *((head, "default", "8KB") for head in MODELS)],
)
def test_saved_models_come_back_to_the_last_bit(head: Head, variant: str, shard: str, tmp_path: Path) -> None:
    model = family_model(head, variant, torch.float32, **fewest_layers(variant))
    expected = predicted(model(**family_batch(head)))
    model.save_pretrained(tmp_path, max_shard_size=shard)
    weights = [file.name for file in tmp_path.iterdir() if file.suffix == ".safetensors"]
    assert (len(weights) > 1) == (shard == "8KB")
    others = {file.name for file in tmp_path.iterdir()} - set(weights)
    assert others <= {"config.json", "generation_config.json", "model.safetensors.index.json", "simmim_auto.py"}
    for loader in (head, AUTO[head]):
        again, report = loader.from_pretrained(tmp_path, output_loading_info=True)
        assert type(again) is head
        assert not again.training
        assert not any(report.values())
        assert again.config.to_diff_dict().keys() == model.config.to_diff_dict().keys()
        assert {name: getattr(again.config, name) for name in ALTERED} == {
            name: getattr(model.config, name) for name in ALTERED
        }
        # A copy, as memory that is mapped from a file is aligned otherwise, which moves the last bit.
        assert torch.equal(predicted(copy.deepcopy(again)(**family_batch(head))), expected)


IN_A_NEW_PROCESS = """
import copy, sys, torch, transformers, simmim
from pathlib import Path
for folder in Path(sys.argv[1]).iterdir():
    case = torch.load(folder / "case.pt")
    output = copy.deepcopy(getattr(transformers, case["auto"]).from_pretrained(folder))(**case["batch"])
    found = output.logits if "logits" in output else output.last_hidden_state
    assert torch.equal(found, case["expected"]), folder.name
    print(folder.name)
"""


@pytest.mark.slow
@pytest.mark.contract
def test_saved_models_come_back_in_a_new_process(tmp_path: Path) -> None:
    for head in MODELS:
        model, batch = family_model(head, dtype=torch.float32), family_batch(head)
        model.save_pretrained(tmp_path / head.__name__)
        case = {"auto": AUTO[head].__name__, "batch": batch, "expected": predicted(model(**batch)).detach()}
        torch.save(case, tmp_path / head.__name__ / "case.pt")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "error", "-c", IN_A_NEW_PROCESS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == sorted(head.__name__ for head in MODELS)


ALTERED: dict[str, Any] = {
    **{"vocab_size": 60, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_decoder_layers": 1},
    **{"num_attention_heads": 3, "segment_length": 16, "state_pooling": "last", "state_read": "gated_broadcast"},
    **{"state_null": True, "neighbours": 0, "segment_shift": 5, "state_reach": "pyramid", "segment_encoder": "cnn"},
    **{"rotary": False, "rope_theta": 500.0, "aggregator": "attention", "memory": "two_level", "memory_top_k": 3},
    **{"copy_head": True, "dropout": 0.25, "norm_eps": 1e-5, "initializer_range": 0.1, "is_encoder_decoder": True},
    **{"use_cache": False, "tie_word_embeddings": False, "pad_token_id": 5, "bos_token_id": 6},
    **{"eos_token_id": [7, 8], "decoder_start_token_id": 9, "scale_embedding": False},
    **{"state_weight": "shared", "partial_rotary_factor": 0.25, "training_length": 4096},
    "tie_state_projections": False,
}
"""Of every setting a value that is not its default."""


def test_every_setting_is_kept(tmp_path: Path) -> None:
    assert set(ALTERED) == set(SimMIMConfig.__annotations__), "a new setting needs a value here"
    assert [name for name, value in ALTERED.items() if getattr(SimMIMConfig(), name) == value] == []
    config = SimMIMConfig(**ALTERED)
    config.save_pretrained(tmp_path)
    for again in (
        SimMIMConfig.from_pretrained(tmp_path),
        AutoConfig.from_pretrained(tmp_path),
        SimMIMConfig.from_dict(config.to_dict()),
        pickle.loads(pickle.dumps(config)),
        copy.deepcopy(config),
    ):
        assert type(again) is SimMIMConfig
        assert {name: getattr(again, name) for name in ALTERED} == ALTERED
        assert again.to_diff_dict().keys() == config.to_diff_dict().keys()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state_reach": "near"}, "state_reach: expected one of all, pyramid; got 'near'"),
        ({"segment_encoder": "gru"}, "segment_encoder: expected one of cnn, lstm, smi; got 'gru'"),
        ({"memory": "all"}, "memory: expected one of pyramid, tokens, two_level; got 'all'"),
        ({"memory_top_k": 0}, "memory_top_k: expected a whole number of 1 or more, got 0"),
        ({"num_hidden_layers": -1}, "num_hidden_layers: expected a whole number from 0 to 10,000, got -1"),
        ({"num_decoder_layers": 2**31}, "num_decoder_layers: expected a whole number from 0 to 10,000, got 2147483648"),
        ({"segment_shift": -1}, "segment_shift: expected a whole number of 0 or more, got -1"),
        ({"hidden_size": 15, "num_attention_heads": 1, "rotary": False, "segment_encoder": "lstm"}, "an even number"),
        ({"norm_eps": -1e-6}, "norm_eps: expected a number above 0, got -1e-06"),
        ({"initializer_range": 0.0}, "initializer_range: expected a number above 0, got 0.0"),
        ({"rope_theta": 0}, "rope_theta: expected a number above 0, got 0"),
        ({"partial_rotary_factor": 2}, "partial_rotary_factor: expected a share from 0 to 1, got 2"),
        ({"state_weight": "all"}, "state_weight: expected one of each, shared, got 'all'"),
        ({"training_length": 0}, "training_length: expected a whole number of 1 or more, or None, got 0"),
        ({"state_null": "yes"}, "state_null: expected True or False, got 'yes'"),
        ({"tie_state_projections": 1}, "tie_state_projections: expected True or False, got 1"),
        ({"copy_head": 2}, "copy_head: expected True, False or None, got 2"),
        ({"state_poling": "mean"}, "state_poling: expected a setting of SimMIMConfig; did you mean state_pooling?"),
        ({"num_decoder_layer": 3}, "num_decoder_layer: .* did you mean num_decoder_layers?"),
    ],
)
def test_nonsense_is_refused_with_what_is_allowed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small_config(**changes)


def test_attributes_of_ones_own_are_kept_as_transformers_keeps_them(tmp_path: Path) -> None:
    small_config(corpus="speeches").save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).corpus == "speeches"
    assert small_config(decoder_layers=3).num_decoder_layers == 3  # another name, by transformers' attribute_map


@pytest.mark.parametrize("head", MODELS)
def test_a_loaded_model_refuses_changes_that_are_nonsense(head: Head, tmp_path: Path) -> None:
    family_model(head).save_pretrained(tmp_path)
    for changes in ({"state_reach": "near"}, {"neighbours": 3}, {"dropout": 2.0}):
        with pytest.raises(ConfigError, match=f"{next(iter(changes))}: expected"):
            head.from_pretrained(tmp_path, **changes)


@pytest.mark.parametrize(
    ("setting", "before"),
    [("scale_embedding", False), ("partial_rotary_factor", 1.0), ("tie_state_projections", False)],
)
def test_a_model_from_before_a_setting_is_read_as_it_was(tmp_path: Path, setting: str, before: object) -> None:
    model, batch = family_model(SimMIMForCausalLM, **{setting: before}), family_batch(SimMIMForCausalLM)
    model.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    entries = json.loads(file.read_text())
    assert entries.pop(setting) == before
    file.write_text(json.dumps(entries))
    again = SimMIMForCausalLM.from_pretrained(tmp_path)
    assert getattr(again.config, setting) == before
    torch.testing.assert_close(predicted(again(**batch)), predicted(model(**batch)))
    assert getattr(SimMIMConfig.from_dict({"hidden_size": 32}), setting) != before


@pytest.mark.parametrize("flag", [False, True])
def test_models_of_one_configuration_do_not_disturb_it_or_each_other(flag: bool) -> None:
    config = small_config(is_encoder_decoder=flag)
    summariser, speaker = SimMIMForConditionalGeneration(config), SimMIMForCausalLM(config)
    assert config.is_encoder_decoder is flag
    ids = torch.randint(4, 50, (1, 12))
    assert summariser.generate(ids, max_new_tokens=3, eos_token_id=None).shape == (1, 4)
    assert speaker.generate(ids, max_new_tokens=3, eos_token_id=None).shape == (1, 15)


def embeddings_of(model: nn.Module) -> dict[str, Tensor]:
    """Return every matrix with a row for each token of the vocabulary."""
    names = ("embed_tokens.weight", "lm_head.weight")
    return {name: weight for name, weight in model.named_parameters(remove_duplicate=False) if name.endswith(names)}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("head", MODELS)
def test_a_resized_vocabulary_keeps_its_rows_and_its_tying(head: Head, tied: bool, tmp_path: Path) -> None:
    # How far a copy head raises a logit depends on those of all words that there are.
    model, batch = family_model(head, tie_word_embeddings=tied, copy_head=False), family_batch(head)
    batch["input_ids"] = batch["input_ids"] % 40
    if head in SPEAKING:
        batch["labels"] = batch["labels"].where(batch["labels"] < 0, batch["labels"] % 40)
    before = {name: weight.detach().clone() for name, weight in embeddings_of(model).items()}
    expected = predicted(model(**batch))[..., :40]
    for size in (57, 40):
        model.resize_token_embeddings(size)
        after = embeddings_of(model)
        assert after.keys() == before.keys()
        assert len({id(weight) for weight in after.values()}) == (1 if tied else len(before))
        for name, weight in after.items():
            assert weight.shape == (size, 16)
            assert torch.equal(weight[:40], before[name][:40])
        assert model.config.vocab_size == model.get_input_embeddings().num_embeddings == size
        assert all(m.num_embeddings == size for m in model.modules() if isinstance(m, nn.Embedding))
        torch.testing.assert_close(predicted(model(**batch))[..., :40], expected)
        model.save_pretrained(tmp_path / str(size))
        again = head.from_pretrained(tmp_path / str(size))
        torch.testing.assert_close(predicted(again(**batch)), predicted(model(**batch)))


@pytest.mark.parametrize("head", MODELS)
def test_embeddings_can_be_read_and_replaced(head: Head) -> None:
    model, batch = family_model(head), family_batch(head)
    output = model.get_output_embeddings()
    assert output is (model.lm_head if head in SPEAKING else None)
    old = model.get_input_embeddings()
    assert isinstance(old, nn.Embedding)
    new = nn.Embedding(50, 16).double()
    expected = predicted(model(**batch))
    model.set_input_embeddings(new)
    assert model.get_input_embeddings() is new
    assert not torch.allclose(predicted(model(**batch)), expected)
    model.set_input_embeddings(old)
    torch.testing.assert_close(predicted(model(**batch)), expected, rtol=0, atol=0)
    if head in SPEAKING:
        head_of_its_own = nn.Linear(16, 50, bias=False).double()
        model.set_output_embeddings(head_of_its_own)
        assert model.get_output_embeddings() is head_of_its_own


@pytest.mark.parametrize("head", MODELS)
def test_from_config_builds_the_class_in_the_dtype_that_is_asked_for(head: Head) -> None:
    model = AUTO[head].from_config(small_config(num_labels=4), dtype=torch.bfloat16)
    assert type(model) is head
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize(("head", "variant"), some_of_the_family())
def test_copies_and_casts_are_models_of_their_own(head: Head, variant: str) -> None:
    model, batch = family_model(head, variant, torch.float32, **fewest_layers(variant)), family_batch(head)
    expected = predicted(model(**batch))
    twin = copy.deepcopy(model)
    assert torch.equal(predicted(twin(**batch)), expected)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.zero_()
    assert torch.equal(predicted(model(**batch)), expected)
    exact = predicted(copy.deepcopy(model).to(torch.float64)(**batch))
    assert exact.dtype == torch.float64
    torch.testing.assert_close(expected.double(), exact, rtol=1e-3, atol=1e-3)
    assert model.train().training
    assert all(not module.training for module in model.eval().modules())
