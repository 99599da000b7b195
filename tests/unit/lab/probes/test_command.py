"""Tests that `python -m lab.probes` trains, scores and shows a probe, goes on, and refuses what cannot be."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from lab.probes import PROBES, guess_from_clue
from lab.probes.__main__ import app

SMALL = ("--length", 12, "--set", "hidden_size=32", "--set", "num_attention_heads=2", "--examples", 40)


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.mark.slow
def test_a_probe_is_learnt_measured_and_not_trained_again(tmp_path):
    file = tmp_path / "found.json"
    arguments = ("copying", *SMALL, "--steps", 300, "--form", "default", "--form", "local", "--set", "segment_length=2")
    first = run(*arguments, "--work", tmp_path / "runs", "--output", file)
    assert first.exit_code == 0, first.stderr
    found = json.loads(file.read_text())
    scores = {one["form"]: one["scores"][0] for one in found["runs"]}
    # five letters of sixteen; a token of the local form sees one other place, and never the letter that it has to say
    assert scores["default"]["accuracy"] > 0.9
    assert scores["local"]["accuracy"] < 0.25
    for one in scores.values():
        assert one["asked"] == 40 * 5 == sum(part["asked"] for part in one["groups"].values())
        assert one["right"] == sum(part["right"] for part in one["groups"].values())
        assert one["low"] < one["accuracy"] == one["right"] / one["asked"] < one["high"]
    assert found["settings"]["steps"] == 300
    assert found["baseline"] is None
    for said in ("default", "local", "12 tokens", f"{100 * scores['default']['accuracy']:.1f}"):
        assert said in first.stdout
    checkpoint = next((tmp_path / "runs").glob("copying-default-seed0/checkpoints/*"))
    written = checkpoint.stat().st_mtime_ns
    assert run(*arguments, "--work", tmp_path / "runs").stdout == first.stdout
    assert checkpoint.stat().st_mtime_ns == written
    other = run(*arguments, "--work", tmp_path / "runs", "--learning-rate", 1e-3)
    assert other.exit_code != 0
    assert "learning_rate: the run in" in other.stderr


@pytest.mark.slow
def test_listops_is_scored_beside_its_root_operator(tmp_path):
    file = tmp_path / "found.json"
    result = run("listops", *SMALL, "--length", 200, "--steps", 2, "--test-lengths", "20,40", "--output", file)
    assert result.exit_code == 0, result.stderr
    found = json.loads(file.read_text())
    assert found["baseline"]["name"] == "root operator"
    assert [score["length"] for score in found["runs"][0]["scores"]] == [20, 40]
    assert [score["asked"] for score in found["runs"][0]["scores"]] == [40, 40]
    assert "root operator only" in result.stdout


@pytest.mark.slow
def test_a_guess_from_the_root_operator_is_the_best_one():
    """The least and the greatest of random digits are mostly 0 and 9, a median 4 or 5, and a sum can be anything."""
    probe = PROBES["listops"]()
    values = {operator: np.zeros(10) for operator in range(11, 15)}
    for number in range(400):
        example = probe.example("test", 0, number, 40)
        values[int(example.input_ids[0])][int(example.input_ids[-1]) - 1] += 1
    best = {operator: found.max() / found.sum() for operator, found in values.items()}
    assert min(best[11], best[12]) > best[13] > best[14]
    found = guess_from_clue(probe, 40, examples=400).total
    assert found.asked == 400
    assert found.share == pytest.approx(sum(one.max() for one in values.values()) / 400, abs=0.04)


def test_names_of_probes_and_forms_are_listed():
    shown = run("--list").stdout
    for name in (*PROBES, "default", "literal", "pyramid", "local", "window", "full"):
        assert name in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("copyng",), "copying"),
        (("copying", "--form", "lokal"), "form: expected one of default"),
        (("copying", "--set", "hidden_size"), "--set: expected KEY=VALUE, got 'hidden_size'"),
        (("copying", "--set", "hidden_size=33"), "hidden_size"),
        (("copying", "--test-lengths", "16,0"), "--test-lengths: expected whole numbers with commas between them"),
        (("copying", "--length", 2, "--steps", 1), "length: expected 3 or more tokens"),
    ],
)
def test_what_cannot_be_probed_is_refused(arguments, message):
    result = run(*arguments)
    assert result.exit_code != 0
    assert message in result.stderr
