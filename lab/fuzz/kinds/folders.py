"""Model folders: damaged or invalid settings, templates, tokenizers and weights, and folders with code."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from lab.fuzz.cases import Verdict
from lab.fuzz.commands import judge, run
from lab.fuzz.good import causal_model, summarizer
from lab.fuzz.mutations import copy_folder, damage_file, mutate_json, odd_value, to_json

__all__ = ["folders"]

_TEMPLATES = (
    "{% for i in range(10 ** 9) %}{% for j in range(10 ** 9) %}{% endfor %}{% endfor %}",
    "{{ 'a' * 10 ** 10 }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ messages.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.system('touch executed') }}",
    "{{ 1 // 0 }}",
    "{{ nothing.nothing.nothing }}",
    "{% for",
    "{{ raise_exception('no') }}",
    "",
    "constant",
    "{{ messages[99].content }}",
    "{% set x = messages %}{% for m in x %}{{ m.content | tojson | upper }}{% endfor %}",
    "{% for a in 'x' * 9999 %}{% for b in 'x' * 9999 %}{{ b }}{% endfor %}{% endfor %}",
)
_CODE = "import pathlib\npathlib.Path({path!r}).touch()\nclass {name}:\n    pass\n"
_AUTO = ("AutoTokenizer", "AutoConfig", "AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoProcessor", "AutoModel")
_SETTINGS = (
    *("auto_map", "tokenizer_class", "processor_class", "quantization_config", "model_type", "architectures"),
    *("base_model_name_or_path", "_name_or_path", "model_max_length", "vocab_file", "tokenizer_file", "dtype"),
    *("extra_special_tokens", "added_tokens_decoder", "chat_template", "eos_token_id", "pad_token_id", "max_length"),
    *("num_beams", "temperature", "cache_implementation", "vocab_size", "hidden_size", "num_hidden_layers"),
)


def folders(rng: Random, good: Path, workdir: Path) -> Verdict:
    """Use a model with one to three changes to its folder; standard input confirms any question with yes."""
    causal = rng.random() < 0.6
    folder = copy_folder(causal_model(good) if causal else summarizer(good), workdir / "model")
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        rng.choice((_change_settings, _change_settings, _change_settings, _damage, _add_code, _change_template))(
            rng, folder, workdir
        )
    document = good / "good.txt"
    if not causal:
        return judge(run(workdir, "summarize", document, "--max-new-tokens", 3, "--model", folder, typed="y\n" * 9))
    if rng.random() < 0.4:
        return judge(run(workdir, "generate", "a text", "--max-new-tokens", 3, "--model", folder, typed="y\n" * 9))
    return judge(run(workdir, "chat", "--max-new-tokens", 3, "--model", folder, typed="Yes\ny\nyes\n"))


def _change_settings(rng: Random, folder: Path, workdir: Path) -> None:
    """Change values in a settings file, or add a setting of transformers."""
    path = rng.choice([path for path in sorted(folder.glob("*.json")) if path.is_file()] or [folder / "config.json"])
    settings = _read(path)
    if rng.random() < 0.3 and isinstance(settings, dict):
        settings[rng.choice(_SETTINGS)] = odd_value(rng)
    else:
        settings = mutate_json(rng, settings, rng.choice((1, 1, 3)))
    if path.is_dir() or path.is_fifo():
        return
    path.unlink(missing_ok=True)
    path.write_bytes(to_json(settings))


def _damage(rng: Random, folder: Path, workdir: Path) -> None:
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.is_symlink()]
    if files:
        damage_file(rng, rng.choice(files))


def _add_code(rng: Random, folder: Path, workdir: Path) -> None:
    """Add Python code to the folder that leaves a trace if it runs."""
    code = _CODE.format(path=str(workdir / "executed"), name="Custom")
    (folder / "custom.py").write_text(code, encoding="utf-8")
    for name in rng.sample(("config.json", "tokenizer_config.json", "generation_config.json"), 2):
        path = folder / name
        settings = _read(path)
        if isinstance(settings, dict) and not path.is_dir() and not path.is_fifo():
            found = {key: rng.choice(("custom.Custom", ["custom.Custom", "custom.Custom"])) for key in _AUTO}
            settings["auto_map"] = found
            if rng.random() < 0.5:
                settings["tokenizer_class" if name == "tokenizer_config.json" else "model_type"] = "Custom"
            path.unlink(missing_ok=True)
            path.write_bytes(to_json(settings))
    if rng.random() < 0.5:
        (folder / "custom_generate").mkdir(exist_ok=True)
        (folder / "custom_generate" / "generate.py").write_text(code, encoding="utf-8")
    if rng.random() < 0.3:
        weights = folder / "model.safetensors"
        if weights.is_file():
            weights.rename(folder / rng.choice(("pytorch_model.bin", "model.ckpt", "other.safetensors")))


def _change_template(rng: Random, folder: Path, workdir: Path) -> None:
    path = folder / "chat_template.jinja"
    if not path.is_dir() and not path.is_fifo():
        path.unlink(missing_ok=True)
        path.write_text(rng.choice(_TEMPLATES), encoding="utf-8")


def _read(path: Path) -> object:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_bytes())
    except (ValueError, OSError, RecursionError):
        return {}
