"""Says what a word and a sentence are, in texts of any script."""

import re
import unicodedata

import regex

__all__ = ["count_words", "document_sentences", "first_words", "line_sentences", "sentences", "words"]

# Scripts that put no space between words: each character counts as a word.
_UNSPACED = r"[[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]--\p{M}]"
_WORD = regex.compile(rf"{_UNSPACED}\p{{M}}*|(?:(?!{_UNSPACED})[\p{{L}}\p{{M}}\p{{N}}])+", flags=regex.V1)
_CHUNK = regex.compile(rf"{_UNSPACED}[\p{{M}}\p{{P}}]*|(?:(?!{_UNSPACED})\S)+", flags=regex.V1)
# Behind a mark that ends a sentence, unless a small letter follows (as after "e.g."); CJK marks need no space.
_END = re.compile(r"(?<=[.!?])\s+(?=[^a-z\s])|(?<=[。！？])(?![。！？”’」』）])\s*|(?<=[。！？][”’」』）])\s*")


def words(text: str) -> list[str]:
    """Return the words of a text, case and compatibility forms folded: runs of letters, marks and digits.

    Where a script puts no space between words (Chinese, kana, Thai, Lao, Khmer, Burmese), each character is one.
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def count_words(text: str) -> int:
    """Return how many words `first_words` would find: what stands between spaces, and characters of such scripts."""
    return sum(1 for _ in _CHUNK.finditer(text))


def first_words(text: str, count: int | None) -> str:
    """Return the beginning of a text, on one line: `count` words as `count_words` counts them; None takes all."""
    flat = " ".join(text.split())
    if count is None:
        return flat
    end = 0
    for _, chunk in zip(range(count), _CHUNK.finditer(flat), strict=False):
        end = chunk.end()
    return flat[:end]


def sentences(line: str) -> list[str]:
    """Split one line at the marks that end a sentence."""
    return [part for part in map(str.strip, _END.split(line)) if part]


def line_sentences(text: str) -> list[str]:
    """Split a text at line ends and at the marks that end a sentence."""
    return [sentence for line in text.splitlines() for sentence in sentences(line)]


def document_sentences(document: str) -> list[str]:
    """Split a document whose lines may be wrapped: at empty lines and at the marks that end a sentence."""
    paragraphs = re.split(r"\n\s*\n", document)
    return [sentence for paragraph in paragraphs for sentence in sentences(" ".join(paragraph.split()))]
