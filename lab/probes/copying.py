"""The probe ``copying``: a random string, a delimiter, and the string again."""

from __future__ import annotations

import numpy as np

from lab.probes.probe import IGNORED, PROBES, Example, Probe, ProbeSettings, check_length

__all__ = ["Copying"]

PARTS = 4
"""Parts of the string, from its beginning to its end; the groups of the results."""

_DELIMITER = 1
_FIRST = 2


@PROBES.register("copying")
class Copying(Probe):
    """Random letters, a delimiter, and the same letters once more, which have to be said one by one.

    The task of Jelassi et al. (arXiv 2402.01032, §3), without their end tokens. A text of N tokens has a string of
    ⌊(N - 1) / 2⌋ letters; every letter stands as far behind its copy as the string is long.
    """

    about = "a random string, said again after a delimiter"
    letters = 16
    vocab_size = _FIRST + letters
    grouped_by = "quarter"
    # without positions of states nothing tells in which order segments stand (decision 0008)
    settings = ProbeSettings(model={"partial_rotary_factor": 1.0})

    def draw(self, random: np.random.Generator, length: int, number: int) -> Example:
        """Return a string and its copy; the groups are the quarters of the string."""
        check_length(length, 3, "a letter, the delimiter and the copy")
        size = (length - 1) // 2
        string = random.integers(_FIRST, _FIRST + self.letters, size)
        input_ids = np.concatenate((string, [_DELIMITER], string))
        labels = np.full(len(input_ids), IGNORED)
        labels[size + 1 :] = string
        return Example(input_ids, labels, np.arange(size) * PARTS // size)
