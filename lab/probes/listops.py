"""The probe ``listops``: nested operations on lists of digits, written out; what is their result?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lab.probes.probe import IGNORED, PROBES, Example, Ids, Probe, ProbeSettings, check_length

__all__ = ["ListOps"]

OPERATORS = ("MIN", "MAX", "MED", "SM")
"""Minimum, maximum, median (the mean of the middle two, cut off) and sum modulo 10."""

_FIRST_DIGIT = 1
_FIRST_OPERATOR = _FIRST_DIGIT + 10
_END = _FIRST_OPERATOR + len(OPERATORS)


@PROBES.register("listops")
class ListOps(Probe):
    """``[MAX 4 [MIN 2 3 ] 1 ] 4``, where the last token is asked, as in Long Range Arena (arXiv 2011.04006, §2.2.1).

    An operation has 2 to 10 arguments; each is an operation itself with probability 1/4, down to 9 operations in each
    other (a depth of 10 with the digits inside), else a digit. Expressions have more than a quarter of ``length``
    tokens and less than ``length``: 500 and 2,000 there. An operator with its bracket is a token, and so is a closing
    bracket. The round brackets of the original files, which only say how lists are nested in pairs, are left out.
    """

    about = "the result of nested MIN, MAX, MED and SM of digits (Long Range Arena)"
    vocab_size = _END + 1
    grouped_by = "depth"
    clue_name = "root operator"
    settings = ProbeSettings(
        length=2000,
        shortest=32,
        mostly_short=True,  # short expressions are where a model learns what the operators do
        test_lengths=(64, 256, 1000, 2000),
        steps=5000,
        model={"num_hidden_layers": 4, "state_weight": "shared"},
    )

    max_depth, max_args, nesting = 10, 10, 0.25

    def draw(self, random: np.random.Generator, length: int, number: int) -> Example:
        """Return an expression of a length in range and its value; the group is the depth of its operations."""
        check_length(length, 8, "since two arguments in brackets take four and have to be between a quarter and all")
        while True:
            levels = self._grow(random, length)
            if levels is not None and levels[0].sizes(levels[1:])[0] > length // 4:
                input_ids = np.zeros(levels[0].size[0] + 1, dtype=np.int64)
                levels[0].write(input_ids, np.zeros(1, dtype=np.int64), levels[1:])
                input_ids[-1:] = _FIRST_DIGIT + levels[0].values(levels[1:])
                labels = np.full(len(input_ids), IGNORED)
                labels[-1] = input_ids[-1]
                return Example(input_ids, labels, np.array([len(levels)]))

    def clue(self, example: Example) -> int:
        """Return the root operator, as its token."""
        return int(example.input_ids[0])

    def _grow(self, random: np.random.Generator, limit: int) -> list[_Level] | None:
        """Return the operations of an expression level by level, or None if they take ``limit`` tokens or more."""
        levels: list[_Level] = []
        operations, tokens = 1, 1
        while operations:
            arguments = random.integers(2, self.max_args + 1, operations)
            total = int(arguments.sum())
            tokens += operations + total  # an operation that is an argument has been counted as one token
            if tokens >= limit:
                return None
            nested = random.random(total) < (self.nesting if len(levels) + 2 < self.max_depth else 0)
            operator = random.integers(0, len(OPERATORS), operations)
            levels.append(_Level(operator, arguments, nested, random.integers(0, 10, total)))
            operations = int(nested.sum())
        return levels


@dataclass(eq=False)
class _Level:
    """All operations of one depth, in the order of the text.

    Attributes:
        operator: ``[operations]`` their numbers in ``OPERATORS``.
        count: ``[operations]`` how many arguments they have.
        nested: ``[arguments]`` which arguments are operations: those of the next level.
        digit: ``[arguments]`` what the others are.
    """

    operator: Ids
    count: Ids
    nested: npt.NDArray[np.bool_]
    digit: Ids

    def __post_init__(self) -> None:
        self.first = np.cumsum(self.count) - self.count

    def sizes(self, below: list[_Level]) -> Ids:
        """Return, and keep in ``size``, how many tokens each operation takes."""
        self.argument_size = np.ones(len(self.nested), dtype=np.int64)
        if self.nested.any():
            self.argument_size[self.nested] = below[0].sizes(below[1:])
        self.size = 2 + np.add.reduceat(self.argument_size, self.first)
        return self.size

    def values(self, below: list[_Level]) -> Ids:
        """Return the result of each operation."""
        of = self.digit.copy()
        if self.nested.any():
            of[self.nested] = below[0].values(below[1:])
        ordered = of[np.lexsort((of, np.repeat(np.arange(len(self.count)), self.count)))]
        middle = ordered[self.first + (self.count - 1) // 2] + ordered[self.first + self.count // 2]
        least, most = ordered[self.first], ordered[self.first + self.count - 1]
        return np.choose(self.operator, (least, most, middle // 2, np.add.reduceat(of, self.first) % 10))

    def write(self, text: Ids, place: Ids, below: list[_Level]) -> None:
        """Write the operations, which begin at these places, into the text."""
        text[place], text[place + self.size - 1] = _FIRST_OPERATOR + self.operator, _END
        before = np.cumsum(self.argument_size) - self.argument_size
        argument = np.repeat(place + 1 - before[self.first], self.count) + before
        text[argument[~self.nested]] = _FIRST_DIGIT + self.digit[~self.nested]
        if self.nested.any():
            below[0].write(text, argument[self.nested], below[1:])
