"""Summarizes a document by its own sentences, at any length, and every part of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simmim.data.unicode import check_text
from simmim.errors import DataError
from simmim.tasks.language_detection import detect_language
from simmim.tasks.pretrained_weights import default_encoder
from simmim.tasks.summarization.extracts.candidates import Candidate, candidates
from simmim.tasks.summarization.extracts.pyramid import Node, build, choose, shortlist
from simmim.tasks.summarization.extracts.vectors import word_vectors
from simmim.tasks.summarization.words import count_words

if TYPE_CHECKING:
    from simmim.reading.embedding import Encoder

__all__ = ["LENGTHS", "Digest", "Extractor"]

LENGTHS = {"line": 35, "paragraph": 120, "page": 400}
"""Words of a summary, about."""
_UNSPACED = 1.6  # characters of Chinese or Japanese that say as much as a word
_ENCODED = 3_000  # sentences that get a vector of the encoder, which takes about 10 ms a core each


@dataclass(frozen=True)
class Digest:
    """A document of which every part can be summarized.

    Attributes:
        language: in ISO 639-1.
        words: of the document, as `count_words` counts them.
        sentences: those that can stand in a summary, in the order of the text.
        root: the whole document; its children are the parts.
        encoded: whether sentences were compared by the encoder, or by their words.
    """

    language: str
    words: int
    sentences: tuple[Candidate, ...]
    root: Node
    encoded: bool

    @property
    def spaced(self) -> bool:
        """Whether the language puts spaces between words."""
        return self.language not in ("zh", "ja")

    def summary(self, length: str | int = "paragraph", node: Node | None = None) -> list[Candidate]:
        """Return the sentences that summarize a part, in the order of the text.

        Args:
            length: `line`, `paragraph`, `page`, or a number of words; there is always one sentence at least.
            node: the part; None is the whole.
        """
        words = length if isinstance(length, int) else LENGTHS[length]
        words = words if self.spaced else int(_UNSPACED * words)
        return [self.sentences[i] for i in choose(node or self.root, self.sentences, words)]


class Extractor:
    """Makes digests of documents.

    English sentences are compared by an encoder's vectors, those of other languages by their words.

    Args:
        load_encoder: called once, for the first English document; None compares by words always.
    """

    @classmethod
    def with_default_encoder(cls, device: str | None = None) -> Extractor:
        """Return one with all-MiniLM-L6-v2, if its package is installed; it is loaded when it is needed.

        Args:
            device: where it computes; None takes the accelerator where there is one.
        """
        folder = default_encoder()
        if folder is None:
            return cls()

        def load() -> Encoder:
            from simmim.tasks.reading import load_encoder  # torch and transformers take seconds to import

            return load_encoder(folder, device)

        return cls(load)

    def __init__(self, load_encoder: Callable[[], Encoder] | None = None) -> None:
        self._load_encoder = load_encoder
        self._encoder: Encoder | None = None

    def __call__(
        self,
        text: str,
        name: str = "text",
        headings: Mapping[int, int] | None = None,
        *,
        wrapped: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> Digest:
        """Make the digest of a text.

        Args:
            text: the text.
            name: its name, for errors.
            headings: where each heading begins, and its level; None looks for them by form.
            wrapped: whether a paragraph may have several lines.
            progress: called with how many more sentences have a vector, and the number of all.

        Raises:
            DataError: the text holds no words, or is no valid Unicode.
        """
        check_text(name, text)
        found = candidates(text, headings, wrapped=wrapped)
        if not found:
            raise DataError(f"{name}: expected a text with words to summarize, got none")
        language = detect_language(name, [one.text for one in found])
        encoder = self._encoder_for(language)
        if encoder is None:
            vectors = word_vectors([one.text for one in found])
        else:
            if len(found) > _ENCODED:
                found = [found[i] for i in shortlist(found, word_vectors([one.text for one in found]), _ENCODED)]
            report = progress or (lambda count, total: None)
            vectors = encoder.encode([one.text for one in found], lambda count: report(count, len(found)))
        return Digest(language, count_words(text), tuple(found), build(found, vectors), encoder is not None)

    def _encoder_for(self, language: str) -> Encoder | None:
        if language != "en" or self._load_encoder is None:
            return None
        self._encoder = self._encoder or self._load_encoder()
        return self._encoder
