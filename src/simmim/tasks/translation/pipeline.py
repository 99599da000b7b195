"""The pipeline `translation`: texts, blocks of a document or whole files in, the same in another language out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simmim.errors import DataError
from simmim.tasks.language_detection import detect_language
from simmim.tasks.translation.formats import open_document
from simmim.tasks.translation.glossary import Glossary
from simmim.tasks.translation.loading import load_translation_model
from simmim.tasks.translation.marks import Block, Piece, make_block, restore
from simmim.tasks.translation.models import translator_for
from simmim.tasks.translation.translate import Translated, translate_blocks

__all__ = ["TranslationPipeline"]


class TranslationPipeline:
    """Translate texts; `simmim.pipeline("translation", model=...)` makes one.

    Args:
        model: the folder of a saved model, or the name of one on the hub; None for the default.
        device: where to compute; None takes the accelerator if there is one.
        to: the language to write, where a call names none.
        from_: that of the texts, where a call names none; None detects it.
        **settings: `batch_size`, `group_size` (blocks that a model of SimMIM reads together), `num_beams`, and
            what else `generate` of transformers takes.

    Raises:
        CheckpointError, ConfigError: as of `load_translation_model`.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        device: str | None = None,
        to: str | None = None,
        from_: str | None = None,
        **settings: Any,
    ) -> None:
        self.model, self.tokenizer = load_translation_model(model, device)
        self._to, self._from = to, from_
        self._options = {name: settings.pop(name) for name in ("batch_size", "group_size") if name in settings}
        self._settings = settings

    def __call__(
        self,
        inputs: str | Sequence[str],
        *,
        to: str | None = None,
        from_: str | None = None,
        glossary: Mapping[str, str] | None = None,
        memory: Mapping[str, str] | None = None,
    ) -> list[dict[str, Any]]:
        """Translate the blocks of a document; as many come out as go in.

        Args:
            inputs: a text, or the blocks of a document in their order.
            to: the language to write, such as `fr`.
            from_: that of the texts; None detects it.
            glossary: terms with a fixed translation.
            memory: translations of whole blocks, which are taken as they are.

        Returns:
            For each block a dictionary: `translation_text`; `score`, the mean log-probability of its tokens in nats;
            `repairs` and `faults`, what the model got wrong and is mended, or is not.

        Raises:
            DataError: an input is no text, or no language is named.
            ConfigError: the model does not write the language.
        """
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        if not all(isinstance(text, str) for text in texts):
            raise DataError("inputs: expected a text or a list of texts")
        blocks = [make_block(text, [Piece(0, len(text), text)], str) for text in texts]
        found = iter(self._translate("inputs", [block for block in blocks if block], to, from_, glossary, memory))
        results: list[dict[str, Any]] = []
        for text, block in zip(texts, blocks, strict=True):
            if block is None:  # without a word
                results.append({"translation_text": text, "score": None, "repairs": [], "faults": []})
                continue
            one = next(found)
            written = restore(block, one.text, str)
            results.append(
                {
                    "translation_text": text[: block.start] + written + text[block.end :],
                    "score": one.score,
                    "repairs": list(one.repairs),
                    "faults": list(one.faults),
                }
            )
        return results

    def document(
        self, name: str, content: bytes, *, to: str | None = None, from_: str | None = None
    ) -> tuple[bytes, list[Translated]]:
        """Translate a document, whose markup stays.

        Args:
            name: its file name, whose end says which format it has.
            content: its bytes.
            to: as of a call.
            from_: as of a call.

        Returns:
            The document in the other language, and what became of each block.

        Raises:
            DataError: the document cannot be read.
        """
        document = open_document(name, content)
        found = self._translate(name, list(document.blocks), to, from_, None, None)
        return document.render([one.text for one in found], to or self._to), found

    def _translate(
        self,
        name: str,
        blocks: list[Block],
        to: str | None,
        from_: str | None,
        glossary: Mapping[str, str] | None,
        memory: Mapping[str, str] | None,
    ) -> list[Translated]:
        target = to or self._to
        if target is None:
            raise DataError("to: expected the language to write, such as fr; name it")
        if not blocks:
            return []
        source = from_ or self._from or detect_language(name, (block.text for block in blocks))
        return translate_blocks(
            blocks,
            translator_for(self.model, self.tokenizer, source, target, **self._settings),
            glossary=Glossary(glossary) if glossary else None,
            memory=memory,
            **self._options,
        )
