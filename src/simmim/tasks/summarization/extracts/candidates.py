"""Finds the sentences of a text that can stand in a summary, and says how well each stands alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from simmim.reading.outline import Outline
from simmim.reading.sentences import sentences
from simmim.tasks.summarization.words import count_words

__all__ = ["Candidate", "candidates"]

_FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_LEADERS = re.compile(  # the dots in a line of a table of contents, few of them before a number alone
    r"(?:[.·][ \t]?){5,}|(?:…[ \t]?){3,}|(?:[.·][ \t]){3}\s*[\divxlc]+\s*$"
)
_END = re.compile(r"[.!?。！？…][\"'”’」』)\]*_]*$")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_CODE = re.compile(r"[{}<>|=\\]|\.{4,}|_{3,}|-{4,}|::|\w\(\)|(?:^|\s)[$#%]\s|https?://")
# what a sentence that leans on the one before it begins with
_LEANING = re.compile(
    r"(?:however|therefore|thus|hence|moreover|furthermore|also|but|and|or|nor|so|then|otherwise|instead|nevertheless|"
    r"in addition|in particular|for example|for instance|similarly|likewise|again|finally|now|next|still|yet|"
    r"in this case|as a result|it|its|he|she|they|his|her|their|these|those|this|that|such|here|there|note that)\b",
    re.IGNORECASE,
)
_LEANING_CJK = re.compile(r"[但而且因所另此这那他她它其]|然而|同时|例如|比如")
# what a sentence about the whole document begins with
_ABOUT = re.compile(
    r"(?:in |the )?(?:this|present|our) (?:\w+ )?(?:document|paper|article|agreement|contract|study|report|memo|"
    r"specification|manual|guide|book|handbook|package|policy|standard|thesis|survey|tutorial|program|library|act)\b|"
    r"we (?:present|propose|describe|show|study|report|investigate|find|found|conclude)\b|"
    r"(?:本|这[篇份本])[文书章研论手]",
    re.IGNORECASE,
)
# an address to the reader, and a line of a form
_ADDRESS = re.compile(r"(?:dear|mr\.|mrs\.|ms\.|madam|sir|ladies|gentlemen|(?:my )?fellow)\b", re.IGNORECASE)
_FIELD = re.compile(r"[A-Z][\w ]{1,24}: ")
# sections about the document itself
_ASIDE = re.compile(
    r"contents|copyright|licen[cs]e|acknowledg|references|bibliography|index|see also|authors?\b|status of this|"
    r"change ?log|revision|history|colophon|contributors|footnotes|full statement|disclaimer|iana considerations|"
    r"目录|版权|许可|致谢|参考文献|参见|作者|索引",
    re.IGNORECASE,
)
_ASIDE_TEXT = re.compile(
    r"all rights reserved|general public license|copyright (?:\(c\)|©|notice)|without warranty|"
    r"permission is (?:hereby )?granted|distribution of this (?:document|memo)|key words \"MUST\"|版权所有",
    re.IGNORECASE,
)
# sections that say what a document is about
_SUMMING = re.compile(
    r"abstract|summary|introduction|overview|conclusion|purpose|synopsis of|description|background|in short|"
    r"摘要|引言|简介|概述|结论|总结|前言",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Candidate:
    """A sentence.

    Attributes:
        begin: index of its first character in the text.
        end: of the first behind it.
        text: the sentence on one line, words that a line end cut joined again.
        headings: those over it, the outermost first.
        words: as `count_words` counts them.
        fitness: how well it stands alone, from 0 to about 1.
    """

    begin: int
    end: int
    text: str
    headings: tuple[str, ...]
    words: int
    fitness: float


def candidates(text: str, headings: Mapping[int, int] | None = None, *, wrapped: bool = True) -> list[Candidate]:
    """Return the sentences of a text that are prose, in its order.

    Code, tables, headings, page heads and what is too short to say anything are left out; where nothing else is there,
    they are not. Cost: a few passes over the characters.

    Args:
        text: the text.
        headings: as for `Outline`.
        wrapped: whether a paragraph may have several lines.
    """
    outline = Outline(text, headings)
    prose = _prose(text, outline)
    spans = list(_spans(prose, wrapped))
    found = list(_found(prose, spans, outline))
    return found or [
        Candidate(begin, end, flat, outline.over(begin), count_words(flat), 0.1)
        for begin, end in _spans(text, wrapped)
        if any(map(str.isalpha, flat := _flat(text[begin:end])))
    ]


def _spans(text: str, wrapped: bool) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each sentence, without the white space around it."""
    start = 0
    for part in [text] if wrapped else text.splitlines(keepends=True):
        for begin, end in sentences(part):
            sentence = part[begin:end]
            left, right = len(sentence) - len(sentence.lstrip()), len(sentence) - len(sentence.rstrip())
            yield start + begin + left, start + end - right
        start += len(part)


def _found(text: str, spans: Sequence[tuple[int, int]], outline: Outline) -> Iterator[Candidate]:
    early = len(text) / 7  # what a document says about itself it says at its beginning
    whole_before = True  # whether the sentence before ended as one
    for begin, end in spans:
        flat = _flat(text[begin:end])
        starts, whole_before = whole_before, bool(_END.search(flat))
        headings = outline.over((begin + end) // 2)
        count = count_words(flat)
        fitness = _fitness(flat, count, headings, starts, begin < early)
        if fitness > 0:
            yield Candidate(begin, end, flat, headings, count, fitness)


def _prose(text: str, outline: Outline) -> str:
    """Return a text of equal length in which headings, code and contents are blank lines, and page heads spaces."""
    kept = list(text)
    begin = 0
    for line in text.splitlines(keepends=True):
        if _LEADERS.search(line):
            _blank(kept, begin, begin + len(line), "\n")
        begin += len(line)
    for match in _FENCE.finditer(text):
        _blank(kept, match.start(), match.end(), "\n")
    for begin, end in outline.heading_spans:
        _blank(kept, begin, end, "\n")
    for begin, end in _grouped(text, outline.page_heads):
        # a sentence may go on behind the head of the next page
        before, behind = begin, end
        while before > 0 and text[before - 1].isspace():
            before -= 1
        while behind < len(text) and text[behind].isspace():
            behind += 1
        if text[before - 1 : before] not in tuple(".!?:。！？") and text[behind : behind + 1].islower():
            _blank(kept, before, behind, " ")
        else:
            _blank(kept, begin, end, "\n")
    return "".join(kept)


def _grouped(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join spans with nothing but white space between them: the foot of a page and the head of the next."""
    groups: list[tuple[int, int]] = []
    for begin, end in spans:
        if groups and not text[groups[-1][1] : begin].strip():
            groups[-1] = groups[-1][0], end
        else:
            groups.append((begin, end))
    return groups


def _blank(kept: list[str], begin: int, end: int, blank: str) -> None:
    kept[begin:end] = blank * (end - begin)


def _flat(text: str) -> str:
    """Put a sentence on one line, without list marks and the marks of Markdown."""
    text = re.sub(r"(?<=[a-zß-ÿ])-\s*\n\s*(?=[a-zß-ÿ])", "", text)  # a word that a line end cut
    text = re.sub(r"(?<=[\u3040-\u30ff\u3400-\u9fff，。、；：])\s*\n\s*(?=[\u3040-\u30ff\u3400-\u9fff])", "", text)
    text = re.sub(r"^\s*(?:[-*•>+]|\d{1,3}[.)])\s+", "", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"(?<!\w)(\*\*|__|\*|`)(?=\S)(.+?)(?<=\S)\1(?!\w)", r"\2", text, flags=re.DOTALL)
    return " ".join(text.split())


def _fitness(text: str, count: int, headings: tuple[str, ...], starts: bool, early: bool) -> float:
    """Return how well a sentence stands alone.

    Args:
        text: the sentence.
        count: its words.
        headings: those over it.
        starts: whether it begins where a sentence ended.
        early: whether it stands at the beginning of the document.
    """
    cjk = bool(_CJK.search(text))
    letters = sum(character.isalpha() for character in text)
    shown = sum(not character.isspace() for character in text)
    if count < (8 if cjk else 5) or letters < 0.6 * shown:
        return 0.0
    fitness = 1.0 if _END.search(text) else 0.25 if text.endswith((":", "：", ";", "；", ",")) else 0.4
    first = text.lstrip("\"'“‘([")[:1]
    if first.islower() or not starts:
        fitness *= 0.4
    if _ABOUT.match(text):
        fitness *= 1.3 if early else 1
    elif (_LEANING_CJK if cjk else _LEANING).match(text.lstrip("(")):
        fitness *= 0.7
    if text.rstrip("\"'”’)").endswith(("?", "？")):
        fitness *= 0.5
    if text.startswith(('"', "“", "「", "'", "(")):
        fitness *= 0.7  # speech needs its speaker, an aside its sentence
    if _ADDRESS.match(text):
        fitness *= 0.5
    if _FIELD.match(text):
        fitness *= 0.6
    fitness *= 0.6 ** min(4, len(_CODE.findall(text)))
    longest, shortest = (130, 20) if cjk else (55, 12)
    if count > longest:
        fitness *= max(0.2, longest / count) ** 1.5
    if count < shortest:
        fitness *= (count / shortest) ** 0.5
    over = " / ".join(headings)
    if _ASIDE.search(over) or _ASIDE_TEXT.search(text):
        fitness *= 0.15
    elif _SUMMING.search(over):
        fitness *= 1.15
    return fitness
