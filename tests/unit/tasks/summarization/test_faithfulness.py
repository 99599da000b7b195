"""What a summary says and its document does not is found: names, numbers, quotations and negations."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from simmim.tasks.summarization.faithfulness import Source, supported_sentences
from simmim.tasks.summarization.words import document_sentences

DOCUMENT = """The lease between Acme Ltd and Jane O'Neil begins on 1 March 2024. The monthly rent is 1,250.50 euros.
The tenant may not keep pets. It has two rooms.

"Quiet is kept at night", it says. The landlord repairs the roof. 租客每月付三千元，不得转租。"""


def found(summary):
    """Return what is not supported, with its kind."""
    return [(summary[one.begin : one.end], one.kind) for one in Source(DOCUMENT).unsupported(summary)]


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ("Acme rents two rooms to Jane O’Neil for 1 250,50 euros.", []),
        ("It has 2 rooms, from 1 March 2024.", []),
        ("Acme's tenant keeps no pets.", []),
        ("It says: “quiet is  kept at Night”.", []),
        ("租客不得转租，每月3千元。", []),
        ("The rent of Bob Smith is due.", [("Bob", "name"), ("Smith", "name")]),
        ("The rent is 1,300 euros for 14 rooms.", [("1,300", "number"), ("14", "number")]),
        ("It says “smoking is forbidden”.", [("“smoking is forbidden”", "quotation")]),
        ("The landlord does not repair the roof.", [("not", "negation")]),
        ("The landlord doesn't repair the roof.", [("n't", "negation")]),
        ("McDonald rents it.", [("McDonald", "name")]),
        ("Rent is due.", []),  # a capital letter begins the sentence
        ("房租每月9元。", [("9", "number")]),
        ("", []),
    ],
)
def test_what_the_document_does_not_say(summary, expected):
    assert found(summary) == expected


def test_sentences_without_support_are_left_out():
    source = Source(DOCUMENT)
    summary = "The rent is 1,250.50 euros. Bob Smith and Eve pay it.\nThe tenant may not keep pets."
    kept = supported_sentences(summary, source.unsupported(summary))
    assert kept == "The rent is 1,250.50 euros. The tenant may not keep pets."
    assert supported_sentences(kept, source.unsupported(kept)) == kept
    assert supported_sentences("Eve met Bob.", source.unsupported("Eve met Bob.")) == ""


@pytest.mark.parametrize("sentence", document_sentences(DOCUMENT))
def test_the_documents_own_sentences_are_supported(sentence):
    assert found(sentence) == []


@given(st.text(max_size=80), st.text(max_size=200))
def test_any_texts_give_spans_of_the_summary(summary, document):
    places = Source(document).unsupported(summary)
    assert all(0 <= one.begin < one.end <= len(summary) for one in places)
    kept = supported_sentences(summary, places)
    assert len(kept) <= len(summary)


@example("A.B0")
@example("U.S.A. and A.Bc")
@given(st.text(st.characters(codec="ascii") | st.sampled_from("租客每月三千元，。"), max_size=120))
def test_a_text_supports_itself(text):
    assert [one.kind for one in Source(text).unsupported(text) if one.kind in ("number", "name")] == []
