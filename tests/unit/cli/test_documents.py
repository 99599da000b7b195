"""Tests that text is taken out of documents whole, or refused with what is wrong."""

import io
import sys
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from simmim.cli import documents
from simmim.cli.document_worker import DocumentReader
from simmim.cli.documents import SUFFIXES, extract
from simmim.errors import DataError


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
    ],
    ids="empty|blank|only a mark|binary|not utf-8|not utf-8 after a mark|cut in a character".split("|"),
)
def test_what_is_no_text_is_refused(content, message):
    with pytest.raises(DataError, match=message):
        extract("text.txt", content)


def test_markdown_leaves_its_words():
    source = "# Title\n\nSome *strong*\n`code` and [a link](http://x.org) ![a picture](p.png).\n\n- one\n- two\n\n"
    source += "```python\nx = 1\n```\n\n| a | b |\n| - | - |\n| c | d |\n"
    expected = "Title|Some strong\ncode and a link a picture.|one|two|x = 1|a|b|c|d"
    assert extract("page.md", source.encode()).text == expected.replace("|", "\n\n")
    assert extract("page.txt", source.encode()).text == source


def test_html_leaves_what_a_reader_sees():
    page = b"<head><title>t</title></head><script>x()</script><h1>One</h1><p>two <b>th</b>ree\n four<br>five&eacute;"
    assert extract("page.HTML", page).text == "One\ntwo three four\nfiveé"
    with pytest.raises(DataError, match="page.html: expected text in UTF-8, got byte 0xe9 at offset 6"):
        extract("page.html", b"<p>caf\xe9")
    with pytest.raises(DataError, match="page.html: expected a text"):
        extract("page.html", b"<script>only()</script>")


def test_a_pdf_gives_its_pages_and_says_which_have_no_text():
    found = extract("paper.pdf", pdf("first page", None, "third page"))
    assert (found.text, found.note) == ("first page\n\nthird page", "no text on 1 of 3 pages (2)")
    assert [found.text[start:][:5] for start in found.pages] == ["first", "third", "third"]
    assert extract("paper", pdf("one")).text == "one"
    assert extract("paper.pdf", pdf("one", password="")).note == ""


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["one", "two\r\nlines", " \r blanks\r\n ", "", " \n", None]), min_size=1, max_size=9))
def test_every_page_begins_where_it_is_said_to(pages):
    texts = [" ".join((page or "").split()) for page in pages]
    if not any(texts):
        return
    found = documents._joined("paper.pdf", "a PDF", "page", [page or "" for page in pages])
    ends = [*found.pages[1:], len(found.text)]
    spans = [" ".join(found.text[start:end].split()) for start, end in zip(found.pages, ends, strict=True)]
    assert spans == texts
    assert "\r" not in found.text


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


@pytest.mark.parametrize(
    ("name", "library"), [("a.pdf", "pypdf"), ("b.html", "turbohtml"), ("c.md", "pyromark")], ids=["PDF", "HTML", "md"]
)
def test_a_missing_library_is_an_error_of_the_document_and_names_the_remedy(monkeypatch, name, library):
    monkeypatch.setitem(sys.modules, library, None)
    message = rf'{name}: .* needs the package {library}; install it with: pip install "simmim\[documents\]"'
    with pytest.raises(DataError, match=message):
        extract(name, b"<p>text")
    with DocumentReader() as reader, pytest.raises(DataError, match=message):
        reader.extract(name, b"<p>text")
    assert extract("text.txt", b"<p>text").text == "<p>text"


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<html><head><title>T</title><body><p>text", "text"),
        ("<title>T</title>text", "text"),
        ("a<![x]>b<!-- c --><![CDATA[d]]><?e?>f", "abf"),
        ("<p hidden>a<p style='DISPLAY : None !important'>b<p style='visibility:hidden'>c<p>d", "d"),
        ("<p style='display:none;/*;*/display:block'>a<p hidden=until-found>b<p aria-hidden=true>c", "a\nb\nc"),
        ("<nav>a</nav><div role='list Navigation'>b</div><details><summary>c</summary>d</details>", "c\nd"),
        ("<script>a</script><style>b</style><template>c</template><noscript>d</noscript><iframe>e</iframe>f", "f"),
        ("<svg><title>a</title><text>b</text></svg><math><mi>x</mi><annotation>y</annotation></math>", "bx"),
        ("a<br>b<hr>c<table><tr><td>d<td>e<tr><th>f</table>g", "a\nb\nc\nd\ne\nf\ng"),
        ("<p>a  <b>b</b>\n c&nbsp;d</p>e", "a b c d\ne"),
        ("<pre>\n def f():\n\treturn  1\n</pre><p>a\n  b", " def f():\n        return  1\na b"),
        ("<input type=hidden value=a><textarea>b\nc</textarea><select><option>d<option>e</select>", "b\nc\nd\ne"),
        ("<dialog>a</dialog><dialog open>b</dialog><ruby>c<rp>(</rp><rt>d</rt></ruby>&lt;&#x6f22;&amp", "b\ncd<漢&"),
    ],
)
def test_html_is_read_as_a_browser_shows_it(page, text):
    assert extract("page.html", page.encode()).text == text


def counted(name, content):
    """Return how many functions are called to read a document."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        extract(name, content)
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("paragraphs.html", lambda n: "<p>word word" * n),
        ("nested.html", lambda n: "<div>" * n + "text"),
        ("unclosed.html", lambda n: "<b><p>text" * n),
        ("quotes.md", lambda n: ">" * n + "text"),
        ("lists.md", lambda n: "- " * n + "text"),
        ("brackets.md", lambda n: "[" * n + "text" + "]" * n),
        ("stars.md", lambda n: "*a **b " * n),
        ("table.md", lambda n: "|a|b|\n|-|-|\n" + "|text|d|\n" * n),
        ("line.md", lambda n: "text " * n),
    ],
)
def test_the_work_grows_with_the_length_and_nothing_is_lost(name, make):
    counted(name, b"text")  # imports
    once, twice = (counted(name, make(n).encode()) for n in (2_000, 4_000))
    assert twice < 2.2 * once + 100
    assert make(2_000).count("text") == extract(name, make(2_000).encode()).text.count("text")


def test_a_document_as_deep_as_long_is_read():
    for name, mark in (("page.html", "<div>"), ("page.md", ">")):
        assert extract(name, (mark * 100_000 + "text").encode()).text == "text"


class Broken:
    """Stands for a library whose every function raises."""

    def __init__(self, error):
        self.error = error

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)

        def fail(*arguments, **options):
            raise self.error

        return fail


@pytest.mark.parametrize(
    "error",
    [
        *(RecursionError(), LookupError("no such encoding"), MemoryError(), AssertionError(), zlib.error("bad")),
        *(UnicodeError("half"), StopIteration(), OSError(5, "Input/output error")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_reader_raises_is_an_error_of_the_document(monkeypatch, error):
    with monkeypatch.context() as patch:
        patch.setattr("simmim.cli.documents.page_text", Broken(error).page_text)
        with pytest.raises(DataError, match="^page.html: expected "):
            extract("page.html", b"<p>text")


PIECES = [
    *(b"<p>", b"</p", b"<!", b"<![x]>", b'<meta charset="', b"base64", b'">', b"\0", b"\xff\xfe", b"&#xd800;"),
    *(b"<table>", b"<svg>", b"|", b"- ", b"`", b"\n", b"\xe9", b"\xef\xbb\xbf", b"<?xml encoding='", b"'?>"),
]
PDF_PIECES = [*pdf("one").split(b"\n"), b"endobj", b"<<", b"1 0 R"]


@settings(max_examples=60)
@given(
    suffix=st.sampled_from(SUFFIXES),
    content=st.one_of(
        st.binary(max_size=200),
        st.lists(st.sampled_from(PDF_PIECES), max_size=12).map(b"\n".join),
        st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join),
    ),
)
def test_any_bytes_are_a_text_or_an_error_of_the_document(suffix, content):
    name = f"document{suffix}"
    try:
        found = extract(name, content)
    except DataError as error:
        found = error
    if isinstance(found, DataError):
        assert str(found).startswith(f"{name}: ")
    else:
        assert found.text.strip()
        found.text.encode()  # no halves of characters
