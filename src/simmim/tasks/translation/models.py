"""Translators: what a model needs before it, and what is taken of what it writes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from simmim.errors import ConfigError
from simmim.tasks.batches import batches
from simmim.tasks.translation.languages import flores_code, language_name
from simmim.tasks.translation.vocabulary import (
    BLOCK_MARK,
    decode_blocks,
    encode_blocks,
    language_tag,
    languages_of,
)

__all__ = ["ChatTranslator", "SeqTranslator", "Translator", "Written", "translator_for"]


@dataclass(frozen=True)
class Written:
    """What a model wrote for a group of blocks.

    Attributes:
        blocks: the texts; as many as there were, unless the model has lost count.
        complete: whether the model ended them itself.
        score: the mean log-probability of their tokens, in nats; None where it was not worked out.
    """

    blocks: Sequence[str]
    complete: bool
    score: float | None = None


class Translator(ABC):
    """Base of what lets a model translate.

    Attributes:
        reads_groups: whether it takes several blocks at once.

    Args:
        model: the model.
        tokenizer: its tokenizer.
        source: the language of the texts.
        target: the language to write.
        settings: `num_beams`, and whatever else `generate` of transformers takes.
    """

    reads_groups = False

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: str, target: str, **settings: Any
    ) -> None:
        self.model, self.tokenizer, self.source, self.target = model, tokenizer, source, target
        self.settings = {"num_beams": 1, "do_sample": False, **settings}

    @abstractmethod
    def encode(self, group: Sequence[str]) -> list[int]:
        """Return the ids that the model reads for a group of blocks."""

    @property
    def limit(self) -> int:
        """The most tokens that the model reads."""
        found = int(min(self.tokenizer.model_max_length, 10**9))
        positions = getattr(self.model.config, "max_position_embeddings", None)
        return min(found, positions) if isinstance(positions, int) and positions > 0 else found

    def decode(self, ids: Sequence[int]) -> list[str]:
        """Return the blocks in what the model wrote."""
        return [str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()]

    def generate(self, rows: Sequence[Sequence[int]], **settings: Any) -> Any:
        """Let the model write."""
        inputs = self.tokenizer.pad({"input_ids": [list(row) for row in rows]}, return_tensors="pt")
        generate: Any = self.model.generate
        return generate(
            **inputs.to(self.model.device),
            **self.settings,
            **settings,
            return_dict_in_generate=True,
            output_scores=True,
        )

    @torch.inference_mode()
    def write(
        self, groups: Sequence[Sequence[str]], *, batch_size: int = 16, token_budget: int = 4096
    ) -> list[Written]:
        """Translate groups of blocks.

        Args:
            groups: each is read at once; of one block each, unless `reads_groups`.
            batch_size: groups at a time at most.
            token_budget: tokens at a time at most, padding included; a longer group is alone.
        """
        ids = [self.encode(group) for group in groups]
        written: dict[int, Written] = {}
        for indices in batches([len(row) for row in ids], batch_size, token_budget):
            rows = [ids[index] for index in indices]
            longest = max(map(len, rows))
            # a translation has about as many tokens as its source; none of those seen has twice as many and 32 more
            found = self.generate(rows, max_new_tokens=2 * longest + 32)
            written |= dict(zip(indices, self._taken(found, longest), strict=True))
        return [written[index] for index in range(len(groups))]

    def _taken(self, found: Any, source_length: int) -> list[Written]:
        sequences = found.sequences[:, self._skipped(source_length) :]
        ends = self.model.generation_config.eos_token_id
        stops = set(ends) if isinstance(ends, list) else {ends, self.tokenizer.eos_token_id}
        scores = self._scores(found)
        written = []
        for row, score in zip(sequences.tolist(), scores, strict=True):
            kept = row if row and row[0] not in stops else row[1:]  # some models begin with the end token
            written.append(Written(self.decode(kept), bool(stops.intersection(kept)), score))
        return written

    def _skipped(self, source_length: int) -> int:
        """Return how many tokens of what `generate` gives are not the model's: the start token."""
        return 1

    def _scores(self, found: Any) -> list[float | None]:
        if "sequences_scores" in found and found.sequences_scores is not None:
            return [float(score) for score in found.sequences_scores]
        compute: Any = self.model.compute_transition_scores
        moves = compute(found.sequences, found.scores, normalize_logits=True)
        scores: list[float | None] = []
        pad = self.tokenizer.pad_token_id
        for row, ids in zip(moves, found.sequences[:, -moves.shape[1] :], strict=True):
            kept = [float(value) for value, token in zip(row, ids.tolist(), strict=True) if token != pad]
            finite = [value for value in kept if math.isfinite(value)]
            scores.append(sum(finite) / len(finite) if finite else None)
        return scores


class BlockTranslator(Translator):
    """A model of SimMIM's task `translation`: it reads blocks with marks between them."""

    reads_groups = True

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        if language_tag(self.target) not in self.tokenizer.get_vocab():
            found = ", ".join(languages_of(self.tokenizer))
            raise ConfigError(f"--to: expected a language that the model writes ({found}), got {self.target!r}")

    def encode(self, group: Sequence[str]) -> list[int]:
        """Return the tag, the blocks and the marks between them."""
        return encode_blocks(self.tokenizer, group, self.target)

    def decode(self, ids: Sequence[int]) -> list[str]:
        """Return the texts between the marks."""
        return decode_blocks(self.tokenizer, ids)


class SeqTranslator(Translator):
    """An encoder-decoder of the hub: MarianMT, NLLB, M2M100, T5; each takes the language in its own way."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._prefix = ""
        tokenizer: Any = self.tokenizer
        if hasattr(tokenizer, "src_lang"):  # NLLB, M2M100, mBART
            tokenizer.src_lang = self._code(self.source)
            self.settings["forced_bos_token_id"] = self._language_id(self._code(self.target))
        elif self.model.config.model_type == "marian":
            tags = [token for token in tokenizer.get_vocab() if token.startswith(">>") and token.endswith("<<")]
            self._prefix = f"{self._marian_tag(tags)} " if tags else ""
        else:
            self._prefix = f"translate {language_name(self.source)} to {language_name(self.target)}: "

    def encode(self, group: Sequence[str]) -> list[int]:
        """Return the ids of a block, with what names the languages."""
        text = self._prefix + " ".join(group)
        return list(self.tokenizer(text, verbose=False)["input_ids"])

    def _code(self, language: str) -> str:
        """Return what the tokenizer calls a language."""
        known = _codes(self.tokenizer)
        for code in (language, flores_code(language), language.partition("-")[0]):
            if code in known:
                return code
        shown = ", ".join(sorted(known)[:12])
        raise ConfigError(f"language: expected one that the model knows ({shown}, ...), got {language!r}")

    def _language_id(self, code: str) -> int:
        tokenizer: Any = self.tokenizer
        found = tokenizer.get_lang_id(code) if hasattr(tokenizer, "get_lang_id") else None
        if found is None:
            found = tokenizer.convert_tokens_to_ids(code)
        return int(found)

    def _marian_tag(self, tags: Sequence[str]) -> str:
        wanted = {self.target, flores_code(self.target).partition("_")[0], flores_code(self.target)}
        found = next((tag for tag in sorted(tags) if tag[2:-2] in wanted), None)
        if found is None:
            shown = ", ".join(sorted(tags)[:12])
            raise ConfigError(f"--to: expected one of the languages of the model ({shown}), got {self.target!r}")
        return found


def _codes(tokenizer: Any) -> set[str]:
    """Return the names of languages that a tokenizer of many languages knows."""
    for name in ("lang_code_to_token", "lang_code_to_id"):
        if getattr(tokenizer, name, None):
            return set(getattr(tokenizer, name))
    return {token for token in tokenizer.all_special_tokens if not token.startswith("<")}


class ChatTranslator(Translator):
    """A causal model with a chat template, which is asked for the translation."""

    def encode(self, group: Sequence[str]) -> list[int]:
        """Return the ids of the request."""
        request = (
            f"Translate from {language_name(self.source)} to {language_name(self.target)}. Keep every mark such as "
            "{1} where it belongs. Answer with the translation alone.\n\n" + " ".join(group)
        )
        found: Any = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": request}], add_generation_prompt=True, return_dict=True
        )
        return list(found["input_ids"])

    def generate(self, rows: Sequence[Sequence[int]], **settings: Any) -> Any:
        """Let the model write, with the texts padded in front."""
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        return super().generate(rows, **settings)

    def _skipped(self, source_length: int) -> int:
        return source_length


def translator_for(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: str, target: str, **settings: Any
) -> Translator:
    """Return what lets a model translate from one language to another.

    Args:
        model: an encoder-decoder, or a causal model with a chat template.
        tokenizer: its tokenizer.
        source: the language of the texts, such as `en`.
        target: the language to write.
        settings: as of `Translator`.

    Raises:
        ConfigError: the model does not write the language, or is none that can be asked for a translation.
    """
    kind: type[Translator]
    if not model.config.is_encoder_decoder:
        if tokenizer.chat_template is None:
            raise ConfigError(
                "--model: expected an encoder-decoder, or a causal model with a chat template; this one has no template"
            )
        kind = ChatTranslator
    else:
        kind = BlockTranslator if BLOCK_MARK in tokenizer.get_vocab() else SeqTranslator
    return kind(model, tokenizer, source, target, **settings)
