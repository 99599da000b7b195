"""Tests of what a probe is trained on: each step has texts of one length, drawn as the settings say."""

import dataclasses

import numpy as np
import pytest

from lab.probes import Copying, ProbeSettings
from lab.probes.training import _TrainingTexts

SETTINGS = ProbeSettings(length=101, shortest=11, steps=400, batch_size=2)


def lengths(**changes):
    settings = dataclasses.replace(SETTINGS, **changes)
    texts = _TrainingTexts(Copying(), settings, seed=0)
    found = np.array([len(texts[number].input_ids) for number in range(len(texts))]).reshape(-1, 2)
    assert (found[:, 0] == found[:, 1]).all()
    return found[:, 0]


@pytest.mark.parametrize(("changes", "median"), [({}, 56), ({"mostly_short": True}, (11 * 101) ** 0.5)])
def test_lengths_are_drawn_between_the_shortest_and_the_longest(changes, median):
    found = lengths(**changes)
    assert 11 <= found.min() < 15
    assert 96 < found.max() <= 101
    assert np.median(found) == pytest.approx(median, rel=0.12)


def test_without_a_shortest_all_texts_are_the_longest():
    assert set(lengths(shortest=None, steps=5)) == {101}
