"""Tests that training settings which make no sense are refused by name before anything starts."""

import dataclasses
import importlib.util
import math
from pathlib import Path

import pytest

from simmim.errors import ConfigError
from simmim.train.ranges import _RANGES, _UNSET, check_ranges
from simmim.train.run_config import load_recipe
from simmim.train.trainer import train


@pytest.fixture(scope="module")
def path(tmp_path_factory, make_recipe):
    return make_recipe(tmp_path_factory.mktemp("ranges"))


@pytest.mark.parametrize("key", _RANGES)
@pytest.mark.parametrize("value", [-2, math.nan, math.inf, -math.inf, True, "1", 10**30, -0.5])
def test_a_number_out_of_range_is_refused(key, value):
    unbounded = {"learning_rate", "weight_decay", "adam_epsilon", "max_grad_norm", "neftune_noise_alpha"}
    if value == 10**30 and key in unbounded:
        check_ranges({key: value}, "training")
        return
    with pytest.raises(ConfigError, match=f"^training.{key}: expected a number of "):
        check_ranges({key: value}, "training")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            ("learning_rate", -1e-9),
            ("adam_beta1", 1),
            ("adam_beta2", 1.0),
            ("adam_epsilon", 0),
            ("num_train_epochs", 0),
        ),
        *(("label_smoothing_factor", 1), ("max_steps", 0), ("save_total_limit", 0), ("per_device_eval_batch_size", 0)),
        *(("gradient_accumulation_steps", 0), ("logging_steps", 0), ("save_steps", 0), ("eval_steps", 0)),
    ],
)
def test_the_ends_of_a_range_are_refused_where_they_are_open(path, key, value):
    for section in ("training", "pretraining.training"):
        if not (section.startswith("pre") and key == "eval_steps"):
            with pytest.raises(ConfigError, match=rf"{section}.{key}: expected (a number of|int)"):
                load_recipe(path, [f"{section}.{key}={value}"])


def test_what_a_setting_means_by_default_is_in_range(path):
    load_recipe(path, ["training.max_steps=-1", "training.warmup_steps=0.1", "training.save_total_limit=1"])


@pytest.mark.parametrize("key", _UNSET)
def test_what_a_run_cannot_do_is_refused(key):
    with pytest.raises(ConfigError, match=f"training.{key}: expected none, since"):
        check_ranges({key: "x"}, "training")


@pytest.mark.parametrize(
    "training",
    [
        {"torch_compile_backend": "nonsense"},
        {"torch_compile_mode": "nonsense"},
        {"log_level": "nonsense"},
        {"dataloader_multiprocessing_context": "nonsense"},
        {"gradient_checkpointing_kwargs": {"nonsense": 1}},
        {"gradient_checkpointing_kwargs": {"use_reentrant": 1}},
        {"activation_checkpointing_kwargs": {"determinism_check": "nonsense"}},
        {"activation_checkpointing_kwargs": "nonsense"},
    ],
)
def test_a_choice_that_is_none_is_refused(training):
    with pytest.raises(ConfigError, match=f"training.{next(iter(training))}"):
        check_ranges(training, "training")


@pytest.mark.parametrize(
    "training",
    [
        {"optim": "nonsense"},
        {"optim_args": "nonsense"},
        {"lr_scheduler_type": "cosine_with_min_lr"},
        {"lr_scheduler_type": "warmup_stable_decay"},
        {"lr_scheduler_kwargs": {"nonsense": 1}},
        {"report_to": "nonsense"},
        {"accelerator_config": {"nonsense": 1}},
        {"accelerator_config": "nonsense.json"},
        {"generation_config": "/nonsense"},
        {"debug": "nonsense"},
        {"dataloader_persistent_workers": True},
        {"dataloader_prefetch_factor": 2},
        {"hub_strategy": "nonsense"},
        {"ddp_backend": "nonsense"},
        {"push_to_hub": True},
    ],
    ids=str,
)
def test_what_cannot_be_built_is_named_and_leaves_no_run_behind(path, training):
    recipe = load_recipe(path)
    with pytest.raises(ConfigError, match=f"^training.{next(iter(training))}: "):
        train(dataclasses.replace(recipe, training=recipe.training | training))
    assert not Path(recipe.output_dir).exists()


@pytest.mark.parametrize(
    ("setting", "value", "package"),
    [("optim", "adamw_bnb_8bit", "bitsandbytes"), ("optim", "lomo", "lomo_optim"), ("report_to", "wandb", "wandb")],
)
def test_a_package_that_is_missing_is_named(path, setting, value, package):
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    recipe = load_recipe(path)
    with pytest.raises(ConfigError, match=f"^training.{setting}: .*{package}"):
        train(dataclasses.replace(recipe, training=recipe.training | {setting: value}))
    assert not Path(recipe.output_dir).exists()
