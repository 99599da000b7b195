"""The chat benchmark: with the cache kept every turn passes as many tokens, read anew ever more."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from benchmarks.chat import FORMS, main, summary, talk
from benchmarks.measure import today

SIZES = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}


@pytest.mark.parametrize("form", FORMS)
def test_work_of_a_turn(form: str) -> None:
    rows = talk(form, turns=6, question=3, reply=4, **SIZES)

    passed = [row["passed"] for row in rows]
    assert [row["written"] for row in rows] == [4] * 6
    if form == "anew":
        assert all(after > before + 6 for before, after in itertools.pairwise(passed))
    else:
        assert len(set(passed[1:])) == 1
        assert sum(passed) == rows[-1]["context"] - 1, "every token but the last once"
    assert rows[-1]["cache_bytes"] > 0
    found = summary(rows)
    assert found["passed_last_over_first"] == passed[-1] / passed[1]
    assert found["last_over_first"] == pytest.approx(found["last_seconds_per_token"] / found["first_seconds_per_token"])


def test_a_run_writes_record_and_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    given = "--turns 2 --question 2 --reply 2 --hidden-size 32 --layers 1 --threads 1"
    main([*given.split(), "--out", str(tmp_path)])

    record = json.loads((tmp_path / f"{today()}-chat.json").read_text(encoding="utf-8"))
    assert (tmp_path / f"{today()}-chat.png").read_bytes().startswith(b"\x89PNG")
    assert record["command"] == f"python -m benchmarks.chat {given}"
    assert list(record["rows"]) == list(record["summary"]) == list(FORMS)
    assert len(record["rows"]["anew"]) == 2
    assert "history read anew" in capsys.readouterr().out
