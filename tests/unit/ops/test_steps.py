"""Steps of decoding: which documents, which columns, and what the next token may read, worked out by hand."""

from __future__ import annotations

import pytest
import torch

from simmim.ops.steps import READ, UNREAD, BatchColumns, BatchMask, StepLayout

CPU = torch.device("cpu")
L = 4


def batch_mask(*flags: bool) -> BatchMask:
    return BatchMask(flags, CPU)


def test_rows_are_chosen_where_a_document_is_meant() -> None:
    new, old = torch.full((3, 2), 1.0), torch.full((3, 2), float("nan"))
    chosen = batch_mask(True, False, True)
    assert chosen.choose(new, old)[:, 0].isnan().tolist() == [False, True, False]
    assert batch_mask(True, True, True).choose(new, old) is new
    assert batch_mask(False, False, False).choose(new, old) is old
    assert torch.equal(chosen.only(old)[1], torch.zeros(2)), "what stands at the others is not multiplied with"
    assert chosen.only(old)[0].isnan().all()
    assert batch_mask(True, True, True).only(old) is old
    assert chosen.fill(new[:, 0], 7.0).tolist() == [7, 1, 7]
    assert chosen.where([True, True, False]).flags == [True, False, False]
    assert (chosen.all, chosen.any) == (False, True)


@pytest.mark.parametrize("shape", [(3, 2, 5, 4), (3, 5, 4)], ids=str)
@pytest.mark.parametrize("flags", [(True, True, True), (True, False, True), (False, False, False)], ids=str)
@pytest.mark.parametrize("columns", [(3, 3, 3), (0, 2, 4)], ids=str)
def test_columns_are_written_and_nothing_else(shape: tuple[int, ...], flags: tuple[bool, ...], columns: tuple) -> None:
    kept = torch.randn(shape)
    new = torch.randn(*shape[:-2], shape[-1])
    expected = kept.clone()
    for row, (flag, column) in enumerate(zip(flags, columns, strict=True)):
        if flag:
            expected[row, ..., column, :] = new[row]
    target = BatchColumns(columns, batch_mask(*flags))
    assert target.needed == 1 + max((c for c, flag in zip(columns, flags, strict=True) if flag), default=-1)
    before = kept.clone()
    assert torch.equal(target.write(kept, new), expected)
    assert torch.equal(kept, before), "a gradient may flow through what stood there"
    with torch.no_grad():
        assert target.write(kept, new) is kept
    assert torch.equal(kept, expected)


def test_what_inference_mode_made_is_written_outside_of_it() -> None:
    with torch.inference_mode():
        kept = torch.zeros(1, 2, 3)
    with torch.no_grad():
        written = BatchColumns([1], batch_mask(True)).write(kept, torch.ones(1, 3))
    assert written.tolist() == [[[0, 0, 0], [1, 1, 1]]]
    assert not written.is_inference()


def readable_by_hand(place: int, room: int, neighbours: int, origin: int) -> list[float]:
    """Write every position so far into its slot, one after the other."""
    slots: list[int | None] = [None] * room
    for position in range(origin, place + 1):
        if position % ((1 + neighbours) * L) < room:
            slots[position % ((1 + neighbours) * L)] = position
    first = (place // L - neighbours) * L
    return [READ if position is not None and position >= first else UNREAD for position in slots]


@pytest.mark.parametrize("origin", [0, 3])
@pytest.mark.parametrize("neighbours", [0, 1])
def test_the_window_is_what_a_ring_filled_by_hand_holds(neighbours: int, origin: int) -> None:
    window = (1 + neighbours) * L
    for place in range(origin, 5 * L):
        room = min(window, place + 1)
        layout = StepLayout.build(torch.tensor([place, place]), None, L, neighbours, origin)
        assert layout.readable(room) == [readable_by_hand(place, room, neighbours, origin)]
        assert layout.begins.all == (place == origin or place % L == 0)
        assert layout.ends.all == (place % L == L - 1)
        assert layout.following.tolist() == [place + 1] * 2
        assert layout.counts == [sum(p // L == place // L for p in range(origin, place + 1))] * 2
        assert layout.slots.columns == [place % window] * 2


def test_documents_at_different_places_are_told_apart() -> None:
    mask = torch.tensor([[True], [False], [True]])
    layout = StepLayout.build(torch.tensor([7, 3, 4]), mask, L, 1, 0)
    assert layout.unique.tolist() == [7, 3, 4]
    assert layout.numbers == [1, 0, 1]
    assert layout.ends.flags == [True, False, False], "the second document gets no token"
    assert layout.begins.flags == [False, False, True]
    assert layout.following.tolist() == [8, 3, 5]
    assert layout.slots.needed == 8
    for row, place in enumerate((7, 3, 4)):
        assert layout.readable(8)[row] == readable_by_hand(place, 8, 1, 0)
    made = [layout.memo("key", lambda: object()) for _ in range(2)]
    assert made[0] is made[1]
