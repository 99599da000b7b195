"""The benchmark of language trains every form alike, goes on where it was ended, and compares what was read."""

import dataclasses
import json
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import set_seed

from benchmarks import language_cells
from benchmarks import quality_language_modelling as benchmark
from benchmarks.language_cells import LanguageCell, LanguageTraining, run_cell
from benchmarks.language_models import FORMS, LanguageSize, build_language_model
from lab.corpora.splits import Text
from simmim.data import corpora
from simmim.errors import ConfigError

SIZES = ["--hidden-size", "16", "--intermediate-size", "48", "--layers", "2", "--heads", "2", "--segment-length", "8"]
RUN = [
    *("--corpora", "seas", "--vocab-size", "280", "--sequence-length", "32", "--tokens-per-batch", "64"),
    *("--tokens", "640", "--tuning-tokens", "128", "--warmup-tokens", "128"),
    *("--learning-rates", "1e-3", "1e-2", "--seeds", "0", *SIZES),
    *("--forms", "default", "local"),
]


@pytest.fixture
def _seas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register a corpus of texts that repeat themselves."""

    def build() -> tuple[dict[str, list[Text]], dict[str, object]]:
        splits = {
            split: [
                Text(f"the sea of {split} {place} is wide and blue. " * (3 + place), f"{split}{place}", f"{place}")
                for place in range(count)
            ]
            for split, count in (("train", 12), ("validation", 3), ("test", 4))
        }
        return splits, {"licence": "free"}

    monkeypatch.setattr(corpora, "CORPORA", {"seas": corpora.Corpus(build, "")})


def test_every_form_has_as_many_parameters_as_the_default() -> None:
    size = LanguageSize(512, 32, 160, layers=2, heads=2, segment_length=8, sequence_length=64)
    models = {form: build_language_model(form, size) for form in FORMS}
    counts = {form: sum(one.numel() for one in model.parameters()) for form, model in models.items()}
    # one unit of an FFN, in every layer, is the step
    assert all(abs(count - counts["default"]) <= 2 * 3 * 32 for count in counts.values()), counts
    assert models["full"].config.segment_length == 64
    assert (models["window"].config.state_read, models["window"].config.neighbours) == ("none", 1)
    assert models["literal"].config.state_read == "broadcast"


def test_forms_of_a_seed_begin_alike() -> None:
    size = LanguageSize(64, 32, 60, layers=2, heads=2, segment_length=8, sequence_length=64)
    begun = {}
    for form in ("default", "window_copying", "full_copying", "states", "window", "local", "full"):
        set_seed(3)
        begun[form] = build_language_model(form, size).state_dict()
    for first, others in (("default", ("window_copying", "full_copying")), ("states", ("window", "local", "full"))):
        for form in others:
            assert begun[form].keys() == begun[first].keys()
            assert all(torch.equal(begun[form][name], value) for name, value in begun[first].items())


def test_an_ffn_too_narrow_to_share_is_refused() -> None:
    size = LanguageSize(512, 32, 100, layers=2, heads=2, segment_length=8, sequence_length=64)
    with pytest.raises(ConfigError, match="--intermediate-size: expected 146 or more, .* form literal .* got 100"):
        build_language_model("literal", size)
    wide = dataclasses.replace(size, intermediate_size=146)
    assert build_language_model("literal", wide).config.intermediate_size >= 32


@pytest.mark.slow
@pytest.mark.usefixtures("_seas")
def test_the_benchmark_runs_from_end_to_end_and_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    folders = [value for name in ("work", "cells", "out") for value in (f"--{name}", str(tmp_path / name))]
    # in this process, which knows the corpus; the others only read what was prepared
    monkeypatch.setattr(benchmark, "ProcessPoolExecutor", Here)
    warmups = []
    scheduled = language_cells.get_cosine_schedule_with_warmup
    monkeypatch.setattr(
        language_cells,
        "get_cosine_schedule_with_warmup",
        lambda optimizer, *steps: warmups.append(steps) or scheduled(optimizer, *steps),
    )
    benchmark.main([*RUN, *folders, "--minutes", "1e-9"])
    assert "nothing to show yet" in capsys.readouterr().out
    benchmark.main([*RUN, *folders])
    shown = capsys.readouterr().out
    assert "own segment only, no states" in shown
    assert set(warmups) == {(1, 2), (2, 10)}, "as many steps in short runs as in long ones, but at most half of a run"
    [file] = (tmp_path / "out").glob("*-quality-language-modelling.json")
    record = json.loads(file.read_text())
    assert list(record["bits_per_byte"]) == ["default", "local"]
    assert set(record["forms"]["local"]["validation_loss_by_learning_rate"]) == {"0.001", "0.01"}
    assert record["forms"]["local"]["learning_rate"] == 0.01
    assert record["by_position"][0]["documents"] == 4
    cell = json.loads((tmp_path / "cells" / "default-640-lr0.01-seed0.json").read_text())
    assert cell["tokens_read"] <= 640 + 64
    assert len(cell["bits"]) == 4
    total = sum(map(sum, cell["bits"])) / sum(map(sum, cell["bytes"]))
    assert record["bits_per_byte"]["default"]["mean"] == pytest.approx(total, abs=1e-3)
    assert file.with_suffix(".png").stat().st_size > 1000
    # nothing is trained twice, and other settings are refused
    began = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}
    benchmark.main([*RUN, *folders])
    assert began == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}
    with pytest.raises(ConfigError, match="--vocab-size: the data in .* was made with 280, got 290"):
        benchmark.main([*RUN, *folders, "--vocab-size", "290"])
    with pytest.raises(ConfigError, match="--cells: .*json was made with dtype bfloat16, this run has float32"):
        benchmark.main([*RUN, *folders, "--dtype", "float32"])


@pytest.mark.usefixtures("_seas")
def test_a_cell_that_fails_does_not_keep_the_others_from_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(work, results, training, cell, data, deadline):
        if cell.form == "default" and cell.learning_rate == 1e-2:
            raise MemoryError("out of memory")
        return run_cell(work, results, training, cell, data, deadline)

    monkeypatch.setattr(benchmark, "ProcessPoolExecutor", Here)
    monkeypatch.setattr(benchmark, "run_cell", run)
    folders = [value for name in ("work", "cells", "out") for value in (f"--{name}", str(tmp_path / name))]
    with pytest.raises(MemoryError, match="out of memory"):
        benchmark.main([*RUN, *folders])
    assert "default-128-lr0.01-seed0: failed" in capsys.readouterr().out
    assert {path.stem for path in (tmp_path / "cells").iterdir()} == {
        "default-128-lr0.001-seed0",
        "local-128-lr0.001-seed0",
        "local-128-lr0.01-seed0",
    }


@pytest.mark.usefixtures("_seas")
def test_a_cell_that_is_ended_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"corpora": ["seas"], "limit_train": None, "vocab_size": 280, "sequence_length": 32}
    data = benchmark.prepare(tmp_path, settings)
    size = LanguageSize(data["vocab_size"], 16, 48, layers=2, heads=2, segment_length=8, sequence_length=32)
    training = LanguageTraining(size, 64, 128, "bfloat16", threads=1, checkpoint_seconds=1000)
    cell = LanguageCell("default", 1e-2, seed=3, tokens=640, scored=True)
    for results in ("whole", "again"):
        (tmp_path / results).mkdir()
    whole = run_cell(tmp_path, tmp_path / "whole", training, cell, data["sha256"], None)
    kept = load_file(tmp_path / "models" / cell.name / "model.safetensors")
    # a deadline that passes in every step
    ticks = iter(range(1000))
    monkeypatch.setattr(time, "time", lambda: next(ticks))
    tries = 0
    while (found := run_cell(tmp_path, tmp_path / "again", training, cell, data["sha256"], next(ticks) + 2)) is None:
        tries += 1
    assert tries >= 3
    ours = load_file(tmp_path / "models" / cell.name / "model.safetensors")
    assert all(ours[name].equal(kept[name]) for name in kept)
    assert whole is not None
    assert found["bits"] == whole["bits"]
    assert not (tmp_path / "running" / cell.name / "state.pt").exists()


class Here:
    """Runs in this process what a pool would run in others."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *args: object) -> None:
        pass

    def submit(self, function, *arguments):
        from concurrent.futures import Future

        future: Future[object] = Future()
        try:
            future.set_result(function(*arguments))
        except MemoryError as error:
            future.set_exception(error)
        return future
