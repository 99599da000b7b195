"""Writes what was found out about a document as Markdown, JSON or TMX."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from simmim import __version__
from simmim.serve.app.pages import Page
from simmim.tasks.summarization.extracts.extract import LENGTHS

__all__ = ["as_json", "as_markdown", "as_tmx"]

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


def _xml(text: Any) -> str:
    return escape(_INVALID_XML.sub("\ufffd", str(text)))
