"""Makes small documents for tests: Word, PowerPoint, OpenDocument, EPUB, RTF and e-mail."""

import io
import zipfile
from email.message import EmailMessage

import pptx
from pptx.util import Inches

WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
ODF = 'xmlns:{0}="urn:oasis:names:tc:opendocument:xmlns:{0}:1.0"'
ODF_NAMES = " ".join(ODF.format(one) for one in ("office", "text", "table", "drawing"))
CONTAINER = b'<container><rootfiles><rootfile full-path="OEBPS/a.opf"/></rootfiles></container>'


def packed(entries):
    """Return a ZIP archive; an entry's content may be an iterable of pieces."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            how = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            with archive.open(zipfile.ZipInfo(name) if how == zipfile.ZIP_STORED else name, "w") as entry:
                for piece in [content.encode()] if isinstance(content, str) else [content]:
                    entry.write(piece)
    return out.getvalue()


def word(*lines):
    """Return a Word document without the styles that programs add, which take their time to read."""
    body = "".join(f"<w:p><w:r><w:t>{line}</w:t></w:r></w:p>" for line in lines)
    document = f"<w:document {WORD}><w:body>{body}</w:body></w:document>"
    return packed({"[Content_Types].xml": "<Types/>", "word/document.xml": document})


def slides(*texts):
    """Return a presentation with a text box a slide; None makes a slide without text."""
    presentation = pptx.Presentation()
    for text in texts:
        slide = presentation.slides.add_slide(presentation.slide_layouts[6])
        if text is not None:
            slide.shapes.add_textbox(0, 0, Inches(5), Inches(1)).text_frame.text = text
    out = io.BytesIO()
    presentation.save(out)
    return out.getvalue()


def open_document(body, manifest="<manifest/>"):
    content = f"<office:document-content {ODF_NAMES}><office:body>{body}</office:body></office:document-content>"
    entries = {"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": content}
    return packed({**entries, "META-INF/manifest.xml": manifest})


def odt(*lines):
    return open_document(f"<office:text>{''.join(f'<text:p>{line}</text:p>' for line in lines)}</office:text>")


def epub(*pages, missing=(), locked=""):
    """Return an e-book with a page a chapter, in reverse in the archive and by the names c0.xhtml, c1.xhtml and on."""
    names = [f"c{number}.xhtml" for number in range(len(pages))]
    kind = 'media-type="application/xhtml+xml"'
    items = "".join(f'<item id="i{name}" href="{name}" {kind}/>' for name in names)
    spine = "".join(f'<itemref idref="i{name}"/>' for name in names)
    package = f"<package><manifest>{items}</manifest><spine>{spine}</spine></package>"
    entries = {"mimetype": "application/epub+zip", "META-INF/container.xml": CONTAINER, "OEBPS/a.opf": package}
    entries |= {f"OEBPS/{name}": page for name, page in reversed([*zip(names, pages, strict=True)])}
    entries |= {"META-INF/encryption.xml": f'<e URI="OEBPS/{locked}"/>'} if locked else {}
    return packed({name: content for name, content in entries.items() if name not in missing})


def book(*lines):
    paragraphs = "".join(f"<p>{line}</p>" for line in lines)
    return epub(f'<html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head><body>{paragraphs}</body></html>')


def rtf(*lines):
    def escaped(text):
        units = text.encode("utf-16-le")
        codes = [int.from_bytes(units[at : at + 2], "little", signed=True) for at in range(0, len(units), 2)]
        return "".join(chr(code) if 0 <= code < 128 else f"\\u{code}?" for code in codes)

    return b"{\\rtf1\\ansi " + "\\par\n".join(map(escaped, lines)).encode() + b"\\par}"


def mail(*lines):
    message = EmailMessage()
    message["From"] = "Ana Ruiz <ana@example.org>"
    message["Subject"] = "Räume"
    message.set_content("\n".join(lines))
    return bytes(message)
