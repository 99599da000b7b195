"""A reader of the article who types its code gets its outputs, in both languages; and its notebooks are the article."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lab.notebook import NOTEBOOKS, Block, blocks, notebook, read

ROOT = Path(__file__).parents[3]
ENGLISH, CHINESE = NOTEBOOKS


def run(block: Block, names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    exec(compile(block.code, ENGLISH, "exec"), names)
    return capsys.readouterr().out


def test_the_code_prints_what_the_article_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All blocks in one namespace, in order, where `examples` lies."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, Any] = {"__name__": "article"}
    found = blocks(ENGLISH)
    assert len(found) > 12
    for block in found:
        if not block.needs_model:
            assert run(block, names, capsys) == block.printed, block.code
    for picture in ("attention.png", "pyramid.png"):
        drawn, shown = tmp_path / picture, ROOT / f"docs/pictures/article-{picture}"
        assert drawn.stat().st_size == pytest.approx(shown.stat().st_size, rel=0.3)


@pytest.mark.slow
@pytest.mark.usefixtures("default_model")
def test_the_code_that_needs_the_default_model_prints_what_the_article_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    [block] = [block for block in blocks(ENGLISH) if block.needs_model]
    assert run(block, {"Path": Path}, capsys) == block.printed


def test_both_languages_show_the_same_code_and_the_same_outputs() -> None:
    english, chinese = ([re.sub(r" *# .*", "", code) for code, *_ in blocks(page)] for page in (ENGLISH, CHINESE))
    assert english == chinese
    assert [block[1:] for block in blocks(ENGLISH)] == [block[1:] for block in blocks(CHINESE)]


def test_both_languages_have_the_same_equations_and_pictures() -> None:
    for pattern in (r"^\$\$\n.*?^\$\$$", r"!\[.*?\]\((?:\.\./)?(\S+?)(?:\.zh)?\.\w+\)", r"arxiv\.org/abs/[\d.]+"):
        english, chinese = (re.findall(pattern, read(page), re.DOTALL | re.MULTILINE) for page in (ENGLISH, CHINESE))
        assert english == chinese
        assert english


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_a_notebook_is_what_its_page_says(page: str) -> None:
    assert (ROOT / NOTEBOOKS[page]).read_text(encoding="utf-8") == notebook(page), "run python -m lab.notebook"
