"""The padding benchmark: what is compared is the same documents, and the record holds what was measured."""

import json
import platform
from functools import partial

import pytest
import torch

from benchmarks import padding
from benchmarks.measure import PairedTimes, count_flops, in_fresh_process, today
from benchmarks.padding import Batch, compare, drawn_lengths, encode, main, train, worst_ratios
from benchmarks.scaling import config_of
from simmim import SimMIMModel

LENGTHS = [30, 200, 110]
L = 64


@pytest.fixture
def batch():
    return Batch(LENGTHS, vocab_size=8192)


def test_every_shape_holds_the_same_documents(batch):
    assert batch.mask.sum(1).tolist() == LENGTHS
    assert [tuple(row.shape) for row in batch.dense] == [(1, 200)] * 3
    for row, length in enumerate(LENGTHS):
        assert torch.equal(batch.alone[row][0], batch.padded[row][batch.mask[row]])
        assert torch.equal(batch.alone[row], batch.dense[row][:, :length])
    assert not batch.padded[~batch.mask].any()


def test_drawn_lengths_are_the_same_every_time():
    drawn = drawn_lengths(200, 100, 120)
    assert drawn == drawn_lengths(200, 100, 120)
    assert set(drawn) == set(range(100, 121))


@pytest.mark.parametrize("form", ["literal", "all", "pyramid"])
@pytest.mark.slow
def test_a_padded_batch_costs_no_more_than_the_goal(form, batch):
    """In counted FLOPs, forward and training, on documents shorter and longer than a segment."""
    found = compare(form, LENGTHS, repeats=1)
    for name, times in (("forward", 1), ("training_step", 3)):
        padded, dense = found[name]["padded"], found[name]["dense"]
        assert 1 <= padded["over_alone"]["flops"] <= padding.GOAL
        assert dense["over_alone"]["flops"] > 600 / 340 - 0.1  # tokens of three times the longest, and of all
        assert padded["over_alone"]["flops"] == padded["flops"] / found[name]["flops_alone"]
        assert found[name]["flops_alone"] == pytest.approx(times * found["forward"]["flops_alone"], rel=0.1)
        assert padded["over_alone"]["seconds"] == pytest.approx(padded["seconds"][0] / padded["seconds_alone"][0])


@pytest.mark.slow
def test_alone_is_the_sum_of_the_documents(batch):
    model = SimMIMModel(config_of("all", 200), add_pooling_layer=False)
    one_by_one = [count_flops(partial(model, document)) for document in batch.alone]
    assert compare("all", LENGTHS, repeats=1)["forward"]["flops_alone"] == sum(one_by_one)


def test_passes_leave_no_gradients_and_get_their_mask(batch):
    seen = []

    class Spy(SimMIMModel):
        def forward(self, input_ids, attention_mask):
            seen.append((attention_mask, torch.is_grad_enabled()))
            return super().forward(input_ids, attention_mask)

    model = Spy(config_of("all", 200, num_hidden_layers=1), add_pooling_layer=False)
    for run in (encode, train):
        run(model, [(batch.padded, batch.mask), (batch.alone[0], None)])
    assert [mask is None for mask, _ in seen] == [False, True] * 2
    assert [grad for _, grad in seen] == [False, False, True, True]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_worst_ratios_are_those_of_padded_batches():
    def row(flops, seconds):
        ratios = {"over_alone": {"flops": flops, "seconds": seconds}}
        dense = {"over_alone": {"flops": 9, "seconds": 9}}
        return {name: {"padded": ratios, "dense": dense} for name in padding.PASSES}

    assert worst_ratios([row(1.5, 1), row(1, 2)]) == {"flops": 1.5, "seconds": 2}


@pytest.mark.slow
def test_a_run_writes_record_and_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(padding, "paired_times", lambda a, b, repeats: PairedTimes((2.0,) * repeats, (2.5,) * repeats))
    monkeypatch.setattr(padding, "SHOWN", ("pyramid",))
    monkeypatch.setattr(padding, "config_of", partial(config_of, num_hidden_layers=1))
    monkeypatch.setenv("COLUMNS", "80")
    main(["--lengths", "30", "110", "--draw", "3", "--repeats", "2", "--threads", "1", "--out", str(tmp_path)])
    stem = f"{today()}-padding"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{stem}.json", f"{stem}.png"]
    record = json.loads((tmp_path / f"{stem}.json").read_text(encoding="utf-8"))
    assert record["command"] == "python -m benchmarks.padding --lengths 30 110 --draw 3 --repeats 2 --threads 1"
    assert record["batches"] == {"given": [30, 110], "drawn": drawn_lengths(3, 30, 110)}
    assert [(row["batch"], row["form"]) for row in record["rows"]] == [("given", "pyramid"), ("drawn", "pyramid")]
    for row in record["rows"]:
        assert row["training_step"]["padded"]["seconds_alone"] == [2, 2]
        assert row["forward"]["dense"]["over_alone"]["seconds"] == 1.25
    assert record["worst"]["seconds"] == 1.25
    assert record["machine"]["threads"] == 1
    assert not record["keep_memory"]
    printed = capsys.readouterr().out
    assert "1.250" in printed
    assert "3 documents of" in printed
    figure = padding.plot(record)
    assert [panel.get_ylabel().split()[0] for panel in figure.axes] == ["FLOPs", "time"] * 2
    assert [bar.get_height() for bar in figure.axes[1].patches] == [1.25] * 4


def test_a_run_that_keeps_memory_says_so(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(padding, "SHOWN", ("all",))
    monkeypatch.setattr(padding, "config_of", partial(config_of, num_hidden_layers=1))
    monkeypatch.setattr(padding, "keep_freed_memory", lambda: kept.append(True))
    main(
        ["--lengths", "30", "--draw", "0", "--repeats", "1", "--threads", "1", "--keep-memory", "--out", str(tmp_path)]
    )
    record = json.loads((tmp_path / f"{today()}-padding-keep-memory.json").read_text(encoding="utf-8"))
    assert kept == [record["keep_memory"]] == [True]
    assert list(record["batches"]) == ["given"]
    assert record["command"].endswith("--keep-memory")
    assert "freed memory kept" in padding.plot(record).get_suptitle()


@pytest.mark.skipif(platform.system() != "Linux", reason="mallopt is glibc's")
@pytest.mark.slow
def test_freed_memory_is_kept():
    """64 MiB that were freed are still the process's; without it, they go back to the system."""
    code = "\n".join(
        (
            "from benchmarks.measure import keep_freed_memory, memory_held",
            "{keep}",
            "before = memory_held()[0]",
            "held = bytearray(2**26)",
            "del held",
            "risen = memory_held()[0] - before",
            "assert {kept}, risen",
        )
    )
    in_fresh_process(exec, code.format(keep="keep_freed_memory()", kept="risen > 2**25"))
    in_fresh_process(exec, code.format(keep="", kept="risen < 2**25"))


@pytest.mark.parametrize("wrong", [["--lengths", "0"], ["--draw", "-1"], ["--repeats", "-1"], ["--threads", "0"]])
def test_wrong_arguments_are_refused_before_anything_runs(wrong, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(wrong)
    assert f"{wrong[0]}: expected {0 if wrong[0] == '--draw' else 1} or more" in capsys.readouterr().err
