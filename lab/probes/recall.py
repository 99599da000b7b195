"""The probe ``recall``: pairs of a key and a value, and then some keys again, whose values are asked for."""

from __future__ import annotations

import numpy as np

from lab.probes.probe import IGNORED, PROBES, Example, Probe, ProbeSettings, check_length
from simmim.errors import ConfigError

__all__ = ["Recall"]


@PROBES.register("recall")
class Recall(Probe):
    """Multi-query associative recall (MQAR) as in Zoology (Arora et al., arXiv 2312.04927, §4 and figure 2).

    K pairs k v k v …, then blanks, among which every key occurs once more; there its value has to be said. Lengths 64,
    128, 256 and 512 have 4, 8, 16 and 64 pairs. Where a key occurs again follows a power law: the g-th even place after
    the pairs has weight g^(a - 1), a = 0.01. There are 256 tokens, half of them keys: the 8,192 of the paper are not
    learnt in minutes. One head, because a key is hard to tell from others by a quarter of the channels, and segments of
    two pairs, because the mean of four does not keep which value is whose.
    """

    about = "values of keys that were given earlier in the text (MQAR)"
    vocab_size = 256
    grouped_by = "distance"
    settings = ProbeSettings(
        length=256,
        shortest=32,
        mostly_short=True,  # texts with few pairs are where a model begins to look for a key
        test_lengths=(64, 128, 256),
        steps=5000,
        learning_rate=3e-3,
        # without positions of states it is learnt less well (decision 0008)
        model={"num_attention_heads": 1, "segment_length": 4, "partial_rotary_factor": 1.0},
    )
    power = 0.01

    def draw(self, random: np.random.Generator, length: int, number: int) -> Example:
        """Return pairs and queries; the groups are the distances from a key to its query, rounded down to 2^n."""
        check_length(length, 4, "a pair, its query and the place of the answer")
        pairs, half = self.pairs(length), self.vocab_size // 2
        if pairs >= half:
            raise ConfigError(
                f"length: expected less than {16 * half} tokens, since a text has a pair for every 16 and there are "
                f"{half - 1} keys; got {length}"
            )
        keys = 1 + random.choice(half - 1, pairs, replace=False)
        values = half + random.choice(self.vocab_size - half, pairs, replace=False)
        room = length // 2 - pairs
        weight = np.arange(1, room + 1) ** (self.power - 1.0)
        queries = 2 * pairs + 2 * random.choice(room, pairs, replace=False, p=weight / weight.sum())
        input_ids, labels = np.zeros(length, dtype=np.int64), np.full(length, IGNORED)
        input_ids[0 : 2 * pairs : 2], input_ids[1 : 2 * pairs : 2] = keys, values
        input_ids[queries], labels[queries + 1] = keys, values
        distance = queries - np.arange(0, 2 * pairs, 2)
        return Example(input_ids, labels, 1 << np.log2(distance[np.argsort(queries)]).astype(np.int64))

    def pairs(self, length: int) -> int:
        """Return how many pairs a text of so many tokens has: a sixteenth, and for 512 tokens 64, as in the paper."""
        return 64 if length == 512 else max(1, length // 16)
