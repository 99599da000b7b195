"""Leads take the words they say, the best of them is found, and token ids are cut only as far as is said."""

import logging

import pytest
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from simmim.data.tokenizer import train_tokenizer
from simmim.errors import ConfigError
from simmim.tasks.summarization import Lead, best_lead, budgets, first_sentence, lead, tokenize_examples

WORDS = [f"word{number}x" for number in range(400)]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer([], 260)  # a byte is a token


@pytest.fixture
def dataset() -> Dataset:
    rows = {"document": ["abcdefgh", "abc", "ä"], "summary": ["xyz", "x", "xyzw"], "name": ["1", "2", "3"]}
    return Dataset.from_dict(rows)


def test_lead_takes_the_first_words() -> None:
    assert lead(" one  two\n\nthree four", 3) == "one two three"
    assert lead("one two", 3) == "one two"
    assert lead("one  two three", None) == "one two three"


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("One river.  Two boats.", "One river."),
        ("A tool for maps, e.g. of rivers, by J. Smith. It folds.", "A tool for maps, e.g. of rivers, by J."),
        ("Fast!\nReally fast.", "Fast!"),
        ("Version 2.1 of a\nlibrary\n\nSecond paragraph.", "Version 2.1 of a library"),
        ("Ends here. 3 more follow.", "Ends here."),
        ("Ends here.", "Ends here."),
        ("no mark at all", "no mark at all"),
        ("", ""),
    ],
)
def test_finds_the_first_sentence(document: str, sentence: str) -> None:
    assert first_sentence(document) == sentence


def test_a_lead_says_what_it_takes() -> None:
    document = "One river flows. Two boats float on it."
    leads = {Lead(4, sentence=False): "One river flows. Two", Lead(2, sentence=True): "One river"}
    leads |= {Lead(4, sentence=True): "One river flows.", Lead(None, sentence=True): "One river flows."}

    assert {one: one(document) for one in leads} == leads
    assert [str(one) for one in leads] == [
        "first 4 words",
        "first 2 words of the first sentence",
        "first 4 words of the first sentence",
        "first sentence",
    ]


@pytest.mark.parametrize(
    "expected",
    [Lead(4, sentence=False), Lead(12, sentence=False), Lead(None, sentence=True), Lead(7, sentence=True)],
    ids=str,
)
def test_finds_the_best_lead(expected: Lead) -> None:
    # Sentences of 3 and of 20 words, so that each candidate gives another text than the others.
    documents = []
    for start in range(0, 200, 40):
        short = " ".join(WORDS[start : start + 3])
        long = " ".join(WORDS[start + 3 : start + 23])
        documents += [f"{short}. A{long}.", f"A{long}. {short}."]
    validation = Dataset.from_dict({"document": documents, "summary": [expected(document) for document in documents]})

    choice = best_lead(validation)

    assert choice.lead == expected
    assert choice.rouge_l[expected] == 100
    assert len(choice.rouge_l) == 1 + 2 * len(budgets(validation["summary"]))
    assert sorted(choice.rouge_l.values())[-2] < 100


def test_tries_no_budget_beyond_the_longest_summary() -> None:
    assert budgets(["one two", " ".join(WORDS[:24])]) == [*range(4, 13), 16, 24]
    assert budgets(["one"]) == [4]
    assert budgets(["船" * 10]) == list(range(4, 11))
    assert max(budgets([" ".join(WORDS)])) == 256


def test_a_lead_of_chinese_counts_characters() -> None:
    assert lead("小船在河上。大桥很远", 3) == "小船在"
    assert Lead(7, sentence=True)("小船在河上。大桥很远") == "小船在河上。"


def test_tokenizes_whole_texts(
    dataset: Dataset, tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    tokenized = tokenize_examples(dataset, tokenizer)

    assert sorted(tokenized.column_names) == ["input_ids", "labels", "length"]
    for row, source in zip(tokenized, dataset, strict=True):
        assert tokenizer.decode(row["input_ids"]) == source["document"] + "</s>"
        assert tokenizer.decode(row["labels"]) == source["summary"] + "</s>"
        assert row["length"] == len(row["input_ids"])
    assert not caplog.records


def test_cuts_to_the_limit_keeps_the_closing_token_and_says_so_once(
    dataset: Dataset, tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    tokenized = tokenize_examples(dataset, tokenizer, max_source_tokens=4, max_target_tokens=4)

    assert [tokenizer.decode(ids) for ids in tokenized["input_ids"]] == ["abc</s>", "abc</s>", "ä</s>"]
    assert [tokenizer.decode(ids) for ids in tokenized["labels"]] == ["xyz</s>", "x</s>", "xyz</s>"]
    assert tokenized["length"][:] == [4, 4, 3]
    assert [record.message for record in caplog.records] == [
        "max_source_tokens=4 cuts 1 of 3 texts",
        "max_target_tokens=4 cuts 1 of 3 texts",
    ]
    assert all(record.levelno == logging.WARNING for record in caplog.records)


@pytest.mark.parametrize("limit", ["max_source_tokens", "max_target_tokens"])
def test_a_limit_leaves_some_text(dataset: Dataset, tokenizer: PreTrainedTokenizerBase, limit: str) -> None:
    with pytest.raises(ConfigError, match=f"{limit}: expected None or at least 2 .*, got 1"):
        tokenize_examples(dataset, tokenizer, **{limit: 1})
