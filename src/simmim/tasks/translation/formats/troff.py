"""Manual pages in troff, with the macros of man(7) and mdoc(7): paragraphs, headings and tags of lists are blocks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator

from simmim.tasks.translation.documents import SpanDocument
from simmim.tasks.translation.marks import Block, Piece, make_block

__all__ = ["escape_troff", "open_troff"]

_FONTS = frozenset("B I R BI IB BR RB IR RI SM SB".split())
_HEADINGS = frozenset("SH SS Sh Ss".split())
_CODE = {"nf": "fi", "EX": "EE", "TS": "TE", "EQ": "EN", "de": ".", "Bd": "Ed", "ig": ".", "SY": "YS"}
# macros of mdoc(7) that go on in the line of text around them
_INLINE = frozenset("Nm Ar Fl Pa Xr Ev Va Vt Fn Cm Li Ql Dq Sq Pq Em Sy Op Fa Er Dv Ic Ad Tn Ux Bx No Ns Nd".split())
_ESCAPE = re.compile(
    r"""(?x)\\(?:
    f(?:\[[^]\n]*\]|\([^\n]{2}|[^\n])     # fonts
    | \[[^]\n]+\] | \([^\n]{2}            # characters by name
    | \*(?:\[[^]\n]+\]|\([^\n]{2}|[^\n])  # strings
    | s[-+]?\d | [hvw]'[^'\n]*'           # sizes, motions
    | ["\#][^\n]*                         # comments
    | [^\n]
    )"""
)
_CHARACTERS = {
    **{r"\-": "-", r"\ ": " ", r"\~": "\xa0", r"\e": "\\", r"\&": "", r"\,": "", r"\/": "", r"\|": "", r"\^": ""},
    **{r"\(aq": "'", r"\[aq]": "'", r"\(dq": '"', r"\[dq]": '"', r"\(em": "—", r"\(en": "–", r"\(hy": "-"},
    **{r"\(lq": "“", r"\(rq": "”", r"\(oq": "‘", r"\(cq": "’", r"\(bu": "•", r"\(co": "©", r"\(rs": "\\"},
    **{r"\(ga": "`", r"\(ha": "^", r"\(ti": "~", r"\'": "´", r"\(Fo": "«", r"\(Fc": "»"},
    **{r"\.": ".", r"\%": "", r"\:": "", r"\[em]": "—", r"\[en]": "–", r"\[lq]": "“", r"\[rq]": "”"},
    **{r"\[ha]": "^", r"\[ti]": "~", r"\[rs]": "\\"},
    **{r"\*(lq": "“", r"\*(rq": "”"},
}  # fmt: skip
_PLAIN = (r"\fP", r"\fR", r"\f[R]", r"\f[]", r"\f1", r"\f[P]")


def escape_troff(text: str) -> str:
    """Write a text as troff has it."""
    text = text.replace("\\", r"\e").replace("\xa0", r"\~")
    # hyphens of options and dashes between words, not those of compound words
    return re.sub(r"(?<![^\W_])-(?=[\w-])|(?<= )-(?= )", r"\\-", text)


def _as_lines(_: str, text: str) -> str:
    """Write a block in one line; mend the line ends around macros, and the beginning of a line that would be one."""
    text = re.sub(r" *\n\s*", "\n", text)
    return rf"\&{text}" if text[:1] in (".", "'") else text


def open_troff(source: str, encode: Callable[[str], bytes]) -> SpanDocument:
    """Find the blocks of a manual page.

    Args:
        source: its characters.
        encode: turns characters into the bytes of a file.
    """
    return SpanDocument(source, list(_blocks(source)), escape_troff, encode, _as_lines)


def _blocks(source: str) -> Iterator[Block]:
    pieces: list[Piece] = []
    key, ending, tag = "", "", False
    for start, end in _lines(source):
        line = source[start:end]
        macro = re.match(r"[.'][ \t]*([A-Za-z.]{0,3})", line)
        name = macro[1] if macro else ""
        if ending:
            if macro and name == ending:
                ending = ""
            continue
        if macro and (line[1:3] == '\\"' or (not name and not tag)):
            continue
        if not macro and line.strip():
            pieces += _text(source, start, end)
        elif name in _FONTS:
            pieces += _fonts(source, start, end, name)
        elif name in _INLINE:
            pieces.append(Piece(start, end, None, source=f"\n{line}\n"))
            pieces.append(Piece(end, end, " "))
            continue
        else:
            yield from _finished(source, pieces, key)
            key = name
            if name in _HEADINGS:
                yield from _heading(source, start, end, name)
            ending = _CODE.get(name, "")
            tag = name == "TP"
            continue
        pieces.append(Piece(end, min(end + 1, len(source)), " "))
        if tag:  # the line after .TP is a block of its own
            yield from _finished(source, pieces, "TP")
            key, tag = "TP/", False
    yield from _finished(source, pieces, key)


def _lines(source: str) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(source):
        end = source.find("\n", start)
        end = len(source) if end < 0 else end
        yield start, end
        start = end + 1


def _finished(source: str, pieces: list[Piece], key: str) -> Iterator[Block]:
    # comments and macros between lines leave gaps, which a block cannot have: it is from its first piece to its last
    block = make_block(source, pieces, escape_troff, key)
    pieces.clear()
    if block is not None:
        yield block


def _heading(source: str, start: int, end: int, name: str) -> Iterator[Block]:
    begin = start + source[start:end].index(name) + len(name)
    text = source[begin:end]
    begin += len(text) - len(text.lstrip())
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        begin, text = begin + 1, text[1:-1]
    yield from _finished(source, list(_text(source, begin, begin + len(text))), name)


def _fonts(source: str, start: int, end: int, name: str) -> Iterator[Piece]:
    """Yield the pieces of a line such as `.BR ls (1)`, its fonts as escapes."""
    words = _words(source[start + 1 : end].partition(name)[2])
    fonts = {"SM": "R", "SB": "B"}.get(name, name)
    if len(fonts) == 1:
        words = [" ".join(words)]
    for index, word in enumerate(words):
        font = fonts[index % len(fonts)]
        if font != "R":
            yield Piece(start, end, None, "font", rf"\f{font}")
        for piece in _text(word, 0, len(word)):
            written = word[piece.start : piece.end] if piece.text is None and piece.source is None else piece.source
            yield Piece(start, end, piece.text, piece.name, written)
        if font != "R":
            yield Piece(start, end, None, "/font", r"\fP")


def _words(text: str) -> list[str]:
    lexer = shlex.shlex(text.strip(), posix=True)
    lexer.whitespace_split, lexer.escape, lexer.quotes, lexer.commenters = True, "", '"', ""
    try:
        return list(lexer)
    except ValueError:  # a quote without its other
        return text.replace('"', "").split()


def _text(source: str, start: int, end: int) -> Iterator[Piece]:
    """Yield the pieces of a line of text."""
    position = start
    for found in _ESCAPE.finditer(source, start, end):
        if found.start() > position:
            yield Piece(position, found.start(), source[position : found.start()])
        written = found[0]
        position = found.end()
        if written.startswith(r"\f"):
            name = "/font" if written in _PLAIN else "font"
            yield Piece(found.start(), position, None, name)
        elif written in _CHARACTERS:
            yield Piece(found.start(), position, _CHARACTERS[written])
        else:
            yield Piece(found.start(), position)
    if position < end:
        yield Piece(position, end, source[position:end])
