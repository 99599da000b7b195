"""Tests that every document gets its own summary, whatever it is batched with."""

import pytest
import torch

from simmim.tasks.batches import batches
from simmim.tasks.checkpoints import load_model
from simmim.tasks.summarization.generation import summaries

DOCUMENTS = ["editor", "server client fast " * 12, "python network", "image " * 30, "sound text small library"]


@pytest.fixture
def loaded(tiny_model):
    return load_model(tiny_model)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_batch_gives_what_single_documents_give(loaded, beams):
    model, tokenizer = loaded
    for weight in model.parameters():  # so large that every token of a document matters
        if weight.dim() == 2:
            torch.nn.init.normal_(weight, std=0.5)
    settings = {"num_beams": beams, "max_new_tokens": 6}
    together = dict(summaries(model, tokenizer, DOCUMENTS, batch_size=3, **settings))
    assert sorted(together) == list(range(len(DOCUMENTS)))
    assert len({summary.text for summary in together.values()}) == len(DOCUMENTS)
    for place, document in enumerate(DOCUMENTS):
        [(_, alone)] = summaries(model, tokenizer, [document], **settings)
        assert (together[place].text, together[place].complete) == (alone.text, alone.complete)


def test_few_long_documents_are_read_at_a_time(loaded, monkeypatch):
    model, tokenizer = loaded
    lengths = [len(tokenizer(document)["input_ids"]) for document in DOCUMENTS]
    beams, short = 2, sorted(lengths)[2]
    monkeypatch.setattr("simmim.tasks.summarization.generation.TOKEN_BUDGET", beams * 3 * short)
    shapes = []
    model.get_encoder().register_forward_hook(
        lambda module, args, kwargs, output: shapes.append(tuple(output.last_hidden_state.shape[:2])), with_kwargs=True
    )
    assert len(dict(summaries(model, tokenizer, DOCUMENTS, num_beams=beams, max_new_tokens=2, batch_size=9))) == len(
        DOCUMENTS
    )
    assert [documents for documents, _ in shapes] == [1, 1, 3]


def test_every_token_of_a_document_is_read(loaded):
    model, tokenizer = loaded
    seen = []
    model.get_encoder().register_forward_hook(
        lambda module, args, kwargs, output: seen.append(output.last_hidden_state.shape[1]), with_kwargs=True
    )
    document = "network " * 3000
    [(_, summary)] = summaries(model, tokenizer, [document], num_beams=1, max_new_tokens=2)
    assert seen == [summary.source_tokens] == [len(tokenizer(document)["input_ids"])]


def test_a_summary_that_the_limit_ended_is_not_complete(loaded):
    model, tokenizer = loaded
    model.generation_config.decoder_start_token_id = tokenizer.eos_token_id  # as some models have it: no end, that one
    head = model.get_output_embeddings()
    chosen = tokenizer.convert_tokens_to_ids("a")

    def force(token):
        def scores(module, args, output):
            output[...] = 0
            output[..., token] = 9
            return output

        return head.register_forward_hook(scores)

    for token, complete, text in ((chosen, False, "aaaa"), (tokenizer.eos_token_id, True, "")):
        hook = force(token)
        [(_, summary)] = summaries(model, tokenizer, ["editor"], num_beams=1, max_new_tokens=4)
        hook.remove()
        assert (summary.complete, summary.text) == (complete, text)


def test_the_longest_come_first_so_that_memory_is_tried_first(loaded):
    order = [place for place, _ in summaries(*loaded, DOCUMENTS, num_beams=1, max_new_tokens=1, batch_size=2)]
    assert order[0] in (1, 3)
    assert order[-1] == 0


def test_batches_hold_every_document_once_within_the_budget():
    lengths = [5, 400, 3, 90, 100, 3, 7, 1, 50]
    made = list(batches(lengths, batch_size=3, token_budget=200))
    assert made == [[1], [4, 3], [8, 6, 0], [2, 5, 7]]
    assert [len(batch) for batch in batches(lengths, 4, 10_000)] == [4, 4, 1]
    assert list(batches([], 4, 200)) == []
