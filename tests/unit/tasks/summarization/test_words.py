"""Words and sentences are found as readers of a script find them."""

import pytest

from simmim.tasks.summarization.words import count_words, document_sentences, first_words, line_sentences, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The cat's 2 mats!", ["the", "cat", "s", "2", "mats"]),
        ("ÉTÉ Straße", ["été", "strasse"]),
        ("e\u0301te\u0301", ["été"]),
        ("我爱GPU编程。", ["我", "爱", "gpu", "编", "程"]),
        ("שלום עולם", ["שלום", "עולם"]),
        ("한국어 문서", ["한국어", "문서"]),
        ("?! —", []),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_beginnings_are_counted_in_the_same_words() -> None:
    text = "My  GPU,\n我爱编程。它快 fast"
    assert [first_words(text, count) for count in range(4)] == ["", "My", "My GPU,", "My GPU, 我"]
    assert first_words(text, 6) == "My GPU, 我爱编程。"
    assert count_words(text) == 9
    assert first_words(text, None) == first_words(text, 9) == first_words(text, 99) == "My GPU, 我爱编程。它快 fast"


def test_lines_end_sentences_and_empty_lines_end_paragraphs() -> None:
    text = "One river\nflows. Two boats, e.g. small ones.\n\nThe end"
    assert line_sentences(text) == ["One river", "flows.", "Two boats, e.g. small ones.", "The end"]
    assert document_sentences(text) == ["One river flows.", "Two boats, e.g. small ones.", "The end"]
    assert line_sentences("他说：“走。”然后走了！真的？") == ["他说：“走。”", "然后走了！", "真的？"]
    assert line_sentences("") == document_sentences("\n\n") == []
