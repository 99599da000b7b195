"""Recipes: damaged YAML and invalid settings."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random
from typing import Any

import yaml

from lab.fuzz.cases import Verdict
from lab.fuzz.commands import judge, run
from lab.fuzz.good import recipe
from lab.fuzz.mutations import damage_bytes, mutate_json, odd_value

__all__ = ["recipes"]

_SCALARS = (
    *("2024-13-45", "0x_", "1_2", "!!python/object/apply:os.system ['touch executed']", ".inf", ".nan", "~", "*a"),
    *("!!binary x", "!!float x", "!!int ''", "&a [*a]", "<<: 1", "0b", "0o9", "1e999", "'", "[", "{a: ", "- - -"),
    *("2024-01-01", "12:30:99", "!!timestamp x", "!!set {a}", "on", "\x00", "\ud83d", "? [a]", "%YAML 9", "|+", "@"),
)
_TRAINING = (
    *("learning_rate", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "warmup_steps"),
    *("num_train_epochs", "max_steps", "optim", "lr_scheduler_type", "report_to", "deepspeed", "fsdp", "bf16", "fp16"),
    *(
        "gradient_accumulation_steps",
        "per_device_train_batch_size",
        "save_steps",
        "eval_steps",
        "label_smoothing_factor",
    ),
    *("torch_compile_backend", "accelerator_config", "gradient_checkpointing_kwargs", "seed", "dataloader_num_workers"),
    *("save_total_limit", "logging_steps", "eval_strategy", "save_strategy", "neftune_noise_alpha", "nothing_such"),
)
_WORDS = (
    *("adamw_bnb_8bit", "wandb", "full_shard", "nonsense", "no", "epoch", "steps", "cosine", "adafactor", "sgd"),
    *(
        "none",
        "all",
        "tensorboard",
        "galore_adamw",
        "lomo",
        "apollo_adamw",
        "schedule_free_adamw",
        "1e-3",
        "polynomial",
    ),
)


def recipes(rng: Random, good: Path, workdir: Path) -> Verdict:
    """Train from a changed recipe, for one step if it is still valid."""
    for split in ("train", "validation"):
        shutil.copyfile(good / f"{split}.jsonl", workdir / f"{split}.jsonl")
    entries = recipe(workdir)
    entries["training"] = entries["training"] | {"max_steps": 1}
    path, overrides = workdir / "recipe.yaml", []
    action = rng.random()
    if action < 0.35:
        entries = _of_few_layers(mutate_json(rng, entries, rng.choice((1, 1, 2))))
        path.write_bytes(_dump(entries))
    elif action < 0.65:
        value: Any = rng.choice(_WORDS) if rng.random() < 0.5 else odd_value(rng)
        entries["training"][rng.choice(_TRAINING)] = value
        path.write_bytes(_dump(entries))
    elif action < 0.85:
        lines = yaml.safe_dump(entries).splitlines()
        at = rng.randrange(len(lines))
        lines[at] = f"{lines[at].partition(':')[0]}: {rng.choice(_SCALARS)}"
        path.write_bytes("\n".join(lines).encode("utf-8", errors="surrogatepass"))
    else:
        path.write_bytes(damage_bytes(rng, _dump(entries)))
        if rng.random() < 0.5:
            path.write_bytes(_dump(entries))
            scalar = rng.choice(_SCALARS).replace("\0", "")
            overrides = ["--set", f"{rng.choice(('training.learning_rate', 'model.hidden_size', 'seed'))}={scalar}"]
    limited = [] if overrides else ["--set", "training.max_steps=1"]  # a changed recipe may ask for a billion steps
    return judge(run(workdir, "train", path, *overrides, *limited))


def _of_few_layers(entries: Any) -> Any:
    """Leave out models of many layers: each may be built, and a step of all of them takes its time."""
    model: Any = entries.get("model") if isinstance(entries, dict) else None
    for key, value in list(model.items()) if isinstance(model, dict) else ():
        if "layers" in str(key) and isinstance(value, int) and 20 < value <= 10_000:
            model[key] = 20
    return entries


def _dump(entries: Any) -> bytes:
    try:
        return yaml.safe_dump(entries, allow_unicode=True).encode("utf-8", errors="surrogatepass")
    except RecursionError:
        return b"a: " + b"[" * 20_000 + b"]" * 20_000
