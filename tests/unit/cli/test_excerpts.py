"""The part of a passage that is shown beside an answer."""

from __future__ import annotations

from simmim.cli.answers import excerpt

TEXT = (
    "The Supplier makes glass. The Buyer makes jam of several kinds of fruit.\n\n"
    "The safety stock lies in a warehouse in Felixstowe. The rent is shared by both of them."
)


def test_it_begins_with_the_sentence_that_shares_most_words_with_the_question() -> None:
    shown = excerpt(TEXT, "Where is the warehouse with the safety stock?", 60)
    assert shown.startswith("… The safety stock lies in a warehouse in Felixstowe.")


def test_a_short_passage_is_shown_whole_on_one_line() -> None:
    assert excerpt(TEXT, "Who pays the rent?", 400) == " ".join(TEXT.split())


def test_a_long_one_is_cut_between_words() -> None:
    shown = excerpt("word " * 100, "Which word?", 50)
    assert shown.endswith("word …")
    assert len(shown) <= 54


def test_endings_of_words_do_not_matter_and_blank_text_stays_blank() -> None:
    shown = excerpt("Nobody is here at all today.\n\nThe invoices are due at once.", "Who invoiced it?", 40)
    assert shown.startswith("… The invoices")
    assert excerpt("", "Who?") == ""
