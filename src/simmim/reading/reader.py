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
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from simmim.atomic import remove_leftovers
from simmim.data.unicode import check_text
from simmim.errors import CheckpointError, ConfigError
from simmim.reading.cache import EnoughRead, ReadingCache
from simmim.reading.embedding import Encoder
from simmim.reading.folder import AGAIN, append, checksum, content_of, locked, open_array
from simmim.reading.growing import grown
from simmim.reading.heads import Head
from simmim.reading.indexing import waiting, write_vectors, write_words
from simmim.reading.interface import attach, decoder_of
from simmim.reading.manifest import Document, Manifest, beside, extend, read_manifest, write_manifest
from simmim.reading.prompt import Prompt, Render
from simmim.reading.quantized import Precision, Record, Rows
from simmim.reading.states import has_state, rebuild_state, remove_states, restore_state, save_state
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

    def manifest_settings(self) -> dict[str, Any]:
        """Return what a folder must have been made with to go together with this reader."""
        return {
            **{"segment": self.settings.segment, "near": self.settings.near, "chunk": self.settings.chunk},
            **{"keep": self.settings.keep, "precision": self.settings.precision},
            "heads": [list(pair) for pair in self.key_heads],
            "encoder": None if self.encoder is None else content_of(self.encoder.fingerprint),
        }

    def read(
        self,
        folder: Path,
        text: str,
        name: str = "text",
        pages: Sequence[int] = (),
        progress: Progress | None = None,
        *,
        headings: Sequence[tuple[int, int]] = (),
        words: bool = True,
    ) -> int:
        """Read a document into a folder; go on where an interrupted reading of it stopped.

        A document of the same name that was read in part, and has changed since, is begun anew. Of one to whose end
        text was added only what is new is read; the files are those of a new reading.

        Args:
            folder: new, or one that holds documents read by the same model and settings.
            text: the document.
            name: of its file.
            pages: index of the first character of each page.
            progress: gets the tokens read so far.
            headings: index of the first character of each heading, and its level; none has them looked for by form.
            words: whether to index the words of the folder, which reads all of its texts; without, call `index_words`
                behind the last document.

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
            if number is None or not manifest.documents[number].embedded:
                new = Document(name, digest, len(text), 0, pages=list(pages), headings=[list(one) for one in headings])
                number = self._begin(folder, manifest, text, number, new)
            about = manifest.documents[number]
            if not about.embedded:
                self._read_tokens(folder, manifest, number, progress)
                if self.encoder is not None:
                    write_vectors(self.encoder, folder, manifest, number)
                about.embedded = True
                write_manifest(folder, manifest)
            remove_states(folder / f"{number:04}")
        if words:
            self.index_words(folder)
        return number

    def index_words(self, folder: Path) -> None:
        """Index the words of documents that were read without, so that they can be asked.

        Raises:
            CheckpointError: the folder is of another model or other settings, damaged, or in use.
            OSError: the folder cannot be written.
        """
        with locked(folder):
            manifest = self.open_manifest(folder)
            if any(map(waiting, manifest.documents)):
                write_words(folder, manifest)

    def open_manifest(self, folder: Path) -> Manifest:
        """Return the manifest of a folder, a new one if it is empty.

        Raises:
            CheckpointError: it was made with another model or other settings.
        """
        if (folder / "manifest.json").exists():
            manifest = self.check_manifest(folder, read_manifest(folder))
        else:
            manifest = Manifest(self.fingerprint, self.source, self.manifest_settings())
        manifest.source, manifest.beside = self.source, beside(folder, self.source)
        return manifest

    def check_manifest(self, folder: Path, manifest: Manifest) -> Manifest:
        """Return a manifest, or raise what `open_manifest` does."""
        if content_of(manifest.model) != content_of(self.fingerprint):
            raise CheckpointError(
                f"{folder}: expected a document read by {self.fingerprint}, got one read by {manifest.model}; "
                "name that model, or read the document again into another folder"
            )
        own = self.manifest_settings()
        if manifest.settings != own:
            different = sorted(k for k, v in own.items() if manifest.settings.get(k) != v)
            raise CheckpointError(
                f"{folder}: was read with other settings ({', '.join(different)}); read into another folder"
            )
        return manifest

    def _begin(self, folder: Path, manifest: Manifest, text: str, number: int | None, new: Document) -> int:
        """Write a text and its tokens, of a document that is new, begun (its number), or an old one that has grown."""
        tokens = tokenize(self.tokenizer, self.prompt.before(), text)
        content = np.stack([tokens.ids, tokens.starts]).tobytes()
        new.tokens, new.prompt, new.checks["tokens"] = len(tokens.ids), tokens.prompt, checksum(content)
        if number is None:
            width = self.encoder.width if self.encoder is not None else 0
            keys = len(self.key_heads), self.record.width
            begun = (i for i, old in enumerate(manifest.documents) if old.name == new.name and not old.embedded)
            found = grown(folder, manifest, new, text, tokens, keys, width)
            number, new = found or (next(begun, len(manifest.documents)), new)
            # first of all: until both are written, what the files hold belongs to no document
            manifest.documents[number : number + 1] = [new]
            write_manifest(folder, manifest)
        append(folder / f"{number:04}.text", text.encode("utf-8"), 0)
        append(folder / f"{number:04}.tokens", content, 0)
        return number

    @torch.inference_mode()
    def _read_tokens(self, folder: Path, manifest: Manifest, number: int, progress: Progress | None) -> None:
        document = manifest.documents[number]
        stem = folder / f"{number:04}"
        if document.read == document.tokens:
            return
        ids = open_array(Path(f"{stem}.tokens"), np.int32, (2, document.tokens), document.checks.get("tokens", -1))[0]
        if ids.min() < 0 or ids.max() >= self.model.get_input_embeddings().num_embeddings:
            raise CheckpointError(f"{stem}.tokens: expected tokens of the model, got other numbers; {AGAIN}")
        cache = ReadingCache(self.model, segment=self.settings.segment, near=self.settings.near)
        cache.last = None if self.settings.keep == "keys" else max(head.layer for head in self.heads)
        if document.read and has_state(stem, document.read):
            restore_state(stem, document.read, cache, self.model)
        elif document.read:
            rebuild_state(cache, self._feed, ids[: document.read], self.settings.chunk)
        while document.read < document.tokens:
            part = ids[document.read : document.read + self.settings.chunk]
            self._feed(cache, part)
            self._write(folder, number, document, cache, len(part))
            cache.drop()
            document.read += len(part)
            if document.read < document.tokens:
                save_state(stem, document.read, cache)
            write_manifest(folder, manifest)
            remove_states(stem, keep=document.read)
            if progress is not None:
                progress(document.read, document.tokens)

    def _feed(self, cache: ReadingCache, ids: np.ndarray) -> None:
        part = torch.from_numpy(ids.astype(np.int64))[None].to(self.model.device)
        with suppress(EnoughRead):
            decoder_of(self.model)(input_ids=part, past_key_values=cache)

    def _write(self, folder: Path, number: int, document: Document, cache: ReadingCache, new: int) -> None:
        """Append the keys and values of new tokens, and the keys of the index."""
        length = self.settings.segment
        first, missing = document.read // length, -new % length
        keys = torch.stack([cache.layers[layer].keys[0, head, -new:] for layer, head in self.key_heads], 1)
        rows = Rows(keys.shape[-1])
        content = rows.encode(keys.flatten(0, 1).float().cpu().numpy())
        extend(folder, number, document, "index", content, document.read * keys.shape[1] * rows.nbytes)
        if self.settings.keep == "text":
            return
        both = [torch.stack([layer.keys[0, :, -new:], layer.values[0, :, -new:]]) for layer in cache.layers]
        whole = torch.nn.functional.pad(torch.stack(both), (0, 0, 0, missing)).unflatten(-2, (-1, length))
        records = [self.record.encode(whole[..., i, :, :]) for i in range(whole.shape[-3])]
        append(folder / f"{number:04}.keys", b"".join(records), first * self.record.nbytes)
