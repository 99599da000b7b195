"""Kills one of several training processes at random moments, while torchrun starts them again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import yaml
from safetensors.torch import load_file

from simmim.errors import SimMIMError

__all__ = ["train_and_kill"]

PROCESSES = 4
PATIENCE = 3600  # seconds that a run may take on a busy machine
WORDS = "editor compiler library server client small fast python network image sound text".split()


def train_and_kill(kills: int, seed: int, steps: int = 40, processes: int = PROCESSES) -> dict[str, Any]:
    """Train twice, once disturbed, and compare the final weights bit for bit.

    Args:
        kills: how often one of the processes is killed.
        seed: of the moments, and of which one is killed.
        steps: of each run.
        processes: that train together.

    Returns:
        How many kills there were, after which steps, in how many seconds a restarted run took its next step, and
        whether the weights are equal.

    Raises:
        SimMIMError: a run did not end.
    """
    with tempfile.TemporaryDirectory(prefix="simmim-") as name:
        folder, drawn = Path(name), random.Random(seed)
        quiet = _start(_recipe(folder, "quiet", steps), 0, processes)
        _end(quiet)
        process, log, moments = (
            _start(_recipe(folder, "killed", steps), kills, processes),
            folder / "killed" / "log.jsonl",
            [],
        )
        for number in range(kills):
            first, last = 1 + number * (steps - 2) // kills, (number + 1) * (steps - 2) // kills
            _wait_for(process, log, drawn.randint(first, max(first, last)))
            time.sleep(drawn.uniform(0, 0.5))
            workers = [child for child in psutil.Process(process.pid).children() if _is_worker(child)]
            if len(workers) < processes or process.poll() is not None:
                break
            at, before = _lines(log), time.monotonic()
            drawn.choice(workers).send_signal(signal.SIGKILL)
            _wait_for(process, log, at + 1)
            moments.append({"after_lines": at, "seconds_until_next_step": round(time.monotonic() - before, 1)})
        _end(process)
        ours, theirs = (load_file(folder / run / "model" / "model.safetensors") for run in ("quiet", "killed"))
        equal = ours.keys() == theirs.keys() and all(ours[key].equal(theirs[key]) for key in ours)
        return {"processes": processes, "steps": steps, "kills": len(moments), "moments": moments, "equal": equal}


def _recipe(folder: Path, name: str, steps: int) -> Path:
    drawn, data = random.Random(0), {}
    for split, count in (("train", 48), ("validation", 8)):
        texts = [" ".join(drawn.choices(WORDS, k=drawn.randint(5, 40))) for _ in range(count)]
        rows = [json.dumps({"document": text, "summary": " ".join(text.split()[:4])}) for text in texts]
        data[split] = str(folder / f"{split}.jsonl")
        Path(data[split]).write_text("\n".join(rows) + "\n", encoding="utf-8")
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "segment_length": 8}
    recipe = {
        "data": data,
        "tokenizer": {"vocab_size": 300},
        "output_dir": str(folder / name),
        "model": {**sizes, "num_hidden_layers": 1, "num_decoder_layers": 1, "dropout": 0.1},
        "batching": {"max_tokens": 200},
        "training": {
            **{"max_steps": steps, "learning_rate": 0.01, "logging_steps": 1, "save_steps": 2, "save_total_limit": 2},
            **{"eval_strategy": "steps", "eval_steps": 10, "use_cpu": True},
        },
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


def _start(recipe: Path, restarts: int, processes: int) -> subprocess.Popen[bytes]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [*launcher, f"--max-restarts={restarts}", "-m", "simmim", "train", str(recipe)]
    with recipe.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})


def _is_worker(child: psutil.Process) -> bool:
    try:
        return "simmim" in child.cmdline()
    except psutil.Error:
        return False


def _lines(log: Path) -> int:
    return log.read_text(encoding="utf-8").count("\n") if log.exists() else 0


def _wait_for(process: subprocess.Popen[bytes], log: Path, lines: int) -> None:
    """Wait until the log has so many lines, or the run has ended."""
    end = time.monotonic() + PATIENCE
    while process.poll() is None and _lines(log) < lines:
        if time.monotonic() > end:
            raise SimMIMError(f"{log}: expected {lines} lines within {PATIENCE} s, got {_lines(log)}")
        time.sleep(0.01)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.wait(timeout=PATIENCE):
        log = Path(process.args[-1]).with_suffix(".log")  # type: ignore[index, arg-type]
        raise SimMIMError(f"the run failed with {process.returncode}: {log.read_text(errors='replace')[-2000:]}")
