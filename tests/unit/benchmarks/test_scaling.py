"""The scaling benchmark: the stated formulas are what the code costs, fits find the power, and records are whole."""

import json
import platform
from types import SimpleNamespace

import pytest
import torch
from matplotlib.colors import to_hex

from benchmarks import scaling
from benchmarks.formulas import FORMULAS
from benchmarks.measure import count_flops, fit_exponent, in_fresh_process, today
from benchmarks.report import FORMS, in_short
from benchmarks.scaling import compare_flops, config_of, fit_flops, fit_forward, main, measure_forward
from benchmarks.scaling_report import plot_flops, plot_forward
from simmim import SimMIMModel

L = 64


@pytest.mark.parametrize("segments", [2, 3, 11, 64])
@pytest.mark.parametrize("form", FORMULAS)
def test_formulas_state_what_a_layer_costs_on_a_cpu(form, segments):
    """Fused attention on the CPU, and numbers of segments that do not pair up evenly."""
    tokens = segments * L
    model = SimMIMModel(config_of(form, tokens, num_hidden_layers=1), add_pooling_layer=False)
    hidden = torch.zeros(1, tokens, model.config.hidden_size)
    with torch.inference_mode():
        counted = count_flops(lambda: model.layers[0].attention(hidden))
    assert counted == FORMULAS[form](tokens, L, model.config.hidden_size)


@pytest.mark.parametrize("segment_length", [32, 64])
def test_formulas_state_what_a_layer_costs_on_the_meta_device(segment_length):
    row = compare_flops(4096, segment_length)
    assert row["counted"].keys() == row["stated"].keys() == FORMULAS.keys() == FORMS.keys()
    assert row["counted"] == row["stated"]


def test_the_end_of_each_form_is_its_highest_power():
    """S² in the literal form, N·S with all states, and N·log S with the pyramid, once N is great enough."""
    sizes = [2**30, 2**31, 2**32]
    powers = {form: fit_exponent(sizes, [formula(n, L, 256) for n in sizes]) for form, formula in FORMULAS.items()}
    assert powers["full"] == pytest.approx(2, abs=0.01)
    assert powers["literal"] == pytest.approx(2, abs=0.01)
    assert powers["all"] == pytest.approx(2, abs=0.01)
    assert 1 < powers["pyramid"] < 1.01
    a, b, c = (FORMULAS["pyramid"](n, L, 256) / n for n in sizes)
    assert c - b == pytest.approx(b - a)  # the logarithm: every doubling adds the same to a token
    assert c > b


def test_fits_find_the_power():
    sizes = [3, 10, 50, 1000]
    assert fit_exponent(sizes, [7 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert fit_exponent([4], [1]) is None


def test_flops_are_fitted_to_the_last_lengths_and_the_worst_deviation_is_kept():
    rows = []
    for length in (64, 128, 256, 512):
        counted = dict.fromkeys(FORMULAS, length if length == 64 else length**2)
        stated = dict.fromkeys(FORMULAS, length**2)
        rows.append({"length": length, "counted": counted, "stated": stated | {"full": length}})
    fits = fit_flops(rows)
    assert fits["exponents"]["lengths"] == [128, 256, 512]
    assert fits["exponents"]["counted"]["all"] == pytest.approx(2)
    assert fits["exponents"]["stated"]["full"] == pytest.approx(1)
    assert fits["worst_deviation"]["all"] == pytest.approx(63 / 64)
    assert fits["worst_deviation"]["full"] == pytest.approx(511)


def points(lengths=(4096, 2**16, 2**18, 2**20)):
    """Time grows as N and from 64k as N²; memory above the 100 bytes after importing as N."""
    rows = []
    for length in lengths:
        for reach in ("all", "pyramid"):
            seconds = length / 2**16 if length < 2**16 else (length / 2**16) ** 2
            row = {"length": length, "reach": reach, "seconds": [seconds], "median_seconds": seconds}
            row |= {"imported_bytes": 100, "ready_bytes": 200, "peak_bytes": 100 + length}
            rows.append(row)
    return rows


def test_growth_is_fitted_over_all_lengths_and_over_the_long_ones():
    fits = fit_forward(points())["pyramid"]
    assert fits["median_seconds"]["from 65536"] == pytest.approx(2)
    assert 1 < fits["median_seconds"]["all"] < 2
    assert fits["above_import_bytes"] == {"all": pytest.approx(1), "from 65536": pytest.approx(1)}
    assert fits["peak_bytes"]["all"] < 1


def test_failed_and_missing_points_are_left_out_of_fits_and_picture():
    rows = points()
    rows[-1] = {"length": 2**20, "reach": "pyramid", "failed": "no memory"}
    for row in rows:
        if row["reach"] == "all":
            row["peak_bytes"] = None
    fits = fit_forward(rows)
    assert fits["all"]["peak_bytes"] == {"all": None, "from 65536": None}
    assert fits["pyramid"]["median_seconds"]["from 65536"] == pytest.approx(2)
    figure = plot_forward(forward_record(rows))
    assert [list(line.get_xdata()) for line in figure.axes[0].lines][1] == [4096, 2**16, 2**18]
    assert "pyramid at 1M" in figure.texts[-1].get_text()


def forward_record(rows):
    machine = {"processor": "a processor", "threads": 1, "torch": "2.0"}
    return {
        "machine": machine,
        "date": "2026-01-02",
        "dtype": "float32",
        "num_hidden_layers": 6,
        "hidden_size": 256,
        "segment_length": 512,
        "points": rows,
        "exponents": fit_forward(rows),
    }


def test_the_picture_of_the_flops_has_counts_as_points_and_formulas_as_lines():
    lengths = (4096, 8192)
    rows = [compare_flops(length, L) for length in lengths]
    rows[0]["counted"]["literal"] *= 2
    figure = plot_flops({"hidden_size": 256, "segment_length": L, "lengths": rows, **fit_flops(rows)})
    lines = {(to_hex(line.get_color()), line.get_linestyle()): line for line in figure.axes[0].lines}
    assert len(lines) == 2 * len(FORMS)
    colour = FORMS["literal"][1]
    stated = FORMULAS["literal"](4096, L, 256) / 4096 / 1e6
    assert lines[colour, "-"].get_ydata()[0] == pytest.approx(stated)
    assert lines[colour, "None"].get_ydata()[0] == pytest.approx(2 * stated)
    assert figure.axes[0].get_ylabel() == "forward pass, MFLOP per token"


def test_the_picture_of_the_memory_shows_all_of_the_process_and_the_limit():
    panel = plot_forward(forward_record(points())).axes[1]
    assert list(panel.lines[0].get_ydata()) == [(100 + length) / 1e9 for length in (4096, 2**16, 2**18, 2**20)]
    assert list(panel.lines[2].get_ydata()) == [8, 8]
    assert list(panel.lines[3].get_ydata()) == [1e-7, 1e-7]


def test_a_run_of_flops_writes_record_and_picture(tmp_path, capsys):
    main(["flops", "--lengths", "512", "256", "--segment-length", "32", "--out", str(tmp_path)])
    stem = f"{today()}-scaling-flops"
    assert (tmp_path / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((tmp_path / f"{stem}.json").read_text(encoding="utf-8"))
    assert record["command"] == "python -m benchmarks.scaling flops --lengths 256 512 --segment-length 32"
    assert record["device"] == "meta"
    assert record["lengths"][1] == compare_flops(512, 32)
    assert set(record) > {"date", "commit", "machine", "worst_deviation", "exponents"}
    assert f"{stem}.json" in capsys.readouterr().out


def test_a_run_keeps_what_it_measured_if_the_last_length_fails(tmp_path, monkeypatch, capsys):
    def measure(function, reach, length, *arguments):
        assert function is measure_forward
        if length == 512 and reach == "pyramid":
            raise RuntimeError("no memory")
        return measure_forward(reach, length, *arguments)

    monkeypatch.setattr(scaling, "in_fresh_process", measure)
    monkeypatch.setattr(scaling, "LAYERS", 1)
    argv = ["forward", "--lengths", "512", "100", "--segment-length", "32", "--threads", "1", "--repeats", "2"]
    with pytest.raises(SystemExit, match="1"):
        main([*argv, "--out", str(tmp_path)])
    stem = f"{today()}-scaling-forward-float32"
    assert (tmp_path / f"{stem}.png").exists()
    record = json.loads((tmp_path / f"{stem}.json").read_text(encoding="utf-8"))
    rows = record["points"]
    assert [(row["length"], row["reach"]) for row in rows[1:3]] == [(100, "pyramid"), (512, "all")]
    assert rows[3] == {"length": 512, "reach": "pyramid", "failed": "RuntimeError: no memory"}
    assert all(len(row["seconds"]) == 2 and min(row["seconds"]) > 0 for row in rows[:3])
    assert record["exponents"]["all"]["median_seconds"]["all"] is not None
    assert record["exponents"]["pyramid"]["median_seconds"]["all"] is None  # one point is no line
    assert (record["machine"]["threads"], record["num_hidden_layers"]) == (1, 1)
    assert "512 tokens, pyramid: failed: RuntimeError: no memory" in capsys.readouterr().out


def test_no_repeat_is_begun_once_enough_time_went_by(monkeypatch):
    clock = iter(range(0, 1000, 12))
    monkeypatch.setattr(scaling, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(scaling, "LAYERS", 0)
    row = measure_forward("all", 64, 32, "bfloat16", 1, repeats=5)
    assert row["seconds"] == [12, 12]
    assert row["median_seconds"] == 12


@pytest.mark.skipif(platform.system() != "Linux", reason="the system does not tell what memory a process holds")
@pytest.mark.slow
def test_memory_is_that_of_a_whole_process():
    """Its libraries, then its weights (8192 + 1056 rows of 256 a layer), then what the pass adds."""
    row = in_fresh_process(measure_forward, "all", 4096, 512, "float32", 1, 1)
    assert 2**27 < row["imported_bytes"] < row["ready_bytes"] - 2**24 < row["peak_bytes"] - 2**25 < 2**30


def _reach_of_the_encoder(reach):
    return scaling._encoder(reach, 64, 32, "float32").layers[0].attention.__class__.__name__


def test_the_encoders_differ_in_their_reach():
    assert _reach_of_the_encoder("all") != _reach_of_the_encoder("pyramid")
    assert scaling._encoder("all", 64, 32, "bfloat16").dtype == torch.bfloat16


def test_a_process_that_dies_is_an_error_that_can_be_caught():
    """As one that takes more memory than there is: ``forward`` then goes on with the next point."""
    with pytest.raises(RuntimeError, match="terminated abruptly"):
        in_fresh_process(exec, "import os; os._exit(9)")


def test_lengths_are_written_in_short():
    assert [in_short(n) for n in (512, 1000, 4096, 2**20, 3 * 2**20)] == ["512", "1,000", "4k", "1M", "3M"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["flops", "--lengths", "100"], "two or more whole segments of 64, got 100"),
        (["flops", "--lengths", "64"], "two or more whole segments of 64, got 64"),
        (["forward", "--lengths", "0"], "--lengths: expected 1 or more, got 0"),
        (["forward", "--repeats", "0"], "--repeats: expected 1 or more, got 0"),
        (["forward", "--segment-length", "0"], "--segment-length: expected 1 or more, got 0"),
        ([], "required"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(wrong, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(wrong)
    assert said in capsys.readouterr().err.replace("\n", " ")
