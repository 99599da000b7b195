"""Scores a model on a probe: accuracy at several lengths and in groups, with intervals, and a baseline beside it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from statistics import NormalDist

import torch
from transformers import PreTrainedModel

from lab.probes.answers import ask, batch_of
from lab.probes.probe import IGNORED, Example, Probe

__all__ = ["Accuracy", "Score", "guess_from_clue", "score"]

_TOKENS_AT_ONCE = 1 << 14
_CLUES = 2000  # training examples that the baseline learns from


@dataclass(frozen=True)
class Accuracy:
    """How many of what was asked were answered right.

    Attributes:
        right: so many.
        asked: of so many.
    """

    right: int
    asked: int

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.right / self.asked

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return Wilson's score interval of the share."""
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        n, p = self.asked, self.share
        centre, spread = p + z * z / (2 * n), z * ((p * (1 - p) + z * z / (4 * n)) / n) ** 0.5
        return max(0.0, (centre - spread) / (1 + z * z / n)), min(1.0, (centre + spread) / (1 + z * z / n))


@dataclass(frozen=True)
class Score:
    """What a model, or a baseline, achieves at one length.

    Attributes:
        length: tokens of the texts, or the most of them.
        total: of all that was asked.
        groups: the same by ``Example.groups``.
    """

    length: int
    total: Accuracy
    groups: dict[int, Accuracy]


@torch.no_grad()
def score(model: PreTrainedModel, probe: Probe, length: int, *, examples: int, seed: int = 0) -> Score:
    """Measure a model on examples of the test split.

    Args:
        model: a causal language model.
        probe: what to ask.
        length: tokens of the texts.
        examples: how many texts.
        seed: which texts.
    """
    was_training, device = model.training, model.device
    model.eval()
    at_once = max(1, _TOKENS_AT_ONCE // length)
    tally: list[tuple[int, bool]] = []
    for start in range(0, examples, at_once):
        drawn = [probe.example("test", seed, n, length) for n in range(start, min(start + at_once, examples))]
        logits, labels = ask(model, {name: part.to(device) for name, part in batch_of(drawn).items()})
        tally += _tally(probe, drawn, (logits.argmax(-1) == labels).tolist())
    model.train(was_training)
    return _score(length, tally)


def guess_from_clue(probe: Probe, length: int, *, examples: int, seed: int = 0) -> Score:
    """Measure a baseline that sees only the clue: it answers what training texts with that clue most often have.

    Args:
        probe: one that has a ``clue_name``.
        length: tokens of the texts.
        examples: how many texts to measure on, the same as in ``score``.
        seed: which.
    """
    seen: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for number in range(_CLUES):
        example = probe.example("train", seed, number, length)
        seen[probe.clue(example)][_answer(example)] += 1
    tally = []
    for number in range(examples):
        example = probe.example("test", seed, number, length)
        guess = seen[probe.clue(example)].most_common(1)
        tally += _tally(probe, [example], [bool(guess) and guess[0][0] == _answer(example)])
    return _score(length, tally)


def _answer(example: Example) -> int:
    """Return the only answer of a text."""
    return int(example.labels[example.labels != IGNORED].item())


def _tally(probe: Probe, examples: list[Example], right: list[bool]) -> list[tuple[int, bool]]:
    """Return the group of everything that counts, and whether it is right."""
    found, start = [], 0
    for example in examples:
        asked = int((example.labels != IGNORED).sum())
        of, start = right[start : start + asked], start + asked
        groups = example.groups.tolist()
        found += [(groups[0], all(of))] if probe.counts == "text" else list(zip(groups, of, strict=True))
    return found


def _score(length: int, tally: list[tuple[int, bool]]) -> Score:
    groups: defaultdict[int, list[bool]] = defaultdict(list)
    for group, right in tally:
        groups[group].append(right)
    counted = {group: Accuracy(sum(found), len(found)) for group, found in sorted(groups.items())}
    total = Accuracy(sum(part.right for part in counted.values()), sum(part.asked for part in counted.values()))
    return Score(length, total, counted)
