"""What README and documentation show works: Python runs, commands parse, recipes load, links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

import pytest
from typer.main import get_command

import simmim
from simmim import SimMIMConfig
from simmim.cli.main import load
from simmim.nn import AGGREGATORS, MEMORIES, SEGMENT_ENCODERS, STATE_POOLINGS, STATE_REACHES, STATE_READS
from simmim.train.run_config import load_recipe

ROOT = Path(__file__).parents[3]
ENGLISH = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/design.md",
    "docs/results.md",
    "docs/article.md",
    "docs/integrations.md",
    "docs/models.md",
    *(f"docs/guide/{p.name}" for p in (ROOT / "docs/guide").iterdir()),
]
PAGES = [*ENGLISH, *(chinese for page in ENGLISH if (ROOT / (chinese := page.replace("docs/", "docs/zh/"))).exists())]
PAGES = sorted({*PAGES, "README.zh-CN.md", "CONTRIBUTING.zh-CN.md", "docs/index.md"})

# test_article.py runs the article; the tutorial parses Python's own library, in English alone: the code is the same.
RUN_ELSEWHERE = ("docs/article.md", "docs/zh/article.md", "docs/zh/guide/tutorial.md")

REGISTRIES = (STATE_READS, STATE_REACHES, STATE_POOLINGS, SEGMENT_ENCODERS, AGGREGATORS, MEMORIES)

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return [code for found, code in FENCE.findall(read(page)) if found == language]


def chinese_of(page: str) -> str:
    return page.replace("docs/", "docs/zh/") if page.startswith("docs/") else page.replace(".md", ".zh-CN.md")


def having(language: str) -> list[str]:
    return [page for page in PAGES if blocks(page, language)]


@pytest.fixture
def _registries() -> Iterator[None]:
    """Forget what an example registers."""
    before = [dict(registry) for registry in REGISTRIES]
    yield
    for registry, entries in zip(REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(entries)


@pytest.mark.usefixtures("_registries")
@pytest.mark.parametrize("page", [page for page in having("python") if page not in RUN_ELSEWHERE])
def test_python_examples_run(
    page: str, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Each block by itself; a tiny model stands in for the one that is shipped (blocks marked as needing it)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(simmim, "pretrained_path", lambda: tiny_model)
    for code in blocks(page, "python"):
        if f"<!-- needs the default model -->\n```python\n{code}" in read(page):
            request.getfixturevalue("default_model")
        assert ("pretrained_path" in code) == (f"<!-- needs the shipped model -->\n```python\n{code}" in read(page))
        exec(compile(code, page, "exec"), {"__name__": "example"})


def commands(page: str) -> list[str]:
    """Return the `simmim` commands of shell blocks, and those in the text that have arguments."""
    lines = "\n".join(blocks(page, "bash")).splitlines()
    in_text = re.findall(r"`((?:simmim|python -m lab\.\w+) \w+ [^`…]+)`", FENCE.sub("", read(page)))
    found = (re.match(r"(?:cat .*\| )?((?:simmim|python -m lab\.\w+) .*)", line) for line in [*lines, *in_text])
    return [match[1] for match in found if match]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_commands_parse(page: str) -> None:
    for command in commands(page):
        program, *arguments = shlex.split(command, comments=True)
        if program == "python" and hasattr(module := import_module(arguments[1]), "parse"):
            assert module.parse(arguments[2:])
        elif program == "python":
            assert get_command(import_module(f"{arguments[1]}.__main__").app).make_context(program, arguments[2:])
        elif arguments != ["--version"]:
            name, *rest = arguments
            assert load(name).make_context(name, rest)


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), flags=re.MULTILINE))
    named = re.findall(r"(?:^|`) *make ([a-z-]+)", read(page), flags=re.MULTILINE)
    assert set(named) <= targets


@pytest.mark.parametrize("page", having("yaml"))
def test_recipes_are_accepted(page: str, tmp_path: Path) -> None:
    for text in blocks(page, "yaml"):
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(text, encoding="utf-8")
        load_recipe(recipe)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for path, anchor in LINK.findall(FENCE.sub("", read(page))):
        if re.match(r"https?:", path):
            continue
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page}: {path}"
        assert not anchor or unquote(anchor) in anchors(target), f"{page}: {path}#{anchor}"


@pytest.mark.parametrize("page", ENGLISH)
def test_chinese_pages_show_the_same_code(page: str) -> None:
    for language in ("python", "bash", "yaml"):
        ours, theirs = ([re.sub(r" *#.*", "", code) for code in blocks(p, language)] for p in (page, chinese_of(page)))
        assert ours == theirs


@pytest.mark.parametrize("page", ["docs/guide/options.md", "docs/zh/guide/options.md"])
def test_every_option_is_described_and_its_default_is_bold(page: str) -> None:
    config = SimMIMConfig()
    sections = dict(re.findall(r"^## `(\w+)`(.*?)(?=^## )", read(page), flags=re.DOTALL | re.MULTILINE))
    for registry in REGISTRIES:
        section = sections.pop(registry.setting)
        for value in registry:
            bold = "**" if value == getattr(config, registry.setting) else ""
            assert f"| {bold}`{value}`{bold} |" in section
    names = ("segment_length", "neighbours", "segment_shift", "state_null", "memory_top_k", "copy_head")
    more = (
        "state_weight",
        "training_length",
        "tie_state_projections",
        "rotary",
        "partial_rotary_factor",
        "scale_embedding",
    )
    for name in (*names, *more):
        assert f"**{getattr(config, name)}**".lower() in sections.pop(name).splitlines()[0]
    assert "√(2 / 5E)" in sections.pop("initializer_range").splitlines()[0]
    assert not sections


@pytest.mark.parametrize("page", ["docs/guide/errors.md", "docs/zh/guide/errors.md"])
def test_quoted_messages_are_those_of_the_code(page: str) -> None:
    files = [file for folder in ("src", "lab") for file in (ROOT / folder).rglob("*.py")]
    code = "".join(file.read_text(encoding="utf-8") for file in files)
    code = re.sub(r'"\s*\n\s*f?"', "", code)
    quoted = re.findall(r"^\| `([^`]+)` \|", read(page), flags=re.MULTILINE)
    messages = [message for message in quoted if not message.endswith("Error")]
    assert len(messages) > 10
    for message in messages:
        for piece in message.split("…"):
            assert piece.strip() in code


def contracts(page: str) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """Return the numbers of the contracts, and for each the test files and the tests in them that a page names."""
    rows = re.findall(r"^\| (\d) \| .+ \| (.+) \|$", read(page), flags=re.MULTILINE)
    parts = [(number, re.findall(r"`([\w/]+\.py)`((?:[^`]|`test_\w+`)*)", tests)) for number, tests in rows]
    return [(number, [(file, re.findall(r"`(\w+)`", names)) for file, names in files]) for number, files in parts]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "CONTRIBUTING.zh-CN.md"])
def test_contracts_name_tests_that_exist(page: str) -> None:
    assert [number for number, _ in contracts(page)] == list("123456789")
    assert contracts(page) == contracts("CONTRIBUTING.md")
    for number, files in contracts(page):
        assert files
        for file, names in files:
            code = read(f"tests/{file}")
            assert names, f"contract {number}: {file}"
            assert all(re.search(rf"^ *def {name}\(", code, flags=re.MULTILINE) for name in names), f"{file}: {names}"


@pytest.mark.parametrize(("language", "name"), [("en", "smi-attention.svg"), ("zh", "smi-attention.zh.svg")])
def test_pictures_are_what_the_script_draws(language: str, name: str) -> None:
    script = ROOT / "docs/pictures/draw.py"
    spec = importlib.util.spec_from_file_location("draw", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.draw(language) == (script.parent / name).read_text(encoding="utf-8")
