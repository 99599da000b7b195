"""Translators that are encoder-decoders, and the choice of a translator for a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from simmim.errors import ConfigError
from simmim.tasks.translation.causal import ChatTranslator, PairTranslator
from simmim.tasks.translation.languages import flores_code, language_name
from simmim.tasks.translation.translator import Translator
from simmim.tasks.translation.vocabulary import (
    BLOCK_MARK,
    decode_blocks,
    encode_blocks,
    language_tag,
    languages_of,
)

__all__ = ["SeqTranslator", "translator_for"]


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
        if getattr(model.config, "translation_pairs", None):
            kind = PairTranslator
        elif tokenizer.chat_template is not None:
            kind = ChatTranslator
        else:
            raise ConfigError(
                "--model: expected an encoder-decoder, or a causal model with a chat template; this one has no template"
            )
    else:
        kind = BlockTranslator if BLOCK_MARK in tokenizer.get_vocab() else SeqTranslator
    return kind(model, tokenizer, source, target, **settings)
