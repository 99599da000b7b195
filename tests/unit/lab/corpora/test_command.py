"""`python -m lab.corpora`: lists and builds the project's corpora."""

import re

import pytest
import yaml
from typer.testing import CliRunner

from lab.corpora.__main__ import app
from simmim.data import corpora
from simmim.data.splits import SPLITS, Pair


@pytest.fixture(autouse=True)
def _wide(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("SIMMIM_CACHE", str(tmp_path / "cache"))


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_lists_the_corpora():
    result = run("list")

    assert result.exit_code == 0
    assert all(re.search(rf"^{name} .* no *$", result.stdout, flags=re.MULTILINE) for name in corpora.CORPORA)
    assert "a manual page -> the description in its NAME section" in result.stdout
    assert "yes" not in result.stdout


def test_builds_a_corpus_and_shows_its_manifest(monkeypatch):
    pairs = {split: [Pair(f"{split} one two", "sum up", f"g {split}", "n")] * 1_234 for split in SPLITS}
    origin = {"licence": "free as air", "dropped": {"blank": 5_678}}
    monkeypatch.setattr(corpora, "CORPORA", {"trees": corpora.Corpus(lambda: (pairs, origin), "trees")})

    result = run("build", "trees")

    assert result.exit_code == 0
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line.strip()}
    assert rows["validation"] == ["validation", "1,234", "1", "3.0", "2.0", "0", "0"]
    assert rows["blank"] == ["blank", "5,678"]
    assert "licence: free as air" in result.stdout
    assert run("list").stdout.split("trees")[-2].count("yes") == 0
    assert "yes" in run("list").stdout


def test_an_unknown_corpus_is_one_line():
    result = run("build", "nonsense")
    assert result.exit_code == 1
    assert "expected a corpus that is registered or built (debian-descriptions, " in result.stderr


def test_builds_what_a_recipe_names(make_recipe, tmp_path):
    recipe = make_recipe(tmp_path)
    assert run("build", recipe).exit_code == 0  # that one names files only
    recipe.write_text(yaml.safe_dump(yaml.safe_load(recipe.read_text()) | {"data": {"corpus": "nonsense"}}))
    assert "got 'nonsense'" in run("build", recipe).stderr
