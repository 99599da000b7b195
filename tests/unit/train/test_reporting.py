"""Tests that a run's log and progress say what happened."""

import io
import json
import time

import pytest
from rich.console import Console
from transformers import TrainerControl, TrainerState

from simmim.train.callbacks import RunReporter


@pytest.fixture
def clock(monkeypatch):
    """Give a clock that stands still until told."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def follow(reporter, clock):
    """Play a run: ten steps of 5,000 tokens in 10 s, an evaluation of 50 s, ten steps of 5,000 tokens in 5 s."""
    state = TrainerState(global_step=0, max_steps=20, num_input_tokens_seen=0)
    given = (None, state, TrainerControl())
    with reporter:
        reporter.on_train_begin(*given)
        clock[0] += 10
        state.global_step, state.num_input_tokens_seen = 10, 5000
        reporter.on_step_end(*given)
        reporter.on_log(*given, logs={"loss": 3.0, "learning_rate": 0.1, "total_flos": 9.0})
        clock[0] += 50
        reporter.on_log(*given, logs={"eval_loss": 2.5, "eval_runtime": 1.0})
        reporter.on_evaluate(*given)
        clock[0] += 5
        state.global_step, state.num_input_tokens_seen = 20, 10_000
        reporter.on_step_end(*given)
        reporter.on_log(*given, logs={"loss": 2.0, "learning_rate": 0.05})


def test_the_log_is_json_lines_with_the_training_speed(tmp_path, clock):
    log = tmp_path / "log.jsonl"
    follow(RunReporter(log, Console(file=io.StringIO())), clock)
    first, evaluation, last = map(json.loads, log.read_text().splitlines())
    assert first == {
        **{"step": 10, "seconds": 10.0, "loss": 3.0, "learning_rate": 0.1},
        **{"source_tokens": 5000, "tokens_per_second": 500.0},
    }
    assert evaluation == {"step": 10, "seconds": 60.0, "eval_loss": 2.5}
    assert (last["step"], last["tokens_per_second"]) == (20, 1000.0)  # the evaluation's 50 s do not count


def test_a_second_run_appends(tmp_path, clock):
    log = tmp_path / "log.jsonl"
    for _ in range(2):
        follow(RunReporter(log, Console(file=io.StringIO())), clock)
    assert len(log.read_text().splitlines()) == 6


def test_without_a_terminal_there_is_a_line_an_entry(tmp_path, clock):
    out = io.StringIO()
    follow(RunReporter(tmp_path / "log.jsonl", Console(file=out)), clock)
    assert out.getvalue().splitlines() == [
        "step 10/20  loss 3.000  500 tokens/s",
        "step 10/20  validation loss 2.500",
        "step 20/20  loss 2.000  1,000 tokens/s",
    ]


def test_on_a_terminal_there_is_a_bar_with_step_loss_and_speed(tmp_path, clock):
    out = io.StringIO()
    follow(
        RunReporter(tmp_path / "log.jsonl", Console(file=out, force_terminal=True, color_system=None, width=100)), clock
    )
    assert "step 20/20" in out.getvalue()
    assert "loss 2.000  1,000 tokens/s" in out.getvalue()
    assert "step 10  validation loss 2.500" in out.getvalue()
