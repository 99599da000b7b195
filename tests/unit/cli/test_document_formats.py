"""Tests that Office files, e-books, RTF and e-mails are read whole, or refused with what is wrong with them."""

import io
import sys
import zipfile
from email.message import EmailMessage

import docx
import pptx
import pytest

from document_files import book, epub, mail, odt, open_document, packed, rtf, slides, word
from simmim.cli import document_worker
from simmim.cli.document_worker import DocumentReader
from simmim.cli.documents import extract, kind_of
from simmim.errors import DataError

TEXT = ("Lease – “Mill Lane”", "The rent is 1,240 € a month.", "漢字 🌲")


def outcome(read, name, content):
    """Return the text, or the error, which has to be one of the document."""
    try:
        return read(name, content).text
    except DataError as error:
        if not str(error).startswith(f"{name}: "):
            raise
        return str(error)


MAKE = {"a.docx": word, "a.pptx": lambda *lines: slides("\n".join(lines)), "a.odt": odt, "a.epub": book}
MAKE |= {"a.rtf": rtf, "a.eml": mail}
KINDS = {"a.docx": "DOCX", "a.pptx": "PPTX", "a.odt": "ODT", "a.epub": "EPUB", "a.rtf": "RTF"}
PACKED = ("a.docx", "a.pptx", "a.odt", "a.epub")
formats = pytest.mark.parametrize("name", MAKE)


@pytest.fixture(scope="module")
def reader():
    with DocumentReader() as reader:
        yield reader


@formats
def test_the_text_comes_whole_and_in_its_order(reader, name):
    content = MAKE[name](*TEXT)
    found = reader.extract(name, content)
    assert found == extract(name, content)
    lines = [line for line in found.text.split("\n") if line]
    fields = ["From: Ana Ruiz <ana@example.org>", "Subject: Räume"] if name == "a.eml" else []
    assert lines == [*fields, *TEXT]
    assert (found.note, found.pages) == ("", (0,) if name == "a.pptx" else ())


@pytest.mark.parametrize("name", KINDS)
def test_a_document_without_a_telling_name_is_known_by_its_content(name):
    content = MAKE[name](*TEXT)
    assert kind_of("-", content) == kind_of("report.tmp", content) == KINDS[name]
    assert extract("-", content).text == extract(name, content).text


@formats
def test_a_document_that_is_cut_is_refused_or_is_an_e_mail(reader, name):
    content = MAKE[name](*TEXT)
    for end in (1, 4, 30, len(content) // 2, len(content) - 3):
        found = outcome(reader.extract, name, content[:end])
        assert found.startswith(f"{name}: expected ") or name == "a.eml"


@formats
@pytest.mark.parametrize("content", [b"", b"\0" * 40, b"PK\x03\x04" + b"\xff" * 40, b"{\\rtf", b"%PDF-1.7", b"text"])
def test_what_is_something_else_is_refused(name, content):
    with pytest.raises(DataError, match=f"^{name}: expected "):
        extract(name, content)


@formats
def test_an_empty_document_is_refused(name):
    if name == "a.eml":
        assert extract(name, mail("")).text.startswith("From: ")
    else:
        with pytest.raises(DataError, match="^a.*: expected .* (holds? none|is blank)"):
            extract(name, MAKE[name](""))


@formats
def test_every_flipped_byte_is_a_text_or_an_error_of_the_document(name):
    content = MAKE[name]("one")
    for at in range(0, len(content), max(1, len(content) // 60)):
        damaged = bytearray(content)
        damaged[at] ^= 0x55
        outcome(extract, name, bytes(damaged)).encode()


@pytest.mark.parametrize("name", PACKED)
def test_a_bomb_is_refused_before_it_is_unpacked(name):
    out = io.BytesIO(MAKE[name](*TEXT))
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("word/extra.xml", "w") as entry:
        for _ in range(200):
            entry.write(b" " * 2**20)
    with pytest.raises(DataError, match="of this size to unpack to .* MiB at most, it unpacks to 20. MiB; convert"):
        extract(name, out.getvalue())


def test_what_takes_too_long_to_unpack_or_read_stops_no_other(monkeypatch):
    monkeypatch.setattr(document_worker, "_SECONDS_PER_MIB", 0)
    long = word(*["x"] * 300_000)
    with DocumentReader(seconds=0.3) as reader:
        with pytest.raises(DataError, match="long.docx: expected .* takes more than 0 s to read"):
            reader.extract("long.docx", long)
        reader._seconds = 60
        assert reader.extract("a.rtf", rtf("one")).text.strip() == "one"


@pytest.mark.parametrize("name", PACKED)
def test_entities_are_neither_blown_up_nor_fetched(tmp_path, name):
    secret = tmp_path / "secret.txt"
    secret.write_text("fetched")
    lots = "".join(f'<!ENTITY e{number} "{f"&e{number - 1};" * 10}">' for number in range(1, 10))
    for entity in (f'<!ENTITY e9 SYSTEM "{secret.as_uri()}">', f'<!ENTITY e0 "lots">{lots}'):
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(MAKE[name]("marked"))) as before, zipfile.ZipFile(out, "w") as after:
            for entry in before.namelist():
                content = before.read(entry)
                if b"marked" in content:
                    start = content.index(b"?>") + 2 if content.startswith(b"<?xml") else 0
                    head = content[:start] + f"<!DOCTYPE x [{entity}]>".encode()
                    content = head + content[start:].replace(b"marked", b"one &e9; two")
                after.writestr(entry, content)
        text = outcome(extract, name, out.getvalue())
        assert "fetched" not in text
        assert len(text) < 1_000


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("a.docx", "mammoth", "mammoth"),
        ("a.pptx", "pptx", "python-pptx"),
        ("a.rtf", "striprtf", "striprtf"),
        ("a.epub", "turbohtml", "turbohtml"),
    ],
)
def test_a_missing_library_names_the_remedy(monkeypatch, name, module, package):
    content = MAKE[name](*TEXT)
    monkeypatch.setitem(sys.modules, module, None)
    message = rf'{name}: {KINDS[name]} needs the package {package}; install it with: pip install "simmim\[documents\]"'
    with pytest.raises(DataError, match=message):
        extract(name, content)


PARAGRAPH = "<text:p>one</text:p>"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "expected DOCX, got a file of an old Office"),
        ("a.docx", packed({"x": "y"}), "expected DOCX, cannot read it: ."),
        ("a.docx", slides("one"), "expected DOCX, cannot read it: ."),
        ("a.pptx", word("one"), "expected PPTX, cannot read it: ."),
        ("a.pptx", slides(None, None), "expected PPTX with text, its 2 slides hold none"),
        ("a.odt", open_document("<office:spreadsheet/>"), "expected ODT, the document is another one of OpenDocument"),
        ("a.odt", open_document(PARAGRAPH, "<encryption-data/>"), "expected ODT that opens without a password"),
        ("a.epub", epub("<p>one</p>", missing=["OEBPS/c0.xhtml"]), "its chapter 'c0.xhtml' is missing"),
        ("a.epub", epub("<p>one</p>", missing=["META-INF/container.xml"]), "cannot read it: ."),
        ("a.epub", epub("<p>one</p>", locked="c0.xhtml"), "expected EPUB without copy protection"),
        ("a.epub", epub(b"<p>\xff"), "c0.xhtml: expected text in UTF-8, got byte 0xff at offset 3"),
        ("a.rtf", b"{\\rtf1 cut", "expected RTF, which begins with .* and ends with }; save or copy it again"),
        ("a.eml", b"no fields\n\ntext", "expected an e-mail with From, Date or Subject"),
        ("a.eml", b"Subject: a\nContent-Type: text/plain; charset=utf-8\n\n\xff", "got byte 0xff at offset 0"),
    ],
)
def test_what_cannot_be_read_says_why(name, content, message):
    with pytest.raises(DataError, match=f"^{name}: .*{message}"):
        extract(name, content)


def test_word_gives_headings_tables_and_lists_and_leaves_pictures():
    document = docx.Document()
    document.add_heading("Terms", 1)
    table = document.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "Rent", "1,240"
    document.add_paragraph("first", style="List Number")
    out = io.BytesIO()
    document.save(out)
    assert extract("a.docx", out.getvalue()).text == "Terms\nRent\n1,240\nfirst"


def test_slides_give_groups_tables_and_notes_and_no_page_numbers():
    presentation = pptx.Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[5])
    slide.shapes.title.text = "Title\vtwo"
    slide.shapes.add_group_shape().shapes.add_textbox(0, 0, 9, 9).text_frame.text = "in a group"
    slide.shapes.add_table(1, 2, 0, 0, 9, 9).table.cell(0, 1).text = "cell"
    slide.notes_slide.notes_text_frame.text = "a note"
    out = io.BytesIO()
    presentation.save(out)
    assert extract("a.pptx", out.getvalue()).text == "Title\ntwo\nin a group\ncell\na note"


def test_slides_tell_where_they_begin_and_which_are_blank():
    found = extract("a.pptx", slides(None, "one", None, "two\nlines", None))
    assert (found.text, found.pages) == ("one\n\ntwo\nlines", (0, 0, 5, 5, 14))
    assert found.note == "no text on 3 of 5 slides (1, 3, 5)"


def test_an_open_document_gives_notes_after_their_paragraph_and_no_deleted_text():
    note = "<text:note><text:note-citation>1</text:note-citation><text:note-body>{}</text:note-body></text:note>"
    body = f"""<office:text><text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>
      <text:h>Head<text:s text:c="999999999"/>ing</text:h><text:p>on<text:span>e{note.format(PARAGRAPH)} and</text:span>
      more<text:line-break/>next<office:annotation><text:p>comment</text:p></office:annotation></text:p>
      <text:list><text:list-item><text:p>item</text:p></text:list-item></text:list>
      <table:table><table:table-cell><text:p>cell</text:p></table:table-cell></table:table></office:text>"""
    assert extract("a.odt", open_document(body)).text == "Head ing\none and more\nnext\none\nitem\ncell"


def test_an_e_book_is_read_in_the_order_of_its_spine():
    head = "<head><title/><script src='x>y'/><style/></head>"
    second = f"<html>{head}<body><p>two<a id='a'/>&nbsp;<![CDATA[<3]]><br/>four</p><div/></body></html>"
    assert extract("a.epub", epub("<p>one&nbsp;é</p><nav>menu</nav>", second)).text == "one é\n\ntwo <3\nfour"


def test_an_e_mail_gives_the_plain_text_of_alternatives_what_it_forwards_and_the_names_of_attachments():
    inner = EmailMessage()
    inner["Subject"] = "Inner"
    inner.set_content("<p>forwarded <b>text</b></p>", subtype="html", charset="latin-1")
    message = EmailMessage()
    message["To"], message["Subject"] = "b@example.org", "Outer"
    message.set_content("plain")
    message.add_alternative("<p>rich</p>", subtype="html")
    message.add_attachment(b"x", maintype="application", subtype="pdf", filename="plan.pdf")
    message.add_attachment(inner)
    found = extract("a.eml", bytes(message))
    assert found.text == "To: b@example.org\nSubject: Outer\n\nplain\n\nSubject: Inner\n\nforwarded text"
    assert found.note == "1 attachment not read (plan.pdf)"


def _word_with_headings():
    document = docx.Document()
    for level, line in enumerate(("Terms", "Rent"), 1):
        document.add_heading(line, level)
        document.add_paragraph("text")
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


_PAGE = "<h1>Terms</h1><p>text</p><h2><a href='#x'>Rent</a></h2><p>text</p><h3></h3>"
_ODT = (
    "<office:text><text:h>Terms</text:h><text:p>text</text:p><text:h text:outline-level='2'>Rent</text:h></office:text>"
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.md", b"Terms\n=====\n\ntext\n\n## *Rent*\n\ntext\n"),
        ("a.html", _PAGE.encode()),
        ("a.epub", epub(f"<html><body>{_PAGE}</body></html>")),
        ("a.docx", _word_with_headings()),
        ("a.odt", open_document(_ODT)),
    ],
)
def test_headings_and_their_levels_are_known(reader, name, content):
    found = reader.extract(name, content)
    assert [(found.text[begin:].splitlines()[0], level) for begin, level in found.headings] == [
        ("Terms", 1),
        ("Rent", 2),
    ]
    assert "\x02" not in found.text
    assert found.text.splitlines()[-1].strip()
    assert found.wrapped == (name == "a.md")


@pytest.mark.parametrize("name", ["a.md", "a.html", "a.txt"])
def test_what_looks_like_the_mark_of_a_heading_is_text(name):
    found = extract(name, b"\x021 is no heading\n\n\x02")
    assert found.headings == ()
    assert "1 is no heading" in found.text


def test_an_e_mail_has_no_marks_of_headings():
    message = EmailMessage()
    message["Subject"] = "Lease"
    message.set_content("<h1>Terms</h1><p>text", subtype="html")
    assert extract("a.eml", bytes(message)).text.endswith("Terms\ntext")
