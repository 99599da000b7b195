"""Tests that what fails in a batch is said of the document that it fails for, and of no other."""

import pytest

from simmim.cli import batches
from simmim.cli.batches import Outcome, summarize_documents
from simmim.cli.document_worker import read_documents
from simmim.errors import DataError
from simmim.tasks.checkpoints import load_model
from simmim.tasks.summarization import generation
from simmim.tasks.summarization.generation import Summary

SETTINGS = {"do_sample": False, "num_beams": 1, "max_new_tokens": 2}


@pytest.fixture
def run(tiny_model, tmp_path):
    """Give a function that summarises documents of so many words."""
    model, tokenizer = load_model(tiny_model)

    def summarise(*words, strict=False, **limits):
        names = []
        for number, count in enumerate(words):
            names.append(str(tmp_path / f"{number}.txt"))
            (tmp_path / f"{number}.txt").write_text("fast " * count)
        for name, value in limits.items():
            setattr(tokenizer, name, value)
        documents = read_documents(names, None, lambda name, sha256: False)
        return list(summarize_documents(documents, lambda: (model, tokenizer), SETTINGS, strict))

    summarise.model = model
    return summarise


def kinds(made):
    return {outcome.document.index: type(outcome.summary) for batch in made for outcome in batch}


def test_batches_are_of_like_length_within_the_budget(run, monkeypatch):
    monkeypatch.setattr("simmim.tasks.summarization.generation.TOKEN_BUDGET", 40)
    made = run(3, 100, 4, 3, 5, 90)
    assert [[outcome.document.index for outcome in batch] for batch in made] == [
        [1],
        [5],
        [4, 2],
        [0, 3],
    ]  # three tokens a word, and the end
    assert set(kinds(made).values()) == {Summary}


def test_a_window_is_bounded_and_nothing_is_lost(run, monkeypatch):
    monkeypatch.setattr(batches, "_DOCUMENTS", 2)
    assert [len(batch) for batch in run(3, 4, 5, 6, 7)] == [2, 2, 1]
    monkeypatch.setattr(batches, "_DOCUMENTS", 100)
    monkeypatch.setattr(batches, "_CHARACTERS", 30)
    assert sorted(kinds(run(3, 4, 5, 6, 7))) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_document_too_large_for_memory_does_not_stop_the_others(run, monkeypatch, error):
    real = type(run.model).generate

    def generate(self, input_ids, **settings):
        if input_ids.shape[1] > 50:
            raise error
        return real(self, input_ids=input_ids, **settings)

    monkeypatch.setattr(type(run.model), "generate", generate)
    made = run(3, 60, 5)
    assert kinds(made) == {0: Summary, 1: DataError, 2: Summary}
    [failure] = [str(o.summary) for batch in made for o in batch if isinstance(o.summary, DataError)]
    assert "1.txt: expected a document that fits into memory, not enough for 181 tokens" in failure


def test_a_document_that_memory_cannot_hold_is_not_tried(run, monkeypatch):
    """A system that kills who takes too much gives no error: what is sure to be too much is refused."""
    tried, real = [], type(run.model).generate

    def generate(self, input_ids, **settings):
        tried.append(tuple(input_ids.shape))
        return real(self, input_ids=input_ids, **settings)

    monkeypatch.setattr(type(run.model), "generate", generate)
    needed = 6 * 181 * run.model.config.hidden_size * 4 / 2**20
    for free, refused in ((needed * 0.99, True), (needed * 1.01, False), (None, False)):
        monkeypatch.setattr(generation, "free_memory", lambda free=free: free)
        made = run(3, 60, 5)
        assert kinds(made) == {0: Summary, 1: DataError if refused else Summary, 2: Summary}
        assert ((3, 181) in tried) == (not refused)
        tried.clear()
    monkeypatch.setattr(generation, "free_memory", lambda: 0.02)
    [failure] = [str(o.summary) for batch in run(60) for o in batch]
    assert failure.endswith(
        "0.txt: expected a document that fits into memory, 181 tokens need 0 MiB or more and 0 MiB are free; "
        "try a machine with more, or a part of the document"
    )


def test_another_error_of_the_model_is_not_hidden(run, monkeypatch):
    def generate(self, **settings):
        raise RuntimeError("a fault")

    monkeypatch.setattr(type(run.model), "generate", generate)
    with pytest.raises(RuntimeError, match="a fault"):
        run(3)


def test_a_model_with_a_limit_refuses_what_is_longer(run):
    made = run(3, 60, 80, 5, model_max_length=50)
    assert kinds(made) == {0: Summary, 1: DataError, 2: DataError, 3: Summary}
    assert isinstance(made[0][0], Outcome)
    assert "2.txt: expected at most 50 tokens, which this model can read, got 241" in str(made[0][0].summary)


def test_what_a_document_does_not_say_is_marked_or_left_out(run, monkeypatch, capsys):
    written = Summary("Fast fast. Bob is 7.", 3, True, 0.1)
    monkeypatch.setattr(batches, "summarize_batches", lambda *_, **__: [[(0, written)]])
    marked, strict = run(3)[0][0], run(3, strict=True)[0][0]
    found = [(one["text"], one["kind"]) for one in batches._record(marked)["unsupported"]]
    assert found == [("7", "number")]
    assert strict.summary.text == "Fast fast."
    assert batches._record(strict)["unsupported"] == []
    for outcome in (marked, strict):
        assert batches._print(iter([[outcome]]), False, 64) == []
    shown = " ".join(capsys.readouterr().out.split())
    assert "summary Fast fast. Bob is 7." in shown
    assert "not in the document: 7 (number)" in shown
    assert "sentences with what the document does not say were left out" in shown
