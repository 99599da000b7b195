"""The decoding benchmark: models of equal size, caches of the stated size, fair turns, and a whole record."""

from __future__ import annotations

import json
from argparse import Namespace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import decoding
from benchmarks.decoding import BURST, compare, main, read_million
from benchmarks.decoding_models import (
    FORMS,
    OURS,
    SEGMENT,
    SIZES,
    Decoder,
    build,
    bytes_of,
    parameters,
    prompt,
    read_prompt,
)
from benchmarks.decoding_report import plot_context
from benchmarks.formulas import cache_numbers, table_bytes
from benchmarks.measure import today


@pytest.fixture
def here(monkeypatch):
    """Run in this process what else has one of its own, with a small vocabulary."""
    monkeypatch.setitem(SIZES, "vocab_size", 64)
    monkeypatch.setattr(decoding, "in_fresh_process", lambda function, *arguments: function(*arguments))


@pytest.mark.parametrize("layers", [2, 6])
def test_the_models_are_of_one_size(layers):
    with torch.device("meta"):
        sizes = {form: parameters(build(form, layers)) for form in FORMS}
    assert max(sizes.values()) / min(sizes.values()) < 1.005, sizes


@pytest.mark.contract
@pytest.mark.parametrize("reach", OURS)
@pytest.mark.parametrize("tokens", [128, 1000])
def test_a_cache_is_of_the_stated_size(reach, tokens, here):
    """Contract 7: to the last number, but for the room of the state under way, and then of an eighth of states more."""
    decoder = Decoder(reach, 1)
    decoder.read(prompt(tokens))
    state = 2 * 4 * 256 * (reach == "all" and tokens % SEGMENT > 0)
    assert bytes_of(decoder.cache) == 4 * cache_numbers(reach, tokens, SEGMENT, 256) + table_bytes() + state
    for _ in range(SEGMENT + 30):
        decoder.step()
    stated = 4 * cache_numbers(reach, tokens + SEGMENT + 30, SEGMENT, 256) + table_bytes()
    spare = 0 if reach == "pyramid" else 2 * 4 * 256 * (1 + max(16, tokens // SEGMENT // 8))
    assert stated <= bytes_of(decoder.cache) <= stated + spare


@pytest.mark.parametrize("form", ["llama", "mistral", "mamba"])
def test_a_filled_cache_is_like_one_that_was_read(form, here):
    read, filled = Decoder(form, 1), Decoder(form, 1)
    read.read(prompt(600))
    filled.fill(600)
    for _ in range(2):
        assert bytes_of(read.cache) == bytes_of(filled.cache)
        if form != "mamba":  # which does not count
            assert read.cache.get_seq_length() == filled.cache.get_seq_length()
        read.step()
        filled.step()
    numbers = {"llama": 2 * 602 * 256, "mistral": 2 * 127 * 256}
    assert form not in numbers or bytes_of(read.cache) == 4 * numbers[form]


def test_models_take_turns_and_the_first_token_of_a_turn_is_not_timed(monkeypatch):
    clock, order = [0.0], []

    def step(form: str, cost: float):
        def run() -> None:
            order.append(form)
            clock[0] += cost

        return SimpleNamespace(step=run)

    monkeypatch.setattr(decoding, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    costs = {"all": 2.0, "pyramid": 1.0, "llama": 4.0}
    builds = iter([{form: step(form, cost) for form, cost in costs.items()} for _ in range(2)])
    found = compare(builds, repeats=2)
    rounds = ["all", "pyramid", "llama"], ["pyramid", "llama", "all"], ["llama", "all", "pyramid"]
    assert order == [form for turn in (*rounds, rounds[0]) for form in turn for _ in range(BURST + 1)]
    assert found["median_seconds"] == found["mean_seconds"] == costs
    assert found["over"]["all"]["llama"] == {"median": 2, "min": 2, "max": 2}
    assert found["over"]["pyramid"]["all"]["median"] == 2
    assert [len(seconds) for seconds in found["seconds"].values()] == [4 * BURST] * 3


@pytest.mark.slow
def test_a_run_writes_record_and_picture(tmp_path, here, capsys):
    common = ["--layers", "1", "--threads", "1", "--out", str(tmp_path)]
    main(["context", "--lengths", "256", "128", "--builds", "2", "--repeats", "1", *common])
    stem = f"{today()}-decoding-context"
    record = json.loads((tmp_path / f"{stem}.json").read_text(encoding="utf-8"))
    assert (tmp_path / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
    assert record["command"].endswith(
        "context --lengths 128 256 --builds 2 --repeats 1 --limit 600 --threads 1 --layers 1"
    )
    assert str(tmp_path) not in json.dumps(record)
    assert [row["length"] for row in record["lengths"]] == [128, 256]
    for row in record["lengths"]:
        assert all(row["prompt"][form]["seconds"] > 0 for form in FORMS)
        assert {form: row["cache_bytes"][form] for form in OURS} == row["stated_bytes"]
        assert row["over"]["all"]["all"]["median"] == 1
    printed = capsys.readouterr().out
    assert "SimMIM pyramid" in printed
    assert f"{stem}.json" in printed
    figure = plot_context(record)
    assert [line.get_label() for line in figure.axes[0].lines][2] == "Llama, DynamicCache"
    assert "256 of context takes" in figure.get_suptitle()


def test_peers_that_would_read_too_long_are_filled(here, monkeypatch):
    """Llama's time grows as the square, the others' in proportion; what was not read once is not read later."""
    asked = []

    def read(form: str, *arguments: Any) -> dict[str, Any]:
        asked.append(form)
        return read_prompt(form, *arguments) | {"seconds": 10}

    monkeypatch.setattr(decoding, "read_prompt", read)
    arguments = Namespace(threads=1, builds=1, repeats=1, limit=25)
    before = {"length": 128, "prompt": {form: {"seconds": 10} for form in FORMS}}
    row = decoding.at_context(256, before, arguments, layers=1)
    assert asked == ["all", "pyramid", "mistral", "mistral_laid_out", "mamba"]
    assert [form for form in FORMS if isinstance(row["prompt"][form], str)] == ["llama"]
    assert row["cache_bytes"]["llama"] == 2 * 4 * 256 * 256
    assert decoding._foretold("llama", 512, row) is None
    assert decoding._foretold("mamba", 512, row) == 20
    assert decoding._foretold("llama", 512, None) == 0


def test_a_long_prompt_is_read_and_continued(tmp_path, here, capsys):
    argv = [
        "million",
        "--length",
        "300",
        "--new-tokens",
        "4",
        "--layers",
        "1",
        "--threads",
        "1",
        "--out",
        str(tmp_path),
    ]
    main(argv)
    record = json.loads((tmp_path / f"{today()}-decoding-million-pyramid.json").read_text(encoding="utf-8"))
    assert (record["length"], record["new_tokens"]) == (300, 4)
    assert record["cache_bytes"] == record["stated_bytes"]
    assert record["peak_bytes"] is None or record["peak_bytes"] >= record["imported_bytes"]
    assert "300 tokens" in capsys.readouterr().out
    assert (
        read_million("all", 192, 3, 1, 1)["cache_bytes"] == 4 * cache_numbers("all", 194, SEGMENT, 256) + table_bytes()
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["context", "--lengths", "64"], "--lengths: expected 128 or more, got 64"),
        (["context", "--repeats", "0"], "--repeats: expected 1 or more, got 0"),
        (["context", "--builds", "0"], "--builds: expected 1 or more, got 0"),
        (["million", "--new-tokens", "2"], "--new-tokens: expected 3 or more, got 2"),
        (["million", "--reach", "none"], "invalid choice"),
        ([], "required"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(wrong, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(wrong)
    assert said in capsys.readouterr().err.replace("\n", " ")
