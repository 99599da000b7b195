"""The report holds the figures and the texts, whatever they are, and asks nothing of the network."""

import json
import re
from dataclasses import asdict
from html.parser import HTMLParser
from typing import Any

import pytest

from lab.reports.summarization import render
from simmim.tasks.summarization.comparison import Examples, choose_examples, compare

NASTY = '<script>alert("x")</script> & </p>\x00\x1b[31m\u202e reversed \u05e9\u05dc\u05d5\u05dd'
COUNT = 40
DOCUMENTS = [f"{NASTY} document {row} " + "long " * 200 for row in range(COUNT)]
REFERENCES = ["one two three four five"] * COUNT
WORDS = REFERENCES[0].split()
SYSTEMS = {
    "model": [" ".join(WORDS[: row % 6]) for row in range(COUNT)],
    "<b>lead": ["one"] * COUNT,
    "textrank": [NASTY] * COUNT,
}
EXAMPLES = Examples(DOCUMENTS, REFERENCES, tokens=[100] * 33 + [5000] * 7)


class Page(HTMLParser):
    """Collects the elements, their attributes and the text of a page, and checks that elements are closed in order."""

    EMPTY = ("meta", "br", "path", "use")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    facts = {"about": NASTY, "parameters": 12345, "stopped_at_limit": 3, "seconds": 1.5, "peak_mib": 99.0}
    systems = {name: facts | {"accelerator_mib": None} for name in ("model", "<b>lead", "textrank")}
    made = {
        "command": "simmim evaluate '<x>'",
        "date": "2026-01-02",
        "versions": {"torch": "9.9"},
        "machine": {"system": "Linux", "threads": 1, "accelerator": None},
    }
    return {
        "model": "runs/<i>mine",
        "data": {"file": "<u>.jsonl", "manifest": {"sha256": "</pre><b>", "rows": 40}},
        "documents": COUNT,
        "systems": systems | {"lead": facts},
        **compare(SYSTEMS, EXAMPLES).to_dict(),
        "grouped": False,
        "chosen_on_same": True,
        "decoding": {"num_beams": 4, "max_new_tokens": 64, "batch_size": 16},
        "made": made,
    }


@pytest.fixture(scope="module")
def html(record: dict[str, Any]) -> str:
    examples = choose_examples(SYSTEMS, compare(SYSTEMS, EXAMPLES).scores, EXAMPLES)
    return render(json.loads(json.dumps(record | {"examples": [asdict(one) for one in examples]})))


def test_nothing_is_fetched_and_nothing_runs(html: str) -> None:
    page = Page(html)
    assert not {"script", "link", "img", "iframe", "object", "b", "u", "i"} & set(page.tags)
    for name, value in page.attributes:
        if name in ("href", "xlink:href", "src"):
            assert value is not None
            assert value.startswith("#")
        assert not name.startswith("on")
    assert "url(http" not in html
    assert "default-src 'none'" in html


def test_texts_are_shown_as_they_are_without_what_steers_a_page(html: str) -> None:
    page = Page(html)
    assert '<script>alert("x")</script> & </p>' in page.text
    assert not re.search("[\x00\x1b\u202e]", html)
    assert "שלום" in page.text
    assert html.count('dir="auto"') == 12 * (2 + len(SYSTEMS))
    assert "wrote nothing" in page.text
    assert " …" in page.text


def test_figures_and_origins_are_there(html: str, record: dict[str, Any]) -> None:
    text = " ".join(Page(html).text.split())
    found = record["rouge"]["model"]["rougeL"]
    assert f"{found['mean']:.2f} {found['low']:.2f} to {found['high']:.2f}" in text
    assert "model better" in text
    assert "7 few" in text
    assert "simmim evaluate '<x>'" in text
    assert "on the same file, which favours them" in text
    assert '"sha256": "</pre><b>"' in text.replace("\\u003c", "<").replace("\\u003e", ">")
    assert "12,345" in text


def test_plots_are_in_the_page_with_names_of_their_own(html: str) -> None:
    page = Page(html)
    assert page.tags.count("svg") == 3
    names = [value for name, value in page.attributes if name == "id"]
    assert len(names) == len(set(names)) > 10
    targets = [value[1:] for name, value in page.attributes if name in ("href", "xlink:href") and value]
    targets += re.findall(r"url\(#([^)]+)\)", html)
    assert targets
    assert set(targets) <= set(names)
    assert "currentColor" in html
    assert "#ffffff" not in html[html.index("<svg") : html.rindex("</svg>")]
    assert "33 docs" in page.text


def test_examples_are_the_best_the_worst_and_others() -> None:
    scores = compare(SYSTEMS, EXAMPLES).scores
    chosen = choose_examples(SYSTEMS, scores, EXAMPLES)
    assert len({one.row for one in chosen}) == len(chosen) == 12
    kinds = {kind: [one for one in chosen if one.kind == kind] for kind in ("best", "worst", "random")}
    assert all(one.written["model"] == (REFERENCES[0], 100) for one in kinds["best"])
    assert all(one.written["model"] == ("", 0) for one in kinds["worst"])
    assert len(kinds["random"]) == 4
    assert choose_examples(SYSTEMS, scores, EXAMPLES) == chosen
    few = Examples(DOCUMENTS[:2], REFERENCES[:2], tokens=[1, 2])
    two = {name: texts[:2] for name, texts in SYSTEMS.items()}
    assert [(one.kind, one.row) for one in choose_examples(two, compare(two, few).scores, few)] == [
        ("best", 1),
        ("worst", 0),
    ]
