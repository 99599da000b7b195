"""The benchmark of encoders: all are of one size and read the same, and the record holds what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import encoders
from benchmarks.encoders import FORMS, build, document, main, parameters
from benchmarks.measure import today


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("hidden", [64, 256])
def test_encoders_have_equal_numbers_of_parameters_and_read_a_document(
    form: str, hidden: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "LAYERS", 2)
    model, ours = build(form, hidden, 1024), build("simmim", hidden, 1024)
    assert parameters(model) == pytest.approx(parameters(ours), rel=2e-3)
    assert model.config.num_hidden_layers == 2
    with torch.no_grad():
        assert model(document(1024)).last_hidden_state.shape == (1, 1024, hidden)


def test_a_run_writes_record_and_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(encoders, "LAYERS", 1)
    monkeypatch.setattr(encoders, "peak_memory", lambda *_: 2**20)
    monkeypatch.setenv("COLUMNS", "120")
    lengths = ["--lengths", "128", "64", "--hidden", "64", "--repeats", "2", "--threads", "1"]
    main([*lengths, "--forms", "bert", "full", "--out", str(tmp_path / "new")])
    stem = f"{today()}-encoders-float32"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [f"{stem}.json", f"{stem}.png"]
    record = json.loads((tmp_path / "new" / f"{stem}.json").read_text(encoding="utf-8"))
    assert str(tmp_path) not in json.dumps(record)
    assert [row["length"] for row in record["rows"]] == [64, 128]
    for row in record["rows"]:
        assert list(row["forms"]) == ["simmim", "bert", "full"]
        for form in row["forms"].values():
            assert form["peak_memory"] == 2**20
            assert len(form["processor_seconds"]["step"]) == 2, "the warm-up does not count"
            assert form["step"] > 0
    shown = capsys.readouterr().out
    assert "BERT, sdpa" in shown
    assert "1.00" in shown
