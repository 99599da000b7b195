"""The site of `make docs`, without its tools: menu, pages, links, reference; what comes from other hosts is found."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

import simmim
from lab.site.build import config, loaded_from_elsewhere
from lab.site.stage import LANGUAGES, ROOT, nav, references, relink, section, sources, stage

PAGES = [page for _, pages in nav() for page, *_ in pages]
FENCED = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module", params=LANGUAGES)
def staged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / request.param
    stage(request.param, folder)
    return folder


def test_every_page_of_the_menu_exists(staged: Path) -> None:
    assert len(set(PAGES)) == len(PAGES)
    for page in PAGES:
        assert (staged / f"{page}.md").read_text(encoding="utf-8").lstrip().startswith("# "), page


def test_every_page_but_decisions_and_cards_is_in_the_menu(staged: Path) -> None:
    pages = {file.relative_to(staged).with_suffix("").as_posix() for file in staged.rglob("*.md")}
    assert {page for page in pages if not page.startswith(("decisions/0", "cards/"))} == set(PAGES)


def test_both_languages_have_the_same_menu() -> None:
    english, chinese = ([next(iter(one.values())) for one in config(language)["nav"]] for language in LANGUAGES)
    assert [[list(page.values()) for page in part] for part in english] == [
        [list(page.values()) for page in part] for part in chinese
    ]
    assert all(len(names) == 3 and all(names) for _, pages in nav() for names in pages)


def test_both_languages_have_the_same_pages() -> None:
    english, chinese = ({page for page in sources(language) if page.endswith(".md")} for language in LANGUAGES)
    assert english == chinese


def test_links_lead_to_pages_of_the_site(staged: Path) -> None:
    for file in staged.rglob("*.md"):
        for path in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", FENCED.sub("", file.read_text(encoding="utf-8"))):
            assert (file.parent / path).is_file(), f"{file}: {path}"


def test_links_out_of_the_site_become_names() -> None:
    lead = {"docs/design.md": "design.md"}
    text = "[a](../design.md#x) [`b`](../../src/b.py) [c](https://c.org)\n```\n[d](../d.md)\n```\n"
    assert relink(text, "docs/guide/page.md", "guide/page.md", lead) == (
        '[a](../design.md#x) <span class="in-repository" title="src/b.py">`b`</span> [c](https://c.org)\n'
        "```\n[d](../d.md)\n```\n"
    )


def test_a_missing_section_is_named() -> None:
    with pytest.raises(ValueError, match="expected a section 'Limits'"):
        section("# Title\n", "Limits")


@pytest.mark.parametrize("module", [module for modules in references().values() for module in modules])
def test_every_module_of_the_reference_can_be_imported_and_says_what_is_public(module: str) -> None:
    found = import_module(module)
    assert found.__doc__
    assert found.__all__
    assert all(hasattr(found, name) for name in found.__all__)


def test_the_reference_has_every_name_of_the_package() -> None:
    described = {
        name for modules in references().values() for module in modules for name in import_module(module).__all__
    }
    assert set(simmim.__all__) <= described


@pytest.mark.parametrize("page", ["docs/integrations.md", "docs/zh/integrations.md"])
def test_integrations_name_tests_that_exist(page: str) -> None:
    rows = re.findall(r"^\| .* \| `(tests/\S+\.py)` (.*) \|$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) > 10
    for file, names in rows:
        code = (ROOT / file).read_text(encoding="utf-8")
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"^ *def {name}\(", code, re.MULTILINE), f"{file}: {name}"


def test_what_comes_from_other_hosts_is_found(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        '<a href="https://link.org">x</a><link rel="canonical" href="https://me.org"><script src="https://a.org/a.js"></script>'
        '<img src="own.png" srcset="//b.org/b.png 2x"><link rel="stylesheet" href="http://c.org/c.css">'
        "<style>p { background: url('https://d.org/d.png') }</style>",
        encoding="utf-8",
    )
    (tmp_path / "style.css").write_text('@import "//e.org/e.css"; p { background: url(own.png) }', encoding="utf-8")
    found = [re.sub(r".*//(.)\.org.*", r"\1", one) for one in loaded_from_elsewhere(tmp_path)]
    assert sorted(found) == ["a", "b", "c", "d", "e"]
