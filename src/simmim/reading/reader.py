"""Reads documents with a pretrained model, chunk by chunk, into a folder from which questions are answered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from simmim.atomic import remove_leftovers, replaced_path
from simmim.data.unicode import check_text
from simmim.errors import CheckpointError, ConfigError
from simmim.reading.cache import EnoughRead, ReadingCache
from simmim.reading.embedding import Encoder
from simmim.reading.folder import (
    AGAIN,
    Document,
    Manifest,
    append,
    locked,
    named,
    open_array,
    read_manifest,
    write_manifest,
)
from simmim.reading.heads import Head
from simmim.reading.indexing import write_vectors, write_words
from simmim.reading.interface import attach, decoder_of
from simmim.reading.prompt import Prompt, Render
from simmim.reading.quantized import Precision, Record
from simmim.reading.tokens import tokenize

__all__ = ["Keep", "Progress", "Reader", "ReadingSettings"]

Keep = Literal["keys", "text"]
Progress = Callable[[int, int], None]
"""Gets the tokens read so far and all tokens of a document."""


@dataclass(frozen=True)
class ReadingSettings:
    """How a document is read.

    Attributes:
        segment: L, tokens of a segment.
        near: W / L, previous segments that each token reads in full.
        chunk: tokens that go through the model at once.
        keep: "keys" keeps the keys and values of all tokens, "text" the text and its index only: the passages chosen
            for a question are then encoded again.
        precision: of the keys and values on disk.
    """

    segment: int = 64
    near: int = 8
    chunk: int = 1024
    keep: Keep = "keys"
    precision: Precision = "int8"

    def __post_init__(self) -> None:
        for name, least in (("segment", 8), ("near", 1), ("chunk", self.segment)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ConfigError(f"{name}: expected a whole number of at least {least}, got {value!r}")
        for name, known in (("keep", get_args(Keep)), ("precision", get_args(Precision))):
            value = getattr(self, name)
            if value not in known:
                raise ConfigError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
        if self.chunk % self.segment:
            raise ConfigError(f"chunk: expected a multiple of segment ({self.segment}), got {self.chunk}")


_HALF = float(np.finfo(np.float16).max)


class Reader:
    """Reads documents with a model and its tokenizer.

    Args:
        model: a causal model of transformers, loaded with `attn_implementation="simmim"`.
        tokenizer: its tokenizer, a fast one.
        fingerprint: names what the model computes; folders of another are refused.
        render: writes a conversation with the model's template.
        heads: retrieval heads of the model, whose keys are the index.
        settings: how documents are read.
        encoder: makes the vectors of sentences; None for an index without them.
        source: what the user named to get the model.

    Raises:
        ConfigError: the model is of a family that cannot read, or does not have these heads.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        fingerprint: str,
        render: Render,
        heads: Sequence[Head],
        settings: ReadingSettings | None = None,
        encoder: Encoder | None = None,
        source: str | None = None,
    ) -> None:
        self.model, self.tokenizer, self.fingerprint = model, tokenizer, fingerprint
        self.encoder, self.source = encoder, source
        self.settings = settings or ReadingSettings()
        self.prompt = Prompt(tokenizer, render)
        self.heads = list(heads)
        attach(model)
        config: Any = decoder_of(model).config
        layers, count = config.num_hidden_layers, config.num_attention_heads
        if not self.heads or not all(0 <= head.layer < layers and 0 <= head.head < count for head in self.heads):
            raise ConfigError(f"heads: expected some of {count} heads of {layers} layers, got {self.heads}")
        self.share = count // config.num_key_value_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.record = Record(
            config.num_hidden_layers, config.num_key_value_heads, self.settings.segment, width, self.settings.precision
        )

    @property
    def key_heads(self) -> list[tuple[int, int]]:
        """Return layer and number of the heads of keys that the retrieval heads read; the index holds their keys."""
        return sorted({(head.layer, head.head // self.share) for head in self.heads})

    @property
    def _layers(self) -> int:
        """Return how many layers read: without the keys of all layers on disk, those that the index needs."""
        return self.record.shape[0] if self.settings.keep == "keys" else max(head.layer for head in self.heads) + 1

    def manifest_settings(self) -> dict[str, Any]:
        """Return what a folder must have been made with to go together with this reader."""
        return {
            **{"segment": self.settings.segment, "near": self.settings.near, "chunk": self.settings.chunk},
            **{"keep": self.settings.keep, "precision": self.settings.precision},
            "heads": [list(pair) for pair in self.key_heads],
            "encoder": None if self.encoder is None else self.encoder.fingerprint,
        }

    def read(
        self,
        folder: Path,
        text: str,
        name: str = "text",
        pages: Sequence[int] = (),
        progress: Progress | None = None,
    ) -> int:
        """Read a document into a folder; go on where an interrupted reading of it stopped.

        A document of the same name that was read in part, and has changed since, is begun anew.

        Args:
            folder: new, or one that holds documents read by the same model and settings.
            text: the document.
            name: of its file.
            pages: index of the first character of each page.
            progress: gets the tokens read so far.

        Returns:
            The number of the document in the folder. One that it already holds is not read again.

        Raises:
            CheckpointError: the folder is of another model or other settings, damaged, or in use.
            DataError: the text is not valid Unicode or holds no token.
            OSError: the folder cannot be written.

        Cost: N (A + W) attention scores per head for N tokens; memory of the model and a window.
        """
        check_text("text", text)
        digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
        with locked(folder):
            remove_leftovers(folder)
            manifest = self.open_manifest(folder)
            number = next((i for i, found in enumerate(manifest.documents) if found.sha256 == digest), None)
            if number is None:
                number = self._begin(folder, manifest, text, name, digest, pages)
            if not manifest.documents[number].complete:
                self._read_tokens(folder, manifest, number, progress)
                if self.encoder is not None:
                    write_vectors(self.encoder, folder, manifest, number)
                write_words(folder, manifest)
                manifest.documents[number].indexed = True
                write_manifest(folder, manifest)
            _remove_states(folder / f"{number:04}")
        return number

    def open_manifest(self, folder: Path) -> Manifest:
        """Return the manifest of a folder, a new one if it is empty.

        Raises:
            CheckpointError: it was made with another model or other settings.
        """
        if not (folder / "manifest.json").exists():
            return Manifest(self.fingerprint, self.source, self.manifest_settings())
        manifest = read_manifest(folder)
        if manifest.model != self.fingerprint:
            raise CheckpointError(
                f"{folder}: expected a document read by {self.fingerprint}, got one read by {manifest.model}; "
                "name that model, or read the document again into another folder"
            )
        if manifest.settings != self.manifest_settings():
            different = sorted(k for k, v in self.manifest_settings().items() if manifest.settings.get(k) != v)
            raise CheckpointError(
                f"{folder}: was read with other settings ({', '.join(different)}); read into another folder"
            )
        return manifest

    def _begin(self, folder: Path, manifest: Manifest, text: str, name: str, digest: str, pages: Sequence[int]) -> int:
        """Write the text and its tokens."""
        tokens = tokenize(self.tokenizer, self.prompt.before(), text)
        begun = (i for i, found in enumerate(manifest.documents) if found.name == name and not found.complete)
        number = next(begun, len(manifest.documents))
        append(folder / f"{number:04}.text", text.encode("utf-8"), 0)
        append(folder / f"{number:04}.tokens", np.stack([tokens.ids, tokens.starts]).tobytes(), 0)
        document = Document(name, digest, len(text), len(tokens.ids), prompt=tokens.prompt, pages=list(pages))
        manifest.documents[number : number + 1] = [document]
        write_manifest(folder, manifest)
        return number

    @torch.inference_mode()
    def _read_tokens(self, folder: Path, manifest: Manifest, number: int, progress: Progress | None) -> None:
        document = manifest.documents[number]
        stem = folder / f"{number:04}"
        if document.read == document.tokens:
            return
        ids = open_array(Path(f"{stem}.tokens"), np.int32, (2, document.tokens))[0]
        if ids.min() < 0 or ids.max() >= self.model.get_input_embeddings().num_embeddings:
            raise CheckpointError(f"{stem}.tokens: expected tokens of the model, got other numbers; {AGAIN}")
        cache = self._restore(stem, document)
        decoder, chunk = decoder_of(self.model), self.settings.chunk
        while document.read < document.tokens:
            part = torch.from_numpy(ids[document.read : document.read + chunk].astype(np.int64))[None]
            with suppress(EnoughRead):
                decoder(input_ids=part.to(self.model.device), past_key_values=cache)
            self._write(stem, document, cache, part.shape[1])
            cache.drop()
            document.read += part.shape[1]
            if document.read < document.tokens:
                self._save_state(stem, document, cache)
            write_manifest(folder, manifest)
            _remove_states(stem, keep=document.read)
            if progress is not None:
                progress(document.read, document.tokens)

    def _write(self, stem: Path, document: Document, cache: ReadingCache, new: int) -> None:
        """Append the keys and values of new tokens, and the keys of the index."""
        length = self.settings.segment
        first, missing = document.read // length, -new % length
        index = torch.stack([cache.layers[layer].keys[0, head, -new:] for layer, head in self.key_heads], 1)
        append(
            Path(f"{stem}.index"),
            index.float().clamp(-_HALF, _HALF).half().cpu().numpy().tobytes(),
            document.read * index[0].numel() * 2,
        )
        if self.settings.keep == "text":
            return
        both = [torch.stack([layer.keys[0, :, -new:], layer.values[0, :, -new:]]) for layer in cache.layers]
        whole = torch.nn.functional.pad(torch.stack(both), (0, 0, 0, missing)).unflatten(-2, (-1, length))
        records = [self.record.encode(whole[..., i, :, :]) for i in range(whole.shape[-3])]
        append(Path(f"{stem}.keys"), b"".join(records), first * self.record.nbytes)

    def _save_state(self, stem: Path, document: Document, cache: ReadingCache) -> None:
        """Write the keys and values that the next chunk reads, exactly: what comes is the same as without a stop."""
        layers = cache.layers[: self._layers]
        both = torch.stack([torch.stack([layer.keys[0], layer.values[0]]) for layer in layers])
        path = _state_path(stem, document.read)
        with replaced_path(path) as draft:
            try:
                save_file({"keys_and_values": both.contiguous()}, draft)
            except (OSError, SafetensorError) as error:
                raise named(error, path) from error

    def _restore(self, stem: Path, document: Document) -> ReadingCache:
        """Return the cache as it was after the last chunk whose files count."""
        cache = ReadingCache(self.model, segment=self.settings.segment, near=self.settings.near)
        cache.last = None if self.settings.keep == "keys" else self._layers - 1
        if document.read == 0:
            return cache
        path = _state_path(stem, document.read)
        try:
            both: Tensor = load_file(path, device=str(self.model.device))["keys_and_values"]
        except Exception as error:
            raise CheckpointError(f"{path}: cannot go on reading from it: {error}; {AGAIN}") from error
        _, _, heads, _, width = self.record.shape
        shape = self._layers, 2, heads, min(document.read, cache.kept), width
        if both.shape != shape or not bool(both.isfinite().all()):
            raise CheckpointError(f"{path}: expected finite keys and values of shape {shape}, got others; {AGAIN}")
        cache.load(both.to(self.model.dtype), document.read)
        return cache


def _state_path(stem: Path, read: int) -> Path:
    return Path(f"{stem}.state-{read}")


def _remove_states(stem: Path, keep: int | None = None) -> None:
    """Remove what earlier chunks left for the next one, also those of a process that was killed."""
    for path in stem.parent.glob(f"{stem.name}.state-*"):
        if keep is None or path != _state_path(stem, keep):
            path.unlink(missing_ok=True)
