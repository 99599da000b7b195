"""The speed benchmark: both encoders are the same model, and the record holds what was measured."""

import json
import statistics
from functools import partial

import pytest
import torch

from benchmarks import speed
from benchmarks.measure import count_flops, today
from benchmarks.speed import build, document, main, training_step

E, FFN, LAYERS, L = 256, 704, 4, 64


def test_the_encoders_share_weights_and_agree_on_one_segment():
    simmim, full = build("simmim", L, "float32"), build("full", L, "float32")
    full.load_state_dict(simmim.state_dict())
    ids = document(L)
    assert torch.equal(simmim(ids).last_hidden_state, full(ids).last_hidden_state)
    assert next(build("full", L, "bfloat16").parameters()).dtype == torch.bfloat16


def test_a_training_step_leaves_no_gradients():
    model = build("simmim", L, "float32")
    training_step(model, document(2 * L))
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("encoder", ["simmim", "full"])
def test_counted_flops_are_those_of_the_equations(encoder):
    """Forward and two gradients of every projection; seven products of attention, over the keys that a token reads."""
    tokens = 4 * L
    segments = tokens // L
    keys = tokens if encoder == "full" else 3 * L + segments
    states = 0 if encoder == "full" else segments * 2 * E * E  # keys and values
    projections = 3 * 2 * (tokens * (4 * E * E + 3 * E * FFN) + states)
    attention = 7 * 2 * tokens * keys * E
    counted = count_flops(partial(training_step, build(encoder, tokens, "float32"), document(tokens)))
    assert counted == LAYERS * (projections + attention)


def test_a_run_writes_record_and_picture(tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(speed, "peak_memory", lambda *arguments: asked.append(arguments[1:]) or 2**20 * len(asked))
    monkeypatch.setenv("COLUMNS", "100")
    stem, folder = f"{today()}-speed-encoder-float32", tmp_path / "new"
    main(["--lengths", "128", "64", "--repeats", "2", "--threads", "1", "--out", str(folder)])
    assert sorted(path.name for path in folder.iterdir()) == [f"{stem}.json", f"{stem}.png"]
    assert (folder / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
    text = (folder / f"{stem}.json").read_text(encoding="utf-8")
    record = json.loads(text)
    assert str(tmp_path) not in text
    assert record["command"] == "python -m benchmarks.speed --lengths 128 64 --repeats 2 --dtype float32 --threads 1"
    assert record["machine"]["threads"] == 1
    assert record["parameters"] == sum(parameter.numel() for parameter in build("full", L, "float32").parameters())
    assert record["configs"]["simmim"]["segment_length"] == L
    assert [row["length"] for row in record["lengths"]] == [64, 128]
    for row in record["lengths"]:
        for what in ("training_step", "forward"):
            seconds = row[what]["seconds"]
            pairs = [full / simmim for simmim, full in zip(seconds["simmim"], seconds["full"], strict=True)]
            assert len(pairs) == 2
            assert row[what]["full_over_simmim"]["median"] == pytest.approx(statistics.median(pairs))
            assert row[what]["median_seconds"]["full"] == statistics.median(seconds["full"])
    assert asked[:2] == [("simmim", 64, "float32", 1), ("full", 64, "float32", 1)]
    assert record["lengths"][1]["peak_memory"] == {"simmim": 3 * 2**20, "full": 4 * 2**20}
    assert record["lengths"][0]["flops"]["simmim"] == record["lengths"][0]["flops"]["full"]
    printed = capsys.readouterr().out
    assert "1.33" in printed  # 4 / 3, the second length's memory
    assert f"{stem}.json" in printed


@pytest.mark.parametrize("wrong", [["--lengths", "0"], ["--repeats", "-1"], ["--dtype", "int8"]])
def test_wrong_arguments_are_refused_before_anything_runs(wrong, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(wrong)
    assert wrong[0] in capsys.readouterr().err
