"""Tests that a run of two processes, of which one is killed, ends with the very weights of a quiet run."""

import os

import pytest

from lab.scale.kills import train_and_kill


@pytest.mark.slow
@pytest.mark.contract
def test_a_killed_process_costs_nothing_but_time():
    found = train_and_kill(kills=int(os.environ.get("SIMMIM_TEST_KILLS", "1")), seed=0, steps=12, processes=2)
    assert found["kills"] >= 1
    assert found["equal"]
