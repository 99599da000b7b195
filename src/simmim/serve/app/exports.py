"""Writes what was found out about a document as Markdown, JSON, DOCX or TMX."""

from __future__ import annotations

import io
import json
import re
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from simmim import __version__
from simmim.errors import ConfigError
from simmim.serve.app.pages import Page
from simmim.tasks.summarization.extracts.extract import LENGTHS

__all__ = ["as_docx", "as_json", "as_markdown", "as_tmx", "translation_as_docx"]

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~-])")
_INVALID_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_json(page: Page) -> str:
    """Return the summaries and the history of a document in JSON; positions count UTF-16 code units."""
    return json.dumps({"name": page.entry.name, **_collected(page)}, ensure_ascii=False, indent=1) + "\n"


def as_markdown(page: Page) -> str:
    """Return the summaries and the history of a document in Markdown; nothing of the document is taken for markup."""
    found = _collected(page)
    lines = [f"# {_plain(page.entry.name)}", ""]
    for length, sentences in found["summaries"].items():
        lines += [f"## Summary: {length}", "", *(f"- {_plain(one['text'])} ({_where(one)})" for one in sentences), ""]
    for record in found["history"]:
        if record["kind"] == "ask":
            lines += [f"## {_plain(str(record.get('question', '')))}", "", _plain(str(record.get("text", ""))), ""]
            for passage in record.get("passages", []):
                where = f"{_plain(str(passage.get('document', '')))}, {_where(passage)}"
                lines += [f"> {where}: {_plain(str(passage.get('text', '')))}", ""]
    return "\n".join(lines)


def as_docx(page: Page) -> bytes:
    """Return the summaries and the history of a document as a DOCX file.

    Raises:
        ConfigError: python-docx is not installed.
    """
    found, file = _collected(page), _new_docx()
    file.add_heading(_text(page.entry.name), 0)
    for length, sentences in found["summaries"].items():
        file.add_heading(f"Summary: {length}", 1)
        for one in sentences:
            file.add_paragraph(f"{_text(one['text'])} ({_where(one)})", "List Bullet")
    for record in found["history"]:
        if record["kind"] == "ask":
            file.add_heading(_text(record.get("question", "")), 1)
            file.add_paragraph(_text(record.get("text", "")))
            for passage in record.get("passages", []):
                where = f"{_text(passage.get('document', ''))}, {_where(passage)}"
                file.add_paragraph(f"{where}: {_text(passage.get('text', ''))}", "Quote")
    return _docx_bytes(file)


def translation_as_docx(translation: dict[str, Any]) -> bytes:
    """Return a translation as a DOCX file, a paragraph a block.

    Raises:
        ConfigError: python-docx is not installed.
    """
    file = _new_docx()
    for block in translation["blocks"]:
        file.add_paragraph(_text(block["text"]))
    return _docx_bytes(file)


def _new_docx() -> Any:
    try:
        from docx import Document
    except ModuleNotFoundError as error:
        raise ConfigError('docx: expected python-docx to be installed; pip install "simmim[documents]"') from error
    return Document()


def _docx_bytes(file: Any) -> bytes:
    content = io.BytesIO()
    file.save(content)
    return content.getvalue()


def as_tmx(translation: dict[str, Any]) -> str:
    """Return a translation as TMX 1.4, a unit a block."""
    source, target = str(translation["from"]), str(translation["to"])
    units = [
        f"<tu><tuv xml:lang={quoteattr(source)}><seg>{_xml(block['source'])}</seg></tuv>"
        f"<tuv xml:lang={quoteattr(target)}><seg>{_xml(block['text'])}</seg></tuv></tu>"
        for block in translation["blocks"]
    ]
    head = (
        f'<header creationtool="simmim" creationtoolversion="{__version__}" segtype="paragraph" o-tmf="plain" '
        f'adminlang="en" srclang={quoteattr(source)} datatype="plaintext"/>'
    )
    body = "\n".join(units)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4">{head}<body>\n{body}\n</body></tmx>\n'


def _collected(page: Page) -> dict[str, Any]:
    digest = page.digest
    summaries = {} if digest is None else {name: digest.summary(name) for name in LENGTHS}
    return {
        "summaries": {name: [page.sentence(one) for one in found] for name, found in summaries.items()},
        "history": page.entry.history(),
    }


def _where(record: dict[str, Any]) -> str:
    page = record.get("page")
    return f"line {record.get('line')}" if page is None else f"page {page}"


def _plain(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", escape(" ".join(text.split())))


def _text(text: Any) -> str:
    """Return a text as XML can hold it."""
    return _INVALID_XML.sub("\ufffd", str(text))


def _xml(text: Any) -> str:
    return escape(_text(text))
