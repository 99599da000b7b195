"""Tests that span corruption hides what it says, loses nothing and is the same for the same seed and epoch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from simmim.errors import ConfigError
from simmim.train.denoising import SpanCorruption, corrupt_spans

MASK = 3


def corrupt(ids, seed=0, noise_density=0.15, mean_span=3.0):
    return corrupt_spans(ids, MASK, np.random.default_rng(seed), noise_density=noise_density, mean_span=mean_span)


def pieces(ids):
    """Split at the mask tokens."""
    found = [[]]
    for token in ids:
        if token == MASK:
            found.append([])
        else:
            found[-1].append(token)
    return found


@given(st.integers(1, 300), st.integers(0, 9), st.floats(0.01, 0.99), st.floats(1, 9))
def test_source_and_target_together_are_the_document(length, seed, noise_density, mean_span):
    ids = list(range(10, 10 + length))
    source, target = corrupt(ids, seed, noise_density, mean_span)
    kept, hidden = pieces(source), pieces(target)
    assert hidden[0] == []
    assert all(hidden[1:])
    assert all(kept[1:-1])
    assert len(kept) == len(hidden)
    woven = [token for left, right in zip(hidden, kept, strict=True) for token in [*left, *right]]
    assert woven == ids
    assert sum(map(len, hidden)) == max(1, round(length * noise_density))


def test_as_much_is_hidden_as_wanted_in_spans_as_long_as_wanted():
    source, target = corrupt(list(range(10, 10 + 2000)))
    spans = source.count(MASK)
    assert (len(target) - spans, spans) == (300, 100)


def test_every_place_is_hidden_alike_often():
    counts = np.zeros(20)
    for seed in range(4000):
        _, target = corrupt(list(range(10, 30)), seed)
        for token in target:
            if token != MASK:
                counts[token - 10] += 1
    assert counts.sum() == 4000 * 3
    assert counts[2:-2].min() > 0.8 * counts.mean()
    assert counts[2:-2].max() < 1.3 * counts.mean()
    assert counts.min() > 0.2 * counts.mean()


def test_an_empty_document_stays_empty():
    assert corrupt([]) == ([], [])


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"noise_density": 0.0}, "noise_density: expected a share"), ({"mean_span": 0.0}, "mean_span: expected at least")],
)
def test_wrong_settings_are_refused(tiny_model, settings, message):
    with pytest.raises(ConfigError, match=message):
        SpanCorruption(AutoTokenizer.from_pretrained(tiny_model), seed=0, **settings)


def test_a_batch_is_padded_and_the_same_whatever_it_is_batched_with(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    rows = [{"input_ids": tokenizer(text)["input_ids"]} for text in ("small fast editor " * 9, "server")]
    collator = SpanCorruption(tokenizer, seed=0)
    both, alone = collator(rows), collator(rows[:1])
    assert both["input_ids"].shape == both["attention_mask"].shape
    assert both["input_ids"][0].equal(alone["input_ids"][0])
    assert both["labels"][0].equal(alone["labels"][0])
    assert both["input_ids"][0, -1] == tokenizer.eos_token_id
    assert both["labels"][0, -1] == tokenizer.eos_token_id
    assert both["labels"][1, -1] == -100
    assert (both["attention_mask"] == (both["input_ids"] != tokenizer.pad_token_id)).all()
    assert tokenizer.mask_token_id in both["input_ids"][1]


def test_each_epoch_and_each_seed_hides_other_spans(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    rows = [{"input_ids": tokenizer("small fast editor " * 30)["input_ids"]}]
    first, other = SpanCorruption(tokenizer, seed=0), SpanCorruption(tokenizer, seed=1)
    batch = first(rows)["labels"].tolist()
    assert other(rows)["labels"].tolist() != batch
    first.set_epoch(1)
    assert first(rows)["labels"].tolist() != batch
    first.set_epoch(0)
    assert first(rows)["labels"].tolist() == batch


def test_a_tokenizer_without_a_mask_token_is_refused(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.mask_token = None
    with pytest.raises(ConfigError, match="expected a tokenizer with a mask token"):
        SpanCorruption(tokenizer, seed=0)
