"""Makes Office files, e-books, RTF and e-mails whose archives or parts are damaged, for the kind `documents`."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from random import Random
from xml.sax.saxutils import escape

import pptx

from lab.fuzz.mutations import ODD_TEXTS, damage_bytes

__all__ = ["OFFICE_SUFFIXES", "office_file"]

_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_ODF = "urn:oasis:names:tc:opendocument:xmlns"
_SNIPPETS = (
    "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>",
    "&e;",
    "<!-- ",
    "<?x?>",
    "<![CDATA[x]]>",
    "<a>" * 3_000,
)


def _word(text: str) -> dict[str, str]:
    body = f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p><w:tbl><w:tr><w:tc><w:p/></w:tc></w:tr></w:tbl>"
    return {"word/document.xml": f'<w:document xmlns:w="{_WORD}"><w:body>{body}</w:body></w:document>'}


def _odt(text: str) -> dict[str, str]:
    names = " ".join(f'xmlns:{one}="{_ODF}:{one}:1.0"' for one in ("office", "text"))
    body = f"<office:body><office:text><text:p>{text}<text:s/></text:p></office:text></office:body>"
    return {"content.xml": f"<office:document-content {names}>{body}</office:document-content>"}


def _epub(text: str) -> dict[str, str]:
    item = '<item id="a" href="a.xhtml" media-type="application/xhtml+xml"/>'
    return {
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="a.opf"/></rootfiles></container>',
        "a.opf": f'<package><manifest>{item}</manifest><spine><itemref idref="a"/></spine></package>',
        "a.xhtml": f'<html xmlns="http://www.w3.org/1999/xhtml"><body><p>{text}</p></body></html>',
    }


def _slides(text: str) -> dict[str, str]:
    presentation, out = pptx.Presentation(), io.BytesIO()
    presentation.slides.add_slide(presentation.slide_layouts[5]).shapes.title.text = "TITLE"
    presentation.save(out)
    with zipfile.ZipFile(out) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist() if name.endswith((".xml", ".rels"))}
    return {name: part.replace("TITLE", text) for name, part in parts.items()}


_PACKED: dict[str, Callable[[str], dict[str, str]]] = {".docx": _word, ".odt": _odt, ".epub": _epub, ".pptx": _slides}
_PLAIN = {
    ".rtf": (r"{\b ", r"\par ", r"{\*\x ", "}", r"\u-9999?", r"\u55357?", r"\'e9", r"\bin9 ", r"\trowd a\cell\row "),
    ".eml": (
        *(
            "Subject: =?utf-8?q?=ff?=\n",
            "From: a\n",
            "\n",
            "Content-Type: text/html; charset=zlib\n",
            "--x\n",
            "--x--\n",
        ),
        *("Content-Type: multipart/alternative; boundary=x\n", "Content-Transfer-Encoding: base64\n", "é\n"),
        *(
            "Content-Type: message/rfc822\n",
            "Content-Transfer-Encoding: uuencode\n",
            "Content-Disposition: attachment\n",
        ),
    ),
    ".ipynb": (
        '{"cells": [',
        '{"cell_type": "code", ',
        '"source": ',
        '["a", "```"]',
        '"# b"',
        "null",
        "]}",
        "}, ",
        "[[[",
        "\\ud800",
    ),
    ".vtt": (
        "WEBVTT\n\n",
        "00:01.000 --> ",
        "00:02.000\n",
        "<v Ann>",
        "é\n",
        "\n",
        "99999999999:00:00,0 --> x\n",
        "&#0;",
    ),
}
OFFICE_SUFFIXES = (*_PACKED, *_PLAIN)
"""Endings of the names of what `office_file` makes."""


def office_file(rng: Random, suffix: str) -> bytes:
    """Make a document, most often with a part that is damaged.

    Args:
        rng: draws what is wrong with it.
        suffix: one of `OFFICE_SUFFIXES`.
    """
    if suffix in _PLAIN:
        pieces = "".join(rng.choice(_PLAIN[suffix]) for _ in range(rng.choice((3, 12, 2_000))))
        return (r"{\rtf1 words " + pieces + "}" if suffix == ".rtf" else f"Subject: words\n{pieces}").encode()
    text = escape("some words " + rng.choice(ODD_TEXTS))
    parts = {name: part.encode("utf-8", "replace") for name, part in _PACKED[suffix](text).items()}
    damaged = rng.choice([*parts, ""])
    if damaged and rng.random() < 0.5:
        parts[damaged] = damage_bytes(rng, parts[damaged])
    elif damaged:
        at = rng.randrange(len(parts[damaged]) + 1)
        parts[damaged] = parts[damaged][:at] + rng.choice(_SNIPPETS).encode() + parts[damaged][at:]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))) as archive:
        for name, part in parts.items():
            if rng.random() < 0.98:
                archive.writestr(name, part)
    return out.getvalue()
