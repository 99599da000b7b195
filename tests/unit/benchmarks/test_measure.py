"""The tools of the benchmarks: what they measure is what happened, and nothing beside it."""

import json
import os
import platform
import re
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks.measure import count_flops, git_commit, machine_facts, paired_times, peak_memory


class Clock:
    """A clock that only the steps advance."""

    def __init__(self):
        self.now = 0.0
        self.log = []

    def step(self, name, seconds):
        left = iter(seconds)

        def run():
            self.log.append(name)
            self.now += next(left)

        return run


def test_pairs_are_timed_in_turn_after_the_warm_up(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    pairs = paired_times(clock.step("a", [100, 1, 2, 4]), clock.step("b", [100, 3, 4, 20]), repeats=3)
    assert "".join(clock.log) == "abababab"
    assert pairs.a == (1, 2, 4)
    assert pairs.b == (3, 4, 20)
    assert pairs.medians == (2, 4)
    assert pairs.ratios == (3, 2, 5)


def test_flops_of_a_matrix_product():
    x = torch.ones(5, 7, requires_grad=True)
    w = torch.ones(7, 11, requires_grad=True)
    assert count_flops(lambda: x @ w) == 2 * 5 * 7 * 11
    assert count_flops(lambda: (x @ w).sum().backward()) == 3 * 2 * 5 * 7 * 11


@pytest.mark.parametrize("masked", [False, True])
def test_flops_of_fused_attention(masked):
    """Forward: QKᵀ and PV. Backward: the scores again, and the gradients of P, V, Q and K."""
    q = torch.ones(2, 3, 8, 16, requires_grad=True)
    k, v = (torch.ones(2, 3, 10, 16, requires_grad=True) for _ in range(2))
    mask = torch.ones(8, 10, dtype=torch.bool).tril(3) if masked else None
    product = 2 * (2 * 3) * 8 * 10 * 16

    def attend():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    assert "FlashAttentionForCpu" in type(attend().grad_fn).__name__  # the kernel that torch has no formula for
    assert count_flops(attend) == 2 * product
    assert count_flops(lambda: attend().sum().backward()) == (2 + 5) * product


def test_peak_memory_counts_the_step_alone():
    """Neither the 256 MiB of the parent nor the 64 MiB that the child starts from are the step's."""
    mib = 2**20
    parent = b"x" * (256 * mib)
    copied = parent[: 64 * mib]
    peak = peak_memory(partial, bytearray, copied)
    if platform.system() != "Linux":
        assert peak is None
    else:
        assert 63 * mib < peak < 68 * mib  # the kernel counts in steps of some pages


def test_machine_facts_do_not_name_the_machine(monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: "name-of-the-machine")
    monkeypatch.setattr(socket, "gethostname", lambda: "name-of-the-machine")
    text = json.dumps(machine_facts())
    assert "name-of-the-machine" not in text
    assert machine_facts()["torch"] == torch.__version__
    assert machine_facts()["threads"] == torch.get_num_threads()


def test_git_commit_is_a_whole_hash():
    commit = git_commit()
    assert commit is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", commit)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no process can be killed so there")
def test_a_fresh_process_ends_with_the_one_that_asked_for_it(tmp_path):
    told = tmp_path / "pid"
    work = f"import os, pathlib, time; pathlib.Path({str(told)!r}).write_text(str(os.getpid())); time.sleep(99)"
    ask = f"if __name__ == '__main__': in_fresh_process(exec, {work!r})"
    (tmp_path / "script.py").write_text(f"from benchmarks.measure import in_fresh_process\n{ask}\n")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path, env=environment) as asking:
        pid = int(_eventually(lambda: told.exists() and told.read_text()))
        asking.kill()
    _eventually(lambda: not _runs(pid))


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _eventually(told):
    ends = time.monotonic() + 100
    while time.monotonic() < ends:
        if found := told():
            return found
        time.sleep(0.05)
    pytest.fail("it did not happen")
