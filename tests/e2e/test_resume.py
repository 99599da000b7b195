"""Tests that a run which is killed again and again ends with the very weights of a run that is left alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from safetensors.torch import load_file

PATIENCE = 600
"""Seconds after which a process hangs, on the slowest machine."""
KILLS = int(os.environ.get("SIMMIM_TEST_KILLS", "2"))

RECIPE = {
    "batching": {"max_tokens": 160},
    "early_stopping": {"patience": 50},
    "pretraining": {
        "training": {
            **{"max_steps": 24, "learning_rate": 0.003, "save_steps": 2, "save_total_limit": 2},
            **{"logging_steps": 1, "use_cpu": True},
        }
    },
    "training": {
        **{"max_steps": 60, "learning_rate": 0.01, "warmup_steps": 3, "lr_scheduler_type": "cosine"},
        **{"gradient_accumulation_steps": 2, "logging_steps": 1, "save_steps": 2, "save_total_limit": 2},
        **{"eval_strategy": "epoch", "use_cpu": True, "bf16": True},
    },
}


def write_recipe(folder, make_recipe, name):
    path = make_recipe(folder)
    entries = yaml.safe_load(path.read_text()) | RECIPE | {"output_dir": str(folder / name)}
    entries["model"]["dropout"] = 0.1
    recipe = folder / f"{name}.yaml"
    recipe.write_text(yaml.safe_dump(entries))
    return recipe


def start(recipe, run):
    again = ["--resume"] if (run / "recipe.yaml").exists() else []
    command = [sys.executable, "-W", "error", "-m", "simmim", "train", str(recipe), *again]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def drafts(run):
    return [*run.glob("checkpoints/.*.draft"), *run.glob("pretraining/checkpoints/.*.draft")]


def lines(run):
    logs = (run / "log.jsonl", run / "pretraining" / "log.jsonl")
    return sum(log.read_text().count("\n") for log in logs if log.exists())


def kill_somewhere(process, run, drawn, *, while_saving):
    """Kill a process after some steps, or in the next save after them; return whether it lived so long."""
    wanted = lines(run) + drawn.randint(1, min(12, 100 // KILLS))  # so that the run lasts for all kills
    end = time.monotonic() + PATIENCE
    while process.poll() is None and lines(run) < wanted:
        assert time.monotonic() < end
        time.sleep(0.002)
    time.sleep(0 if while_saving else drawn.uniform(0, 0.2))
    while while_saving and process.poll() is None:
        assert time.monotonic() < end
        if drafts(run):
            process.send_signal(signal.SIGSTOP)  # so that it cannot finish the save meanwhile
            if drafts(run):
                break
            process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGKILL)
    output = process.communicate()[0]
    assert process.returncode in (0, -signal.SIGKILL), output
    return process.returncode != 0


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)


@pytest.mark.slow
@pytest.mark.contract
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_is_not(tmp_path, make_recipe):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = start(write_recipe(tmp_path, make_recipe, "whole"), whole)
    output = undisturbed.communicate(timeout=PATIENCE)[0]
    assert undisturbed.returncode == 0, output

    recipe = write_recipe(tmp_path, make_recipe, "killed")
    drawn = random.Random(0)
    while_saving = 0
    for number in range(KILLS):
        assert kill_somewhere(start(recipe, killed), killed, drawn, while_saving=number % 2 == 0)
        while_saving += bool(drafts(killed))
    last = start(recipe, killed)
    output = last.communicate(timeout=PATIENCE)[0]
    assert last.returncode == 0, output
    print(f"{KILLS} kills, {while_saving} of them during a save")
    assert while_saving >= KILLS // 2
    assert not drafts(killed)

    for model in ("pretraining/model", "model"):
        assert_same(*(load_file(run / model / "model.safetensors") for run in (whole, killed)))
    for phase, step in (("pretraining", 24), (".", 60)):
        ours, theirs = (run / phase / "checkpoints" / f"checkpoint-{step}" for run in (whole, killed))
        moments = [torch.load(path / "optimizer.pt", weights_only=True)["state"] for path in (ours, theirs)]
        for left, right in zip(moments[0].values(), moments[1].values(), strict=True):
            assert_same(left, right)
        states = [json.loads((path / "trainer_state.json").read_text()) for path in (ours, theirs)]
        for key in ("global_step", "epoch", "num_input_tokens_seen", "stateful_callbacks", "best_metric"):
            assert states[0][key] == states[1][key]


@pytest.mark.slow
@pytest.mark.contract
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_asked_to_stop_saves_itself_and_says_how_to_go_on(tmp_path, make_recipe, number, code):
    run = tmp_path / "run"
    recipe = write_recipe(tmp_path, make_recipe, "run")
    process, end = start(recipe, run), time.monotonic() + PATIENCE
    while process.poll() is None and lines(run) < 3:
        assert time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(number)
    output = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == code, output
    assert "Traceback" not in output
    saved = max((run / "pretraining" / "checkpoints").iterdir(), key=lambda path: int(path.name.split("-")[1]))
    assert f"error: stopped by {number.name}; saved {saved}, go on with: simmim train {recipe} --resume" in output
    logged = [json.loads(line)["step"] for line in (run / "pretraining" / "log.jsonl").read_text().splitlines()]
    assert saved.name == f"checkpoint-{logged[-1]}"
