"""Tests that every format gives back its document, and changes in it nothing but the text of its blocks."""

import io
import re
import zipfile

import docx
import polib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import translation_files as files
from simmim.errors import ConfigError, DataError
from simmim.tasks.translation.formats import format_of, open_document
from simmim.tasks.translation.marks import MARK, restore

DOCUMENTS = files.documents()


def translated(name, function, content=None, language=None):
    document = open_document(name, DOCUMENTS[name] if content is None else content)
    return document.render([function(block.text) for block in document.blocks], language)


def shout(text):
    """Put the words in capitals, as a model would that keeps the marks."""
    return text.upper()


@pytest.mark.contract
@pytest.mark.parametrize("name", [name for name in DOCUMENTS if not name.endswith((".po", ".xlf"))])
def test_the_texts_of_a_document_give_back_the_document_to_the_byte(name):
    assert translated(name, str) == DOCUMENTS[name]


def contents(name, content):
    """Return the characters of a document; of an archive those of all members."""
    if not name.endswith((".docx", ".epub")):
        return content.decode()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return "".join(archive.read(one).decode("latin-1") for one in archive.namelist())


def folded(text):
    """Fold what a block that is written anew may change: white space, references, font macros, runs of one format."""
    text = text.replace(' xml:space="preserve"', "").replace("&eacute;", "é").replace("</w:t></w:r><w:r><w:t>", "")
    text = re.sub(r"\n> ?", " ", text.replace('\n.\\" another comment', "").replace(r"\(em", "—"))
    text = re.sub(r"\n\.BR (\S+)", r"\\fB\1\\fP", re.sub(r"\n\.B (\S+)", r"\\fB\1\\fP", text))
    text = text.replace("\n.RI [ file ]", r"[\fIfile\fP]")
    return re.sub(r"\s+", "", text)


@pytest.mark.contract
@pytest.mark.parametrize("name", [name for name in DOCUMENTS if not name.endswith((".po", ".xlf"))])
def test_a_document_whose_blocks_are_written_anew_is_the_same_up_to_white_space(name):
    """A space at the end makes every block another text, so that nothing is copied from the source."""
    result = translated(name, lambda text: f"{text} ")
    assert folded(contents(name, result)) == folded(contents(name, DOCUMENTS[name]))


def plain(text, name):
    return MARK.sub("", text) if name == "a.1" else text


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_translation_has_the_blocks_of_its_source(name):
    """Reading the translation again finds as many blocks, with the same marks, in the order of the source."""
    document = open_document(name, DOCUMENTS[name])
    texts = [block.text for block in document.blocks]
    assert texts
    result = document.render([shout(text) for text in texts])
    if name.endswith((".po", ".xlf")):  # what is translated is not translated again
        assert open_document(name, result).blocks == []
        return
    again = open_document(name, result).blocks
    assert [plain(block.text, name) for block in again] == [plain(shout(text), name) for text in texts]
    if name == "a.1":  # fonts at the ends of a block are outside of it where they are written as escapes
        return
    assert [[mark.opens for mark in block.marks] for block in again] == [
        [mark.opens for mark in block.marks] for block in document.blocks
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.txt", ["A heading", "A paragraph that is broken at the margin", "short line", "another one"]),
        (
            "a.md",
            ["The {1}first{2} heading", "See {1}the {2}guide{3}, {4} and {5}. It costs *much*, 2 < 3, snake_case."],
        ),
        ("a.html", ["The title", "Café & bar", "Click {1}Save {2}as{3} to keep {4}, see {5}the page{6}.{7}Next line."]),
        ("a.srt", ["Good morning, everybody.", "- Who is it?", "- It is me."]),
        ("a.vtt", ["Fish & chips for {1}all{2}.", "The end."]),
        ("a.po", ["Cannot open {1}: {2}{3}{4} errors", "Try again", "one file", "{1} files"]),
        ("a.xlf", ["Press {1}Enter & wait{2} now", "Not yet"]),
        ("b.xlf", ["Hello {1}big{2} world", "Second one"]),
        ("a.1", ["NAME", "example - shows a page", "SYNOPSIS", "{1}example{2} [{3}file{4}]", "OTHER THINGS"]),
        ("a.docx", ["The heading", "Plain text, then {1}bold words{2} and {3}slanted{4} ones & the end.", "A cell"]),
        ("a.epub", ["The Book", "Chapter", "Chapter", "It was {1}cold{2}.{3}Very."]),
    ],
)
def test_blocks_are_what_a_reader_reads(name, expected):
    found = [block.text for block in open_document(name, DOCUMENTS[name]).blocks]
    assert [text[: len(wanted)] for text, wanted in zip(found, expected, strict=False)] == expected


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a.md", ["title: Stays as it is", 'print("stays")', "![picture](a.png)", "[ref]: https://example.org/ref"]),
        (
            "a.html",
            ['alert("stays")', "color: red", "<pre>stays\n  here</pre>", "Brand name", "x &lt; y", "%s", "{name}"],
        ),
        ("a.vtt", ["NOTE\nthis stays", "::cue { color: lime }", "align:start position:10%", "<v Anna>"]),
        ("a.1", ["stays as it is", '.\\" a comment', "\\fB\\-\\-ALL\\fP", ".TH EXAMPLE 1 2026-01-01"]),
        ("a.po", ["src/a.c:12", "c-format", 'msgctxt "menu"', 'msgstr "Fait"', "%d", "<b>"]),
        ("a.xlf", ["<source>Done</source>", 'state="final">Fait', "<source>SimMIM</source></trans-unit>"]),
    ],
)
def test_what_is_no_text_stays(name, kept):
    result = translated(name, shout).decode()
    for piece in kept:
        assert piece in result


def test_text_of_a_translation_is_no_markup():
    attack = "<script>x</script> & *a* `b` \\fB .so"
    assert b"&lt;script&gt;" in translated("a.html", lambda text: attack)
    assert b"\\<script>x\\</script> & \\*a\\* \\`b\\`" in translated("a.md", lambda text: attack)
    page = translated("a.1", lambda text: f".so /etc/passwd {attack}").decode()
    assert "\n.so" not in page
    assert "\\efB" in page
    assert b"&lt;script&gt;" in translated("a.xlf", lambda text: attack)
    with zipfile.ZipFile(io.BytesIO(translated("a.docx", lambda text: attack))) as archive:
        assert b"&lt;script&gt;" in archive.read("word/document.xml")


def test_languages_are_named():
    assert b'<html lang="fr">' in translated("a.html", shout, language="fr")
    assert b'trgLang="fr" srcLang="en"' in translated("b.xlf", shout, language="fr")
    assert b'target-language="fr" source-language="en"' in translated("a.xlf", shout, language="fr")
    with zipfile.ZipFile(io.BytesIO(translated("a.epub", shout, language="fr"))) as archive:
        assert b"<dc:language>fr<" in archive.read("OEBPS/a.opf")
        assert b'xml:lang="fr"' in archive.read("OEBPS/c.xhtml")
        assert archive.infolist()[0].filename == "mimetype"
        assert archive.infolist()[0].compress_type == zipfile.ZIP_STORED


def test_a_word_document_keeps_its_formats():
    document = docx.Document(io.BytesIO(translated("a.docx", shout)))
    runs = [(run.text, run.bold, run.italic) for run in document.paragraphs[1].runs]
    assert runs[:4] == [
        ("PLAIN TEXT, THEN ", None, None),
        ("BOLD WORDS", True, None),
        (" AND ", None, None),
        ("SLANTED", None, True),
    ]
    assert document.sections[0].header.paragraphs[0].text == "THE HEADER"


@pytest.mark.parametrize(
    ("language", "forms", "header"),
    [
        ("fr", {0: "ONE FILE", 1: "%d FILES"}, "nplurals=2; plural=(n > 1);"),
        ("zh", {0: "%d FILES"}, "nplurals=1; plural=0;"),
    ],
)
def test_plurals_of_po_files_have_the_forms_of_the_language(language, forms, header):
    result = polib.pofile(translated("a.po", shout, language=language).decode())
    assert result.find("one file").msgstr_plural == forms
    assert result.metadata["Plural-Forms"] == header
    assert result.metadata["Language"] == language
    assert result.find("Cannot open %s: <b>%d</b> errors\nTry again\n").msgstr.endswith("ERRORS\nTRY AGAIN\n")
    assert result.find("Nearly").fuzzy


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_encodings_stay(encoding):
    content = "Ein Café in der Straße".encode(encoding)
    document = open_document("a.txt", content, "latin-1" if encoding == "latin-1" else None)
    assert document.render([block.text for block in document.blocks]) == content
    assert (
        document.render([block.text.upper() for block in document.blocks]).decode(encoding) == "EIN CAFÉ IN DER STRASSE"
    )


def test_a_page_writes_what_its_encoding_lacks_as_a_reference():
    content = '<meta charset="latin1"><p>Café</p>'.encode("latin1")
    document = open_document("a.html", content)
    assert document.render(["咖啡馆"]) == b'<meta charset="latin1"><p>&#21654;&#21857;&#39302;</p>'
    with pytest.raises(DataError, match="expected a translation in latin1, got the character '咖'"):
        open_document("a.txt", "Café".encode("latin1"), "latin1").render(["咖啡馆"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pdf", b"%PDF-", "a.pdf: expected a file that ends in .txt"),
        ("a.txt", b"\xff\xfea", "expected text in utf-16-le"),
        ("a.txt", b"caf\xe9", "expected text in utf-8, got byte 0xe9 at offset 3"),
        ("a.txt", b"a\0b", "got a NUL character"),
        ("a.docx", b"PK", "expected a whole archive"),
        ("a.docx", files.packed({"a": "b"}), "without word/document.xml"),
        ("a.epub", files.packed({"a": "b"}), "without META-INF/container.xml"),
        ("a.epub", files.packed({"META-INF/container.xml": "", "META-INF/rights.xml": ""}), "copy protection"),
        ("a.po", b"nothing", "expected a PO file"),
        ("a.xlf", b"<html/>", "expected an XLIFF file"),
    ],
)
def test_what_cannot_be_read_is_named(name, content, message):
    with pytest.raises(DataError, match=message):
        open_document(name, content)


def test_an_archive_that_unpacks_to_too_much_is_refused():
    with pytest.raises(DataError, match="unpacks to"):
        open_document("a.docx", files.packed({"word/document.xml": b"\0" * (2**27 + 2**24)}))


def test_an_unknown_encoding_is_refused():
    with pytest.raises(ConfigError, match="expected an encoding such as latin1"):
        open_document("a.txt", b"text", "no-such")


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet=st.sampled_from("ab <>/&;\"'=!-[]{}1%s\n*_`#|\\.-é中"), max_size=80),
    st.sampled_from(list(DOCUMENTS)),
)
def test_any_text_comes_back_as_it_was(text, name):
    if format_of(name) in ("DOCX", "EPUB", "PO", "XLIFF"):
        return
    content = text.encode()
    document = open_document(name, content)
    assert document.render([block.text for block in document.blocks]) == content
    for block in document.blocks:
        assert 0 <= block.start < block.end <= len(text)
        assert len(MARK.findall(block.text)) == len(block.marks)
        assert MARK.sub("", block.text).strip()
        assert restore(block, block.text, str)


def test_deep_and_long_markup_takes_linear_time():
    for piece in ("<b>", "<a x='", "[a](", "**a", "<!--", "`", "<b ", "> ", "* "):
        for name in ("a.html", "a.md"):
            content = (piece * 5000).encode()
            document = open_document(name, content)
            assert document.render([block.text for block in document.blocks]) == content
