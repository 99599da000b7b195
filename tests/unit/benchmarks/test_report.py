"""The report of a speed benchmark: figures in their units, and files that are always whole."""

import pytest
from rich.console import Console

from benchmarks.report import plot, save, series, table

MIB = 2**20


def row(length, seconds, flops, memory):
    times = {
        "median_seconds": dict(zip(("simmim", "full"), seconds, strict=True)),
        "full_over_simmim": {"median": 2.5, "min": 1.25, "max": 3.75},
    }
    counts = {"flops": flops, "peak_memory": memory}
    return {
        "length": length,
        "training_step": times,
        "forward": times,
        **{name: dict(zip(("simmim", "full"), values, strict=True)) for name, values in counts.items()},
    }


def record(memory=(10 * MIB, 25 * MIB)):
    return {
        "command": "python -m benchmarks.speed",
        "date": "2026-01-02",
        "dtype": "float32",
        "parameters": 5_800_000,
        "machine": {"processor": "a processor", "threads": 2, "torch": "2.0"},
        "lengths": [row(64, (0.5, 1.0), (1e9, 4e9), memory), row(128, (1.0, 4.0), (2e9, 9e9), memory)],
    }


def test_series_are_in_the_units_of_the_labels():
    assert series(record(), "training_step") == {"simmim": [0.5, 1.0], "full": [1.0, 4.0]}
    assert series(record(), "flops") == {"simmim": [1, 2], "full": [4, 9]}
    assert series(record(), "peak_memory") == {"simmim": [10, 10], "full": [25, 25]}
    assert series(record((None, None)), "peak_memory") == {}


def test_the_picture_shows_both_encoders_and_their_ratios():
    panels = plot(record()).axes
    assert [panel.get_ylabel().rpartition(" ")[2] for panel in panels] == ["(s)", "(GFLOP)", "(MiB)"]
    ratios = [["2.50", "2.50"], ["4.00", "4.50"], ["2.50", "2.50"]]
    for panel, expected in zip(panels, ratios, strict=True):
        assert panel.get_xlabel() == "tokens of the document"
        assert [line.get_label() for line in panel.lines] == ["SimMIM", "full attention"]
        assert [list(line.get_xdata()) for line in panel.lines] == [[64, 128]] * 2
        assert [text.get_text() for text in panel.texts] == expected


def test_memory_that_was_not_measured_is_said_to_be_so():
    panel = plot(record((None, None))).axes[2]
    assert "not measured" in panel.texts[0].get_text()
    console = Console(width=100)
    with console.capture() as captured:
        console.print(table(record((None, None))))
    assert "not measured" in captured.get()


def test_the_table_has_every_figure():
    console = Console(width=100)
    with console.capture() as captured:
        console.print(table(record()))
    words = captured.get().replace("│", " ").split()
    for figure in ("64", "128", "0.5000", "4.0000", "2.50", "1.25", "3.75", "9.0", "4.50", "10.0", "25.0"):
        assert figure in words


def test_a_record_that_cannot_be_written_leaves_the_old_one(tmp_path):
    data, _ = save(record(), tmp_path / "speed")
    before = data.read_text(encoding="utf-8")
    with pytest.raises(TypeError):
        save({**record(), "machine": object()}, tmp_path / "speed")
    assert data.read_text(encoding="utf-8") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["speed.json", "speed.png"]
