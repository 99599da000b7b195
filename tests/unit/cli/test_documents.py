"""Tests that text is taken out of documents whole, or refused with what is wrong."""

import io
import sys

import pytest
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from simmim.cli.documents import check_encoding, check_libraries, extract
from simmim.errors import ConfigError, DataError


def pdf(*pages, password=None):
    """Return a PDF with a line of text a page; None makes a page without text."""
    writer = PdfWriter()
    for text in pages:
        page = writer.add_blank_page(300, 300)
        if text is None:
            continue
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode("latin-1"))
        page[NameObject("/Contents")] = writer._add_object(stream)
        kind = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}
        font = DictionaryObject({NameObject(key): NameObject(value) for key, value in kind.items()})
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    if password is not None:
        writer.encrypt(password, algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"one\n", "one\n"),
        ("é – 漢".encode(), "é – 漢"),
        (b"\xef\xbb\xbfone", "one"),
        (b"one\r\ntwo\rthree", "one\ntwo\nthree"),
        (b"x" * 10_000_000, "x" * 10_000_000),
        ("שלום עולם, مرحبا، می\u200cخواهم".encode(), "שלום עולם, مرحبا، می\u200cخواهم"),
    ],
    ids=["plain", "wide", "byte order mark", "line ends", "a line of 10 MB", "right to left"],
)
def test_a_text_is_read_whole(content, text):
    assert extract("text.txt", content).text == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "text.txt: expected a text, the file is empty"),
        (b" \n\t\r\n ", "text.txt: expected a text, the file is blank"),
        (b"\xef\xbb\xbf", "text.txt: expected a text, the file holds none"),
        (b"ab\0c", r"text.txt: .*binary file \(NUL byte at offset 2\)"),
        (b"ab\xffc", "text.txt: .*got byte 0xff at offset 2; convert the file, or .* --encoding NAME"),
        (b"\xef\xbb\xbfab\xe9", "text.txt: .*got byte 0xe9 at offset 5; convert"),
        (b"caf\xc3", "text.txt: .*got byte 0xc3 at offset 3; convert"),
        ("text".encode("utf-16"), "text.txt: .*byte order mark of UTF-16; try --encoding utf-16"),
    ],
    ids="empty|blank|only a mark|binary|not utf-8|not utf-8 after a mark|cut in a character|utf-16".split("|"),
)
def test_what_is_no_text_is_refused(content, message):
    with pytest.raises(DataError, match=message):
        extract("text.txt", content)


def test_another_encoding_can_be_named():
    assert extract("text.txt", b"caf\xe9", "latin-1").text == "café"
    assert extract("text.txt", "a漢".encode("utf-16"), "utf-16").text == "a漢"
    with pytest.raises(DataError, match="expected text in ascii, got byte 0xe9 at offset 3; name its own"):
        extract("text.txt", b"caf\xe9", "ascii")
    with pytest.raises(DataError, match="expected text in latin-1, got a NUL character at 1"):
        extract("text.txt", b"a\0b", "latin-1")
    check_encoding("latin-1")
    for wrong in ("nonsense", "base64"):
        with pytest.raises(ConfigError, match=f"--encoding: expected a text encoding .*, got '{wrong}'"):
            check_encoding(wrong)


def test_markdown_leaves_its_words():
    source = "# Title\n\nSome *strong*\n`code` and [a link](http://x.org) ![a picture](p.png).\n\n- one\n- two\n\n"
    source += "```python\nx = 1\n```\n\n| a | b |\n| - | - |\n| c | d |\n"
    expected = "Title|Some strong\ncode and a link a picture.|one|two|x = 1|a|b|c|d"
    assert extract("page.md", source.encode()).text == expected.replace("|", "\n\n")
    assert extract("page.txt", source.encode()).text == source


def test_html_leaves_what_a_reader_sees():
    page = b"<head><title>t</title></head><script>x()</script><h1>One</h1><p>two <b>th</b>ree\n four<br>five&eacute;"
    assert extract("page.HTML", page).text == "One\ntwo three four\nfiveé"
    declared = b'<meta charset="latin-1"><p>caf\xe9'
    assert extract("page.htm", declared).text == "café"
    with pytest.raises(DataError, match="page.html: expected text in UTF-8, got byte 0xe9 at offset 6"):
        extract("page.html", b"<p>caf\xe9")
    with pytest.raises(DataError, match="page.html: expected a text"):
        extract("page.html", b"<script>only()</script>")


def test_a_pdf_gives_its_pages_and_says_which_have_no_text():
    found = extract("paper.pdf", pdf("first page", None, "third page"))
    assert (found.text, found.note) == ("first page\n\nthird page", "no text on 1 of 3 pages (2)")
    assert extract("paper", pdf("one")).text == "one"
    assert extract("paper.pdf", pdf("one", password="")).note == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pdf("one", password="secret"), "paper.pdf: expected a PDF that opens without a password"),
        (pdf(None, None), "paper.pdf: expected a PDF with text, its 2 pages hold none; if they are scanned"),
        (b"%PDF-1.7 nonsense", "paper.pdf: expected a PDF, cannot read it: ."),
        (pdf("one")[:200], "paper.pdf: expected a PDF, cannot read it: ."),
        (b"plain", "paper.pdf: expected a PDF, cannot read it: ."),
    ],
    ids="encrypted|scanned|nonsense|cut|text".split("|"),
)
def test_a_pdf_without_readable_text_is_refused(content, message):
    with pytest.raises(DataError, match=message):
        extract("paper.pdf", content)


@pytest.mark.parametrize(("name", "library"), [("a.pdf", "pypdf"), ("b.html", "bs4")])
def test_a_missing_library_is_named_with_the_remedy(monkeypatch, name, library):
    monkeypatch.setitem(sys.modules, library, None)
    message = rf'needs the package {library}; install it with: pip install "simmim\[documents\]"'
    with pytest.raises(ConfigError, match=message):
        check_libraries(["text.txt", name])
    with pytest.raises(ConfigError, match=message):
        extract(name, b"<p>text")
    check_libraries(["text.txt", "page.md"])
