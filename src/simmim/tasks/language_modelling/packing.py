"""Packs tokenised documents into training sequences: whole where they fit, in pieces where they are longer."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from datasets import Dataset

from simmim.errors import ConfigError
from simmim.models.losses import IGNORED

__all__ = ["PackedRows", "best_fit", "pack_rows", "pieces"]


def pieces(lengths: Sequence[int], limit: int) -> list[tuple[int, int, int]]:
    """Cut documents into pieces of at most ``limit`` tokens.

    A piece begins with the last token of the one before, which it reads but is not asked for: so every token but the
    first is asked for once.

    Returns:
        Document, first token and token after the last of each piece.

    Raises:
        ConfigError: The limit is below 2.
    """
    if limit < 2:
        raise ConfigError(f"sequence_length: expected at least 2 tokens, got {limit}.")
    return [
        (document, start, min(start + limit, length))
        for document, length in enumerate(lengths)
        for start in range(0, max(length - 1, 1), limit - 1)
    ]


def best_fit(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Put pieces into sequences of at most ``limit`` tokens, each where it leaves least space, the longest first.

    Best-fit packing of Ding et al. 2024 (arXiv 2404.10830): few sequences, and no piece is cut for it.

    Returns:
        The indices of the pieces of each sequence.
    """
    sequences: list[list[int]] = []
    by_space: dict[int, list[int]] = {}  # space -> sequences that have so much
    spaces: list[int] = []  # that are in use, ascending
    for index in sorted(range(len(lengths)), key=lambda one: -lengths[one]):
        length = lengths[index]
        at = bisect.bisect_left(spaces, length)
        if at < len(spaces):
            space = spaces[at]
            number = by_space[space].pop()
            if not by_space[space]:
                spaces.pop(at)
        else:
            space, number = limit, len(sequences)
            sequences.append([])
        sequences[number].append(index)
        left = space - length
        if left > 0:
            if not by_space.setdefault(left, []):
                bisect.insort(spaces, left)
            by_space[left].append(number)
    return sequences


def pack_rows(rows: Dataset, sequence_length: int) -> Dataset:
    """Pack documents into training sequences.

    Args:
        rows: `input_ids` of each document and, if not every token is to be learnt, `labels`: the same with -100 where
            no loss is wanted. The model shifts labels by one.
        sequence_length: The most tokens of a sequence. A longer document is cut into `pieces`.

    Returns:
        `input_ids` and `labels` of each sequence, `seq_lens`, the lengths of its documents and pieces in their order,
        and `length`, their sum. The first token of each has no label.
    """
    columns = ["input_ids", "labels"] if "labels" in rows.column_names else ["input_ids", "input_ids"]
    flat, starts = zip(*(_flat(rows, column) for column in columns), strict=True)
    lengths = np.diff(starts[0])
    cut = pieces(lengths.tolist(), sequence_length)
    sizes = [end - start for _, start, end in cut]
    sequences = best_fit(sizes, sequence_length)
    order = [cut[index] for sequence in sequences for index in sequence]
    spans = [slice(starts[0][document] + start, starts[0][document] + end) for document, start, end in order]
    inputs, labels = (np.concatenate([values[span] for span in spans]) for values in flat)
    counts = np.array([len(sequence) for sequence in sequences])
    piece_lengths = np.array([end - start for _, start, end in order])
    labels[np.cumsum(piece_lengths) - piece_lengths] = IGNORED
    totals = np.add.reduceat(piece_lengths, np.cumsum(counts) - counts)
    return Dataset(
        pa.table(
            {
                "input_ids": _lists(inputs, totals),
                "labels": _lists(labels, totals),
                "seq_lens": _lists(piece_lengths, counts),
                "length": pa.array(totals),
            }
        )
    )


class PackedRows:
    """Makes a batch of packed sequences: one row of tokens, and where its documents begin (`cu_seq_lens_q`)."""

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Put sequences one after the other.

        Returns:
            `input_ids` and `labels`, `[1, T]`, and `cu_seq_lens_q`, `[D + 1]`.
        """
        lengths = np.concatenate([row["seq_lens"] for row in rows])
        borders = torch.from_numpy(np.cumsum(lengths, dtype=np.int32))
        joined = {
            name: torch.from_numpy(np.concatenate([row[name] for row in rows]).astype(np.int64))[None]
            for name in ("input_ids", "labels")
        }
        return {**joined, "cu_seq_lens_q": torch.cat((borders.new_zeros(1), borders))}


def _flat(rows: Dataset, column: str) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Return the numbers of a column of lists in one array, and where each row begins in it, and last its length."""
    lists = rows.with_format("arrow")[column]
    chunks = lists.chunks if isinstance(lists, pa.ChunkedArray) else [lists]
    lengths = np.concatenate([np.zeros(1, np.int64), *(chunk.value_lengths().to_numpy() for chunk in chunks)])
    values = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in chunks]
    return np.concatenate(values).astype(np.int32), np.cumsum(lengths)


def _lists(values: npt.NDArray[Any], lengths: npt.NDArray[np.int64]) -> pa.LargeListArray:
    borders = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    return pa.LargeListArray.from_arrays(pa.array(borders), pa.array(values.astype(np.int32)))
