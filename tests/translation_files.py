"""Small documents of each format that can be translated, and translators that need no model."""

import io

import docx

from document_files import packed
from simmim.tasks.translation.translator import Translator, Written

TEXT = """A heading

A paragraph that is broken at the margin, as it is usual in plain texts, goes on
in the next line and ends there.

\tshort line
\tanother one

12345
"""
MARKDOWN = """---
title: Stays as it is
---
# The *first* heading

See [the **guide**](https://example.org/a_(b)?x=1 "title"), `simmim translate`
and <https://example.org>. It costs \\*much\\*, 2 < 3, snake_case.

> A quotation
> of two lines.

- [ ] one item
- another [with a reference][ref] and a note[^1]
  1. inner item

| name | value |
|:-----|------:|
| `code` cell | a \\| bar |

```python
print("stays")
```

<p align="center">Some <b>HTML</b> here</p>

![picture](a.png)

[ref]: https://example.org/ref
"""
HTML = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>The title</title>
<style>p { color: red }</style><script>if (a < b) alert("stays");</script></head>
<body class='a "b" > c'>
<!-- a comment <p>no text</p> -->
<h1>Caf&eacute; &amp; bar</h1>
<p>Click <b>Save <i>as</i></b> to keep <code>x &lt; y</code>, see <a href="b.html">the page</a>.<br>Next line.</p>
<ul><li>one<li>two</ul>
<pre>stays
  here</pre>
<p translate="no">Brand name</p>
<p>Unclosed paragraph with %s and {name}
</body></html>
"""
SRT = """1
00:00:01,000 --> 00:00:03,500
<i>Good morning,
everybody.</i>

2
00:00:04,000 --> 00:00:05,000
- Who is it?
- It is me.

3
00:00:06,000 --> 00:00:07,000
♪ 12 ♪
"""
VTT = """WEBVTT - a title

NOTE
this stays

STYLE
::cue { color: lime }

intro
00:01.000 --> 00:03.500 align:start position:10%
<v Anna>Fish &amp; chips
for <b>all</b>.

00:04.000 --> 00:05.000
The end.
"""
PO = r"""# A comment
msgid ""
msgstr ""
"Project-Id-Version: example\n"
"Language: \n"
"MIME-Version: 1.0\n"
"Content-Type: text/plain; charset=UTF-8\n"

#. for translators
#: src/a.c:12
#, c-format
msgid ""
"Cannot open %s: <b>%d</b> errors\n"
"Try again\n"
msgstr ""

msgctxt "menu"
msgid "Done"
msgstr "Fait"

#, fuzzy
msgid "Nearly"
msgstr "Presque"

msgid "one file"
msgid_plural "%d files"
msgstr[0] ""
msgstr[1] ""
"""
XLIFF = """<?xml version="1.0" encoding="UTF-8"?>
<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">
<file original="a.html" source-language="en" datatype="html"><body>
<trans-unit id="1"><source>Press <g id="1">Enter &amp; wait</g><x id="2"/> now</source></trans-unit>
<trans-unit id="2"><source>Done</source><target state="final">Fait</target></trans-unit>
<trans-unit id="3" translate="no"><source>SimMIM</source></trans-unit>
<trans-unit id="4"><source>Not yet</source><target/><alt-trans><source>x</source><target>y</target></alt-trans>
</trans-unit></body></file></xliff>
"""
XLIFF2 = """<xliff xmlns="urn:oasis:names:tc:xliff:document:2.0" version="2.0" srcLang="en">
<file id="f"><unit id="u"><segment><source>Hello <pc id="1">big</pc> world<ph id="2"/></source></segment>
<segment><source>Second one</source><target></target></segment></unit></file></xliff>
"""
TROFF = r""".\" a comment
.TH EXAMPLE 1 2026-01-01 "Example"
.SH NAME
example \- shows a page
.SH SYNOPSIS
.B example
.RI [ file ]
.SH "OTHER THINGS"
The command
.B example
reads \fIfile\fP, and with \fB\-\-all\fP everything.
.\" another comment
See
.BR ls (1).
.PP
.nf
stays as it is
.fi
.TP
.B \-a
Read all, even 12\(em13.
"""


def word():
    """Return a Word document with formats, a table, a header and a link."""
    document = docx.Document()
    document.add_heading("The heading", 1)
    paragraph = document.add_paragraph("Plain text, then ")
    paragraph.add_run("bold words").bold = True
    paragraph.add_run(" and ")
    paragraph.add_run("slanted").italic = True
    paragraph.add_run(" ones & the ")
    paragraph.add_run("end.")
    document.add_table(1, 2).cell(0, 0).text = "A cell"
    document.sections[0].header.paragraphs[0].text = "The header"
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def book():
    """Return an e-book of one chapter with a table of contents."""
    page = (
        '<?xml version="1.0" encoding="utf-8"?>\n<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en"><head>'
        "<title>Chapter</title></head><body><p>It was <em>cold</em>.<br/>Very.</p></body></html>"
    )
    package = (
        '<package xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>The Book</dc:title>'
        "<dc:language>en</dc:language><dc:creator>A. Writer</dc:creator></metadata></package>"
    )
    contents = "<ncx><navMap><navPoint><navLabel><text>Chapter</text></navLabel></navPoint></navMap></ncx>"
    return packed(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": "<container/>",
            "OEBPS/a.opf": package,
            "OEBPS/toc.ncx": contents,
            "OEBPS/c.xhtml": page,
            "OEBPS/picture.png": b"\x89PNG",
        }
    )


def documents():
    """Return a document of each format, by its name."""
    texts = {
        **{"a.txt": TEXT, "a.md": MARKDOWN, "a.html": HTML, "a.srt": SRT, "a.vtt": VTT},
        **{"a.xlf": XLIFF, "b.xlf": XLIFF2, "a.1": TROFF, "a.po": PO},
    }
    return {name: text.encode() for name, text in texts.items()} | {"a.docx": word(), "a.epub": book()}


class Scripted(Translator):
    """Writes what a function makes of a block, and keeps what it was asked."""

    reads_groups = True

    def __init__(self, function, limit=10**6, complete=lambda text: True):
        self.function, self._limit, self.complete = function, limit, complete
        self.asked = []
        self.source, self.target = "en", "fr"

    @property
    def limit(self):
        return self._limit

    def encode(self, group):
        return list(range(sum(len(text.split()) for text in group)))

    def write(self, groups, *, batch_size=16, token_budget=4096):
        self.asked += [list(group) for group in groups]
        found = []
        for group in groups:
            written = [self.function(text) for text in group]
            found.append(Written(written, all(self.complete(text) for text in group), -0.5))
        return found
