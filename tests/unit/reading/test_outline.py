"""The headings over a place of a text: Markdown, manual pages, standards, laws, lists of terms, plain prose."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simmim.reading.outline import Outline, with_headings
from simmim.reading.sentences import sentences

MANUAL = """NAME
  tar - an archiving utility

OPTIONS
 Overwrite control
  These options control what happens to files that exist.

  --skip-old-files
         Don't replace existing files, silently skip over them.

  --strip-components=NUMBER
         Strip NUMBER leading components.

SEE ALSO
  cpio(1)
"""
STANDARD = """1.  Introduction

   This document defines cookies.

Barth                        Standards Track                    [Page 1]
RFC 6265            HTTP State Management Mechanism           April 2011

6.1.  Limits

   At least 4096 bytes per cookie.

Barth                        Standards Track                    [Page 2]
RFC 6265            HTTP State Management Mechanism           April 2011

   At least 50 cookies per domain.

Barth                        Standards Track                    [Page 3]
RFC 6265            HTTP State Management Mechanism           April 2011
"""
LAW = """Article I

Section 1

All legislative Powers shall be vested in a Congress of
the United States.

Section 2

The House shall be composed of Members chosen
every second Year.
"""


def over(text: str, words: str) -> tuple[str, ...]:
    return Outline(text).over(text.index(words))


class TestOutline:
    def test_manual_page(self) -> None:
        assert over(MANUAL, "silently") == ("OPTIONS", "Overwrite control", "--skip-old-files")
        assert over(MANUAL, "leading") == ("OPTIONS", "Overwrite control", "--strip-components=NUMBER")
        assert over(MANUAL, "These") == ("OPTIONS", "Overwrite control")
        assert over(MANUAL, "cpio") == ("SEE ALSO",)
        assert over(MANUAL, "OPTIONS") == ()

    def test_heads_of_pages_are_no_headings_and_end_none(self) -> None:
        assert over(STANDARD, "defines") == ("1. Introduction",)
        assert over(STANDARD, "4096") == ("6.1. Limits",)
        assert over(STANDARD, "50 cookies") == ("6.1. Limits",)

    def test_text_at_the_margin_under_numbered_headings(self) -> None:
        assert over(LAW, "the United") == ("Section 1",)
        assert over(LAW, "every second") == ("Section 2",)

    def test_markdown(self) -> None:
        text = "# Contract\n\n## 3 Prices\n\nInvoices are due.\n\n### Rebates ###\n\n- one\n\n## 4 Delivery\n\nFree.\n"
        assert over(text, "Invoices") == ("Contract", "3 Prices")
        assert over(text, "one") == ("Contract", "3 Prices", "Rebates")
        assert over(text, "Free") == ("Contract", "4 Delivery")

    def test_only_the_innermost_three(self) -> None:
        assert over("# a\n## b\n### c\n#### d\nhere\n", "here") == ("b", "c", "d")

    def test_prose_has_none(self) -> None:
        text = "It was a cold day in April.\nThe clocks were striking thirteen, and nobody minded.\n\nNot even he.\n"
        assert {Outline(text).over(place) for place in range(len(text))} == {()}

    def test_a_sentence_before_a_list_is_no_heading(self) -> None:
        assert over("The sink of the kitchen holds these things:\n    plates and cups\n", "plates") == ()

    @given(st.text(st.sampled_from("aB1#.: \t\n-"), max_size=80))
    def test_any_text(self, text: str) -> None:
        outline = Outline(text)
        for place in range(len(text) + 1):
            assert len(outline.over(place)) <= 3
            assert all(heading.strip() for heading in outline.over(place))


class TestWithHeadings:
    def test_sentences_of_a_manual_page(self) -> None:
        found = with_headings(MANUAL, sentences(MANUAL))
        [skipping] = [each for each in found if "silently" in each]
        assert skipping.startswith("OPTIONS: Overwrite control: --skip-old-files. ")
        assert len(found) == len(list(sentences(MANUAL)))

    def test_nothing_is_added_without_headings(self) -> None:
        assert with_headings("One. Two.", [(0, 4), (5, 9)]) == ["One.", "Two."]
