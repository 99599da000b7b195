"""Finds what a written summary says and its document does not: names, numbers, quotations and negations.

A check of words, not of meaning: what it marks is not in the document; what it does not mark may still be wrong.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from simmim.tasks.summarization.words import document_sentences, sentences, words

__all__ = ["Source", "Unsupported", "supported_sentences"]

_NUMBER = re.compile(r"(?<![A-Za-z_\d])\d+(?:[.,’'\u00a0\u202f]\d+| \d{3}(?!\d))*")
_NUMBER_WORDS = {
    **{
        word: str(number) for number, word in enumerate("zero one two three four five six seven eight nine ten".split())
    },
    **{"eleven": "11", "twelve": "12", "once": "1", "twice": "2", "first": "1", "second": "2", "third": "3"},
}
_CHINESE_DIGITS = {digit: str(number) for number, digit in enumerate("零一二三四五六七八九十")} | {"〇": "0", "两": "2"}
# words that begin with a capital letter, or have one inside, which follow each other; a sentence's first word is apart
_NAME = re.compile(r"(?<!\w)[^\W\d_][\w'’-]*(?:\.[A-Z](?!\w))*(?:\s+[A-Z][\w'’-]*)*")
_QUOTED = re.compile(r"\"([^\"]{3,})\"|“([^”]{3,})”|「([^」]{3,})」|«([^»]{3,})»")
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nor|neither|without|cannot|nothing)\b|n['’]t\b|[不没未无非勿]", re.IGNORECASE
)


@dataclass(frozen=True)
class Unsupported:
    """Something that a summary says and its document does not.

    Attributes:
        begin: index of its first character in the summary.
        end: of the first behind it.
        kind: `name`, `number`, `quotation` or `negation`.
    """

    begin: int
    end: int
    kind: str


class Source:
    """What a document says.

    Args:
        document: its text.
    """

    def __init__(self, document: str) -> None:
        self._document = document
        self._folded = _folded(document)
        self._words = set(words(document))
        self._numbers = {_digits(found) for found in _NUMBER.findall(_plain(document))}
        self._numbers |= {number for word, number in _NUMBER_WORDS.items() if word in self._words}
        self._numbers |= {number for digit, number in _CHINESE_DIGITS.items() if digit in document}

    @functools.cached_property
    def _sentences(self) -> list[tuple[Counter[str], bool]]:
        """The words of each sentence, and whether it negates something."""
        return [_counted(sentence) for sentence in document_sentences(self._document)]

    def unsupported(self, summary: str) -> list[Unsupported]:
        """Return what a summary says and the document does not, in the order of the summary.

        A name is a word with a capital letter that does not begin a sentence; it is there if its words are. A number is
        there if its digits are, however they are grouped, or its word. A quotation is there word for word. A negation
        is there if the sentence of the document that shares most words with it has one.

        Cost: linear in the document for each sentence of the summary that negates something; else in the summary.
        """
        found = [*self._quotations(summary), *self._numbers_in(summary), *self._names(summary)]
        found += self._negations(summary)
        return sorted(found, key=lambda one: (one.begin, one.end))

    def _quotations(self, summary: str) -> Iterator[Unsupported]:
        for match in _QUOTED.finditer(summary):
            text = next(group for group in match.groups() if group is not None)
            if _folded(text).strip(" .,;:!?。，") not in self._folded:
                yield Unsupported(*match.span(), "quotation")

    def _numbers_in(self, summary: str) -> Iterator[Unsupported]:
        for match in _NUMBER.finditer(summary):
            number = _plain(match[0])
            apart = {_digits(part) for part in number.split(" ")}
            if _digits(number) not in self._numbers and not apart <= self._numbers:
                yield Unsupported(*match.span(), "number")

    def _names(self, summary: str) -> Iterator[Unsupported]:
        for begin, end in _sentence_spans(summary):
            for match in _NAME.finditer(summary, begin, end):
                for word in re.finditer(r"\S+", match[0]):
                    start = match.start() + word.start()
                    text = word[0].rstrip("'’-")
                    first = summary[begin:start].strip("\"'“‘«「(*_- \n") == ""
                    if _is_name(text, first) and not self._holds(text):
                        yield Unsupported(start, start + len(text), "name")

    def _negations(self, summary: str) -> Iterator[Unsupported]:
        for begin, end in _sentence_spans(summary):
            match = _NEGATION.search(summary, begin, end)
            if match and not self._negates(summary[begin:end]):
                yield Unsupported(*match.span(), "negation")

    def _negates(self, sentence: str) -> bool:
        """Tell whether the sentence of the document that shares most words with one negates something."""
        own, _ = _counted(sentence)
        shared = ((sum((own & theirs).values()) / (1 + theirs.total()) ** 0.5, no) for theirs, no in self._sentences)
        return max(shared, default=(0, False))[1]

    def _holds(self, name: str) -> bool:
        """Tell whether the document has the words of a name, as they are or in the singular."""
        parts = words(re.sub(r"['’]s$", "", name))
        return all(part in self._words or part.removesuffix("s") in self._words for part in parts)


def supported_sentences(summary: str, found: list[Unsupported]) -> str:
    """Return a summary without the sentences in which something was found that its document does not say."""
    kept = [
        summary[begin:end]
        for begin, end in _sentence_spans(summary)
        if not any(one.begin < end and one.end > begin for one in found)
    ]
    return " ".join(text.strip() for text in kept)


def _sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each sentence, on whatever line."""
    position = 0
    for line in text.splitlines():
        for sentence in sentences(line):
            begin = text.index(sentence, position)
            position = begin + len(sentence)
            yield begin, position


def _is_name(word: str, first: bool) -> bool:
    """Tell whether a word is a name by its letters; of the first word of a sentence only a capital inside counts."""
    return any(letter.isupper() for letter in word[1 if first else 0 :]) and len(word) > 1


def _counted(sentence: str) -> tuple[Counter[str], bool]:
    """Count the words of a sentence without those that negate, and tell whether there are such."""
    return Counter(words(_NEGATION.sub(" ", sentence))), bool(_NEGATION.search(sentence))


def _folded(text: str) -> str:
    return " ".join(_plain(text).casefold().replace("’", "'").split())


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _digits(number: str) -> str:
    return "".join(filter(str.isdigit, number))
