"""Writes our own documents as Word, PDF, EPUB, HTML and Markdown, to ask the same questions of every format.

Run it as `python -m lab.reading.own_formats FOLDER`.
"""

from __future__ import annotations

import argparse
import html
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docx
import matplotlib
import pyromark
from fpdf import FPDF

__all__ = ["FORMATS", "SOURCES", "Block", "blocks", "questions", "write_all"]

SOURCES = tuple(
    Path(__file__).parents[2] / "examples" / "documents" / f"{one}.md" for one in ("contract", "study", "ticket")
)
_QUESTIONS = Path(__file__).parent / "own_documents.json"
_FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
_OPTIONS = pyromark.Options.ENABLE_TABLES
_SIZES = {1: 17.0, 2: 13.0, 3: 11.0}
_KINDS = {"Heading": "heading", "Paragraph": "text", "Item": "item", "CodeBlock": "code"}
_STYLE = (
    "body { max-width: 44em; margin: 2em auto; font-family: serif } td, th { padding: 0 1em 0 0; text-align: left }"
)


@dataclass
class Block:
    """Holds a part of a document.

    Attributes:
        kind: `heading`, `text`, `item` (of a list), `code` or `table`.
        text: what it says; empty for a table.
        level: of a heading, from 1.
        rows: the cells of a table.
    """

    kind: str
    text: str = ""
    level: int = 0
    rows: list[list[str]] = field(default_factory=list)


def questions() -> list[dict[str, Any]]:
    """Return the questions: document, question, answers, evidence, and whether it is worded as in the document."""
    rows: list[dict[str, Any]] = json.loads(_QUESTIONS.read_text(encoding="utf-8"))
    return rows


def blocks(text: str) -> list[Block]:
    """Return the parts of a Markdown text, without emphasis and links."""
    found: list[Block] = []
    words: list[str] = []
    for event in pyromark.events(text, options=_OPTIONS):
        if not isinstance(event, dict):
            words += [" "] if event in ("SoftBreak", "HardBreak") else []
            continue
        [(step, value)] = event.items()
        tag = next(iter(value)) if isinstance(value, dict) else value
        if step not in ("Start", "End"):
            words.append(str(value))
        elif tag not in ("Emphasis", "Strong", "Link"):
            said = "".join(words).strip("\n")
            words.clear()
            if step == "Start" and tag == "Table":
                found.append(Block("table"))
            elif step == "Start" and tag in ("TableHead", "TableRow"):
                found[-1].rows.append([])
            elif step == "End" and tag == "TableCell":
                found[-1].rows[-1].append(said)
            elif said:
                level = int(value[tag][1:]) if tag == "Heading" and isinstance(value, dict) else 0
                found.append(Block(_KINDS[str(tag)], said, level))
    return found


def _write_docx(text: str, path: Path) -> None:
    document = docx.Document()
    for block in blocks(text):
        if block.kind == "heading":
            document.add_heading(block.text, block.level - 1)  # 0 is the title
        elif block.kind == "table":
            table = document.add_table(0, len(block.rows[0]), style="Table Grid")
            for row in block.rows:
                for cell, words in zip(table.add_row().cells, row, strict=True):
                    cell.text = words
        else:
            document.add_paragraph(block.text, style="List Bullet" if block.kind == "item" else None)
    document.save(str(path))


def _write_pdf(text: str, path: Path) -> None:
    page = FPDF()
    for style, name in (("", "DejaVuSans"), ("B", "DejaVuSans-Bold")):
        page.add_font("sans", style, _FONTS / f"{name}.ttf")
    page.add_font("mono", "", _FONTS / "DejaVuSansMono.ttf")
    page.set_auto_page_break(True, margin=20)
    page.add_page()
    for block in blocks(text):
        page.set_font("mono" if block.kind == "code" else "sans", "", 7.5 if block.kind == "code" else 10)
        if block.kind == "heading":
            page.set_font("sans", "B", _SIZES[block.level])
        if block.kind == "table":
            with page.table(text_align="LEFT", width=min(190, 34 * len(block.rows[0]))) as table:
                for row in block.rows:
                    table.row(row)
        else:
            words = f"• {block.text}" if block.kind == "item" else block.text
            page.multi_cell(0, None, words, align="L", new_x="LMARGIN", new_y="NEXT")
        page.ln(3)
    page.output(str(path))


def _page(title: str, body: str) -> str:
    """Return a page that is HTML and XHTML alike."""
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml"><head>'
        f'<meta charset="utf-8"/><title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n'
        f"<body>\n{body}</body></html>\n"
    )


def _write_html(text: str, path: Path) -> None:
    body = pyromark.html(text, options=_OPTIONS)
    path.write_text(_page(blocks(text)[0].text, body).partition("\n")[2], encoding="utf-8")


def _write_epub(text: str, path: Path) -> None:
    """Write an e-book whose chapters are the sections of the second level."""
    title = html.escape(blocks(text)[0].text)
    first, *sections = pyromark.html(text, options=_OPTIONS).split("<h2>")
    bodies = [first, *(f"<h2>{section}" for section in sections)]
    names = [f"c{number}.xhtml" for number in range(len(bodies))]
    links = "".join(f'<li><a href="{name}">{name[1:-6]}</a></li>' for name in names)
    kind = 'media-type="application/xhtml+xml"'
    items = "".join(f'<item id="{name}" href="{name}" {kind}/>' for name in names)
    spine = "".join(f'<itemref idref="{name}"/>' for name in names)
    package = (
        '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">'
        f'<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:identifier id="id">{path.stem}</dc:identifier>'
        f'<dc:title>{title}</dc:title><dc:language>en</dc:language></metadata><manifest>{items}<item id="nav" '
        f'href="nav.xhtml" {kind} properties="nav"/></manifest><spine>{spine}</spine></package>'
    )
    container = (
        '<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0">'
        '<rootfiles><rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles>'
        "</container>"
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        archive.writestr("META-INF/container.xml", container)
        archive.writestr("OEBPS/book.opf", package)
        nav = f'<nav xmlns:epub="http://www.idpf.org/2007/ops" epub:type="toc"><ol>{links}</ol></nav>'
        archive.writestr("OEBPS/nav.xhtml", _page("Contents", nav))
        for name, body in zip(names, bodies, strict=True):
            archive.writestr(f"OEBPS/{name}", _page(blocks(text)[0].text, body))


def _write_markdown(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


FORMATS: dict[str, Callable[[str, Path], None]] = {
    "docx": _write_docx,
    "pdf": _write_pdf,
    "epub": _write_epub,
    "html": _write_html,
    "md": _write_markdown,
}
"""What writes a Markdown text to a file, by the ending of its name."""


def write_all(folder: Path) -> list[Path]:
    """Write each of our documents in every format into a folder, which is made, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for source in SOURCES:
        text = source.read_text(encoding="utf-8")
        for suffix, write in FORMATS.items():
            written.append(folder / f"{source.stem}.{suffix}")
            write(text, written[-1])
    return written


def main() -> None:
    """Write them into the folder that the command line names."""
    parser = argparse.ArgumentParser(description="Write our own documents in every format.")
    parser.add_argument("folder", type=Path, help="where to; made if it is not there")
    for path in write_all(parser.parse_args().folder):
        print(path)


if __name__ == "__main__":
    main()
