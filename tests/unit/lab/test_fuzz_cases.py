"""Tests how the fuzzer runs a case and what it calls a hang or a crash."""

import os
import time
from itertools import count

import pytest

from lab.fuzz.cases import Case, Verdict, run_cases

# The fuzzer forks on purpose; other tests may have left threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def accept(rng, good, workdir):
    return Verdict(True)


def compute_without_end(rng, good, workdir):
    for _ in count():
        pass


def wait_without_end(rng, good, workdir):
    time.sleep(3_600)


def raise_an_error(rng, good, workdir):
    raise KeyError("unforeseen")


def end_the_process(rng, good, workdir):
    os._exit(3)


def leave_a_draft(rng, good, workdir):
    (workdir / ".file.draft").touch()
    return Verdict(True)


def run_one(kind, tmp_path, time_limit):
    [result] = run_cases(iter([Case("kind", 0, 0)]), {"kind": kind}, tmp_path, jobs=1, time_limit=time_limit)
    return result


@pytest.mark.parametrize(
    ("kind", "fault", "detail"),
    [
        (accept, "", ""),
        (raise_an_error, "traceback", "KeyError: 'unforeseen'"),
        (end_the_process, "crash", "ended with 3"),
        (leave_a_draft, "half-written", ".file.draft"),
    ],
)
def test_what_ends_has_its_verdict(tmp_path, kind, fault, detail):
    verdict = run_one(kind, tmp_path, time_limit=600).verdict
    assert verdict.fault == fault
    assert detail in verdict.detail


def test_what_computes_too_long_hangs_by_its_processor_time(tmp_path):
    result = run_one(compute_without_end, tmp_path, time_limit=0.3)
    assert result.verdict.fault == "hang"
    assert result.processor_seconds > 0.3 or result.seconds > 6 * 0.3


def test_what_waits_too_long_hangs_by_the_clock(tmp_path):
    result = run_one(wait_without_end, tmp_path, time_limit=0.3)
    assert result.verdict.fault == "hang"
    assert result.seconds > 6 * 0.3
