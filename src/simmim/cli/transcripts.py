"""Takes the text out of subtitles and transcripts (SubRip, WebVTT): paragraphs that begin with their time."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from simmim.errors import DataError

__all__ = ["transcript_text"]

_CUE = re.compile(
    r"^[ \t]*(?:(\d+):)?(\d{1,2}):(\d\d)[.,]\d{1,3}[ \t]*-->[^\n]*\n(?P<text>(?:[^\n]*\S[^\n]*(?:\n|\Z))+)", re.M
)
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
_MARKUP = re.compile(r"</?[A-Za-z\d][^<>]*>|\{\\[^{}]*\}")
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’」』)]*$")
_LONG = 400  # characters after which a paragraph ends with its sentence
_LONGEST = 1200  # or without it: automatic captions have no full stops


def transcript_text(name: str, source: str) -> str:
    """Return the paragraphs of a transcript, each as `[hours:minutes:seconds] speaker: text`.

    Args:
        name: of the file, for errors.
        source: its characters.

    Raises:
        DataError: there are no cues.
    """
    paragraphs: list[str] = []
    text, speaker, last = "", "", ""
    for time, voice, line in _lines(source.replace("\r\n", "\n").replace("\r", "\n")):
        if line == last:  # automatic captions show each line again under the next one
            continue
        last = line
        ended = len(text) > _LONG and _SENTENCE_END.search(text)
        if not paragraphs or voice != speaker or ended or len(text) > _LONGEST:
            paragraphs.append(f"[{time}] " + (f"{voice}: " if voice else ""))
            text, speaker = "", voice
        joint = " " if text else ""
        text += joint + line
        paragraphs[-1] += joint + line
    if not paragraphs:
        raise DataError(f"{name}: expected subtitles with lines such as 00:01:02,500 --> 00:01:04,000, found none")
    return "\n\n".join(paragraphs)


def _lines(source: str) -> Iterator[tuple[str, str, str]]:
    """Yield the time, the speaker and the text of each line that is shown."""
    for cue in _CUE.finditer(source):
        hours, minutes, seconds = cue[1] or "0", cue[2], cue[3]
        time, voice = f"{int(hours):02}:{int(minutes):02}:{seconds}", ""
        for line in cue["text"].splitlines():
            found = _VOICE.search(line)
            voice = " ".join(html.unescape(found[1]).split()) if found else voice
            shown = " ".join(html.unescape(_MARKUP.sub("", line)).split())
            if shown:
                yield time, voice, shown
