"""Scores a reply to a question by whether the known answers stand in it, whatever their spelling."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

__all__ = ["declines", "holds", "normalise", "score_reply"]

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = {"thousand": 1_000, "million": 1_000_000}
_VALUES = {word: value for value, word in enumerate(_UNITS)} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}

_SMALL = rf"(?:(?:{'|'.join(_TENS)})(?:[-\s](?:{'|'.join(_UNITS[1:10])})\b)?|(?:{'|'.join(reversed(_UNITS))}))"
_HUNDREDS = rf"(?:{_SMALL}\s+hundred(?:(?:\s+and)?\s+{_SMALL})?|{_SMALL})"
_NUMBER = re.compile(
    rf"\b{_HUNDREDS}(?:\s+(?:{'|'.join(_SCALES)})\b(?:(?:\s+and)?\s+{_HUNDREDS})?)*\b", flags=re.IGNORECASE
)

_NOUNS = "document|text|passage|page|context|manual|information|answer|excerpts?|segments?"
_DECLINES = tuple(
    re.compile(pattern, flags=re.IGNORECASE)
    for pattern in (
        r"\b(does|do|did)( not|n't) (say|state|mention|specify|tell|contain|give|provide|include|answer|name|list)",
        r"\b(is|are|was|were)( not|n't) (\w+ )?(said|stated|mentioned|specified|given|provided|found|included|"
        r"listed|available|named|answered|in the (document|text))\b",
        r"\bnot (stated|mentioned|specified|given|provided|found|listed) in\b",
        rf"\bno (such )?({_NOUNS}|mention)\b",
        r"\bthere is no (?=.*\b(document|text)\b)",
        r"\b(cannot|can't|could not|couldn't|can not|unable to) (be )?(answer|find|found|determined?|tell|say)",
        r"\b(do not|don't) (know|have)\b",
        r"\b(unanswerable|unknown)\b",
        rf"\b({_NOUNS}) (lacks|says nothing)\b",
    )
)


def score_reply(answers: Sequence[str], needs: str, reply: str) -> float:
    """Score a reply.

    Args:
        answers: The known answers; none where the document does not say.
        needs: `any` where one of them is enough, `all` where each is asked for.
        reply: What the model said.

    Returns:
        For `any` 1 if an answer stands in the reply, else 0; for `all` the share of the answers that stand in it;
        without answers 1 if the reply says that the document does not tell.
    """
    if not answers:
        return float(declines(reply))
    found = [holds(reply, answer) for answer in answers]
    return float(any(found)) if needs == "any" else sum(found) / len(found)


def declines(reply: str) -> bool:
    """Tell whether a reply says that the document does not tell."""
    plain = " ".join(reply.replace("’", "'").split())
    return any(pattern.search(plain) for pattern in _DECLINES)


def holds(reply: str, answer: str) -> bool:
    """Tell whether an answer stands in a reply as words of its own.

    Case does not matter but for options (`-z` is not `-Z`) and single characters.
    """
    wanted = normalise(answer)
    exact = answer.startswith("-") or len(answer) == 1
    before = r"(?<![\w-])" if answer.startswith("-") else r"(?<!\w)(?<!\d\.)"
    after = r"(?![\w-])" if answer.startswith("-") else r"(?!\w|[./]\w)"
    pattern = before + re.escape(wanted) + after
    return re.search(pattern, normalise(reply), flags=0 if exact else re.IGNORECASE) is not None


def normalise(text: str) -> str:
    """Write numbers as digits without commas, and leave out quotes, marks of emphasis and repeated space."""
    text = unicodedata.normalize("NFKC", text).replace("’", "'").replace("‑", "-").replace("–", "-")
    text = re.sub(r"[`\"*“”‘„]|(?<!\w)'|'(?!\w)", "", text)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = _NUMBER.sub(_digits, text)
    text = re.sub(r"(?<![\w.-])(\d+(?:\.\d+)?)(?=[A-Za-z]{1,8}\b)", r"\1 ", text)  # 30s and 30 s are one
    return re.sub(r"[\s,;]+", " ", text).strip(" .!?:")


def _digits(match: re.Match[str]) -> str:
    """Return the value of a number in words."""
    total = below = 0
    for word in re.findall(r"[a-z]+", match[0].lower()):
        if word in _SCALES:
            total, below = total + below * _SCALES[word], 0
        elif word == "hundred":
            below *= 100
        elif word != "and":
            below += _VALUES[word]
    return str(total + below)
