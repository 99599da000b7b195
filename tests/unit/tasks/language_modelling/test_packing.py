"""Documents are packed into sequences without losing a token, asking for one twice, or cutting what fits."""

import itertools

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from simmim.errors import ConfigError
from simmim.tasks.language_modelling.packing import PackedRows, best_fit, pack_rows, pieces

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def documents_of(packed):
    """Return inputs and labels of every document or piece, in the order in which they were packed."""
    for row in packed:
        start = 0
        for length in row["seq_lens"]:
            yield row["input_ids"][start : start + length], row["labels"][start : start + length]
            start += length
        assert start == row["length"] == len(row["input_ids"]) == len(row["labels"])


@given(LENGTHS, st.integers(2, 12))
def test_pieces_cover_every_document_and_meet_in_one_token(lengths, limit):
    found = pieces(lengths, limit)
    for document, length in enumerate(lengths):
        own = [(start, end) for number, start, end in found if number == document]
        assert own[0][0] == 0
        assert own[-1][1] == length
        assert all(1 <= end - start <= limit for start, end in own)
        assert all(start == before - 1 for (_, before), (start, _) in itertools.pairwise(own))
        if len(own) > 1:
            assert own[-1][1] - own[-1][0] > 1  # a piece that asks for nothing is none


@given(LENGTHS)
def test_best_fit_uses_every_piece_once_and_wastes_little(lengths):
    sequences = best_fit(lengths, 40)
    assert sorted(place for sequence in sequences for place in sequence) == list(range(len(lengths)))
    sums = [sum(lengths[place] for place in sequence) for sequence in sequences]
    assert max(sums) <= 40
    # no two sequences would fit into one
    assert sum(sorted(sums)[:2]) > 40 or len(sums) == 1


def test_a_piece_goes_where_it_leaves_least_room():
    assert best_fit([10, 7, 6, 3, 2, 1], 10) == [[0], [1, 3], [2, 4, 5]]


@given(LENGTHS, st.integers(2, 12))
def test_every_token_but_the_first_is_asked_for_once(lengths, limit):
    ids = [[1000 * number + place for place in range(length)] for number, length in enumerate(lengths)]
    packed = pack_rows(Dataset.from_dict({"input_ids": ids}), limit)
    asked = [label for _, labels in documents_of(packed) for label in labels if label != -100]
    assert sorted(asked) == sorted(token for document in ids for token in document[1:])
    for inputs, labels in documents_of(packed):
        assert inputs == list(range(inputs[0], inputs[0] + len(inputs)))  # of one document
        assert labels == [-100, *inputs[1:]]
    assert max(packed["length"]) <= limit


def test_labels_of_ones_own_are_kept():
    rows = Dataset.from_dict({"input_ids": [[1, 2, 3, 4, 5]], "labels": [[7, -100, 3, -100, 5]]})
    packed = pack_rows(rows, 4)
    assert sorted(zip(packed["input_ids"], packed["labels"], strict=True)) == [
        ([1, 2, 3, 4], [-100, -100, 3, -100]),
        ([4, 5], [-100, 5]),
    ]


def test_rows_that_were_chosen_and_shuffled_are_packed_as_they_are():
    rows = Dataset.from_dict({"input_ids": [[1, 2], [3, 4, 5], [6], [7, 8, 9, 10]]}).select([3, 1])
    assert [row["input_ids"] for row in pack_rows(rows, 4)] == [[7, 8, 9, 10], [3, 4, 5]]


def test_a_batch_is_one_row_that_says_where_documents_begin():
    rows = [
        {"input_ids": [1, 2, 3], "labels": [-100, 2, -100], "seq_lens": [2, 1], "length": 3},
        {"input_ids": [4, 5], "labels": [-100, 5], "seq_lens": [2], "length": 2},
    ]
    batch = PackedRows()(rows)
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[1, 2, 3, 4, 5]],
        "labels": [[-100, 2, -100, -100, 5]],
        "cu_seq_lens_q": [0, 2, 3, 5],
    }


def test_a_sequence_holds_two_tokens_at_least():
    with pytest.raises(ConfigError, match="sequence_length: expected at least 2 tokens, got 1"):
        pieces([3], 1)
