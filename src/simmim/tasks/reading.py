"""Puts a reader together: a pretrained model, its retrieval heads and an encoder."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from simmim.errors import CheckpointError, ConfigError
from simmim.reading.answering import Answer, answer
from simmim.reading.calibrating import find_heads
from simmim.reading.embedding import Encoder
from simmim.reading.finder import Finder
from simmim.reading.folder import AGAIN, content_of
from simmim.reading.heads import HEADS_FILE, Head, load_heads, save_heads
from simmim.reading.interface import FAMILIES
from simmim.reading.lexical import LexicalIndex
from simmim.reading.manifest import Manifest, read_manifest
from simmim.reading.opened import WORDS, OpenFolder
from simmim.reading.reader import Reader, ReadingSettings
from simmim.tasks.checkpoints import LOCAL, find_device, load_model
from simmim.tasks.model_folder import check_files, read_settings
from simmim.tasks.pretrained_weights import (
    ENCODER_PACKAGE,
    cache_folder,
    default_encoder,
    fast_dtype,
    find_weights,
    weights_fingerprint,
)
from simmim.tasks.quiet import quiet
from simmim.tasks.templates import apply_template

__all__ = ["Library", "load_encoder", "load_reader", "open_library"]

_SHIPPED_HEADS = Path(__file__).parent.parent / "reading" / "heads"


def load_reader(
    name: str | None,
    settings: ReadingSettings | None = None,
    *,
    device: str | None = None,
    dtype: torch.dtype | None = None,
    encode: bool = True,
    calibrating: Callable[[], None] | None = None,
) -> Reader:
    """Load a pretrained model for reading.

    The retrieval heads of a model that has none beside its weights are looked for once, and kept in the cache folder.

    Args:
        name: a folder, a GGUF file, a name on the hub; None for the default.
        settings: how documents are read.
        device: where the model computes; None takes the accelerator where there is one.
        dtype: of the weights; None takes the one in which the device is fastest.
        encode: whether sentences get vectors, if the encoder is installed.
        calibrating: called before the retrieval heads are looked for, which takes a minute or more.

    Raises:
        CheckpointError: the model is missing or damaged.
        ConfigError: it is of a family that cannot read, or this machine lacks the device.
    """
    if importlib.util.find_spec("bm25s") is None:  # before a long reading, not at its end
        raise ConfigError('reading needs the package bm25s; install it with: pip install "simmim[read]"')
    folder = find_weights(name)
    _check_family(folder)
    model, tokenizer = load_model(
        folder, device, AutoModelForCausalLM, dtype=fast_dtype(device) if dtype is None else dtype
    )
    model.set_attn_implementation("simmim")
    fingerprint, encoder = weights_fingerprint(folder), default_encoder() if encode else None
    found = cache_folder() / "heads" / f"{content_of(fingerprint)}.json"
    heads = load_heads(folder / HEADS_FILE)
    if not heads:
        heads = load_heads(_SHIPPED_HEADS / f"{folder.name.lower()}.json")
        if heads and not found.exists():
            save_heads(found, heads)  # the folder may get another name
        heads = heads or load_heads(found)
    reader = Reader(
        model,
        tokenizer,
        fingerprint=fingerprint,
        render=apply_template,
        heads=heads or [Head(0, 0)],  # until they are found
        settings=settings,
        encoder=None if encoder is None else load_encoder(encoder, device),
        source=str(Path(name).resolve()) if name is not None and Path(name).exists() else name,
    )
    if not heads:
        if calibrating is not None:
            calibrating()
        reader.heads = find_heads(reader)
        save_heads(found, reader.heads)
    return reader


def load_encoder(folder: Path, device: str | None = None) -> Encoder:
    """Load an encoder of sentences.

    Args:
        folder: of the encoder.
        device: where it computes; None takes the accelerator where there is one.

    Raises:
        CheckpointError: the folder or a part of it is missing or damaged.
    """
    check_files(folder, "config.json", "tokenizer.json")
    try:
        with quiet():
            model, report = AutoModel.from_pretrained(folder, use_safetensors=True, output_loading_info=True, **LOCAL)
            tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
    except Exception as error:
        raise CheckpointError(f"{folder}: cannot load the encoder: {error}") from error
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler"))
    if missing:
        raise CheckpointError(f"{folder}: cannot load the encoder: {missing[0]} is missing from the weights")
    return Encoder(model.float().eval().to(find_device(device)), tokenizer, weights_fingerprint(folder))


@dataclass(frozen=True)
class Library:
    """A folder of documents that can be asked.

    Attributes:
        reader: the model that read them.
        opened: the documents.
        finder: finds segments in them.
    """

    reader: Reader
    opened: OpenFolder
    finder: Finder

    def answer(self, messages: Sequence[dict[str, Any]], **settings: Any) -> Answer:
        """Answer the last of some messages; arguments and errors as of `simmim.reading.answering.answer`."""
        return answer(self.reader, self.opened, self.finder, messages, **settings)


def open_library(folder: Path, reader: Reader, manifest: Manifest | None = None) -> Library:
    """Open a folder of documents that a reader has read.

    Raises:
        CheckpointError: the folder is damaged, not read to its end, or of another model or encoder.
    """
    manifest = manifest or read_manifest(folder)
    encoder = manifest.settings.get("encoder")
    if encoder is not None and reader.encoder is None:
        raise CheckpointError(
            f"{folder}: was read with the encoder {encoder}, which is not installed; get it with: "
            f"pip install --no-deps {ENCODER_PACKAGE}"
        )
    opened = OpenFolder(folder, reader.check_manifest(folder, manifest))
    for document in opened.documents:
        _ = document.text, document.tokens  # damage is found here, not after an answer was written
    lexical = LexicalIndex.load(folder / WORDS, opened.segments, manifest.words)
    return Library(reader, opened, Finder(reader, opened, lexical, reader.encoder))


def settings_of(folder: Path, manifest: Manifest) -> tuple[str | None, ReadingSettings, bool]:
    """Return the model that read a folder, how, and whether it has vectors of sentences.

    Raises:
        CheckpointError: the manifest lacks them.
    """
    names = ("segment", "near", "chunk", "keep", "precision")
    try:
        settings = ReadingSettings(**{name: manifest.settings[name] for name in names})
        return _source(folder, manifest), settings, manifest.settings["encoder"] is not None
    except (KeyError, TypeError, ConfigError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise CheckpointError(
            f"{folder / 'manifest.json'}: expected the settings of the reading: {reason}; {AGAIN}"
        ) from error


def _source(folder: Path, manifest: Manifest) -> str | None:
    """Return the model that read a folder, also if both were moved together."""
    beside = manifest.beside and folder / manifest.beside
    if beside and beside.exists() and not Path(manifest.source or "").exists():
        return str(beside)
    return manifest.source


def _check_family(folder: Path) -> None:
    """Refuse a model that cannot read before its weights are loaded.

    Raises:
        ConfigError: it is of another family.
    """
    kind = read_settings(folder, "config.json").get("model_type")
    if kind is not None and kind not in FAMILIES:
        raise ConfigError(f"{folder}: expected a model of one of the families {', '.join(FAMILIES)}, got {kind}")
