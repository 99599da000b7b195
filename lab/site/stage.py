"""The sources of the site: for each language a folder of pages, in which links lead to other pages of that folder.

The pages lie in the repository where its readers look for them: in ``docs``, ``docs/zh`` and beside what they describe.
"""

from __future__ import annotations

import posixpath
import re
import shutil
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
LANGUAGES = ("en", "zh")
CARDS = (
    "src/simmim/pretrained/software-summaries",
    "src/simmim/pretrained/translated-documentation",
    "lab/pretrained/manuals-and-plays",
)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")
FENCED = re.compile(r"(^ *```.*?^ *```$)", re.DOTALL | re.MULTILINE)
BREAK = re.compile(r"(?<=[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef”])\n *(?=[\u4e00-\u9fff“])")
LIMITS = {"en": "Limits", "zh": "局限"}

Nav = list[tuple[tuple[str, str], list[tuple[str, str, str]]]]


def nav() -> Nav:
    """Return the sections of the site: their titles in both languages, and pages with theirs."""
    sections = yaml.safe_load((HERE / "nav.yml").read_text(encoding="utf-8"))
    return [(tuple(one["title"]), [tuple(page) for page in one["pages"]]) for one in sections]


def references() -> dict[str, list[str]]:
    """Return the modules that each page of the reference describes."""
    return yaml.safe_load((HERE / "reference.yml").read_text(encoding="utf-8"))


def sources(language: str) -> dict[str, str]:
    """Return the file of the repository, from its root, that each page and picture of the site comes from."""
    chinese = language == "zh"
    folder = "docs/zh" if chinese else "docs"
    found = {
        "index.md": "README.zh-CN.md" if chinese else "README.md",
        "contributing.md": "CONTRIBUTING.zh-CN.md" if chinese else "CONTRIBUTING.md",
        **{f"cards/{posixpath.basename(card)}.md": f"{card}/README.md" for card in CARDS},
    }
    pages = [*(ROOT / folder).glob("*.md"), *(ROOT / folder / "guide").glob("*.md")]
    found |= {page.relative_to(ROOT / folder).as_posix(): page.relative_to(ROOT).as_posix() for page in pages}
    found["index.md"] = "README.zh-CN.md" if chinese else "README.md"  # docs/index.md is a list of what the menu has
    shared = [*(ROOT / "docs/decisions").glob("*.md"), *(ROOT / "docs/pictures").glob("*.[ps][nv]g")]
    return found | {file.relative_to(ROOT / "docs").as_posix(): file.relative_to(ROOT).as_posix() for file in shared}


def targets(language: str) -> dict[str, str]:
    """Return the page of the site that a link to a file of the repository leads to."""
    mine = sources(language)
    english = {source: page for page, source in sources("en").items()}
    lead = english | {source: page for page, source in mine.items()}  # a page that links to English keeps its language
    return lead | {"docs/index.md": "index.md", "docs/decisions": "decisions/README.md"}


def relink(text: str, source: str, page: str, lead: dict[str, str]) -> str:
    """Return the text of a page with its links led to pages of the site; what is not on it is named in a hint."""

    def led(link: re.Match[str]) -> str:
        picture, shown, path, anchor = link[1], link[2], link[3], link[4] or ""
        file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if file in lead:
            return f"{picture}[{shown}]({posixpath.relpath(lead[file], posixpath.dirname(page) or '.')}{anchor})"
        return f'<span class="in-repository" title="{file}">{shown}</span>'

    parts = FENCED.split(text)  # every second one is code
    return "".join(part if i % 2 else LINK.sub(led, part) for i, part in enumerate(parts))


def section(text: str, title: str) -> str:
    """Return a section of a page as a page of its own."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |^\[Apache|\Z)", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise ValueError(f"expected a section {title!r} in the README, which the site shows as a page")
    return f"# {title}\n{found[1]}"


def reference(title: str, modules: list[str]) -> str:
    """Return a page of the reference: every public name of some modules."""
    name = "simmim" if title == "simmim" else f"simmim.{title}"
    if modules == [name]:
        return f"# {name}\n\n::: {name}\n    options: {{heading_level: 2}}\n"
    return f"# {name}\n\n" + "\n\n".join(f"## `{module}`\n\n::: {module}" for module in modules) + "\n"


def without_breaks(text: str) -> str:
    """Return Chinese text with its paragraphs on one line: browsers show a break between two characters as a space."""
    parts = FENCED.split(text)
    return "".join(part if i % 2 else BREAK.sub("", part) for i, part in enumerate(parts))


def stage(language: str, folder: Path) -> None:
    """Write the pages of a language into a folder, which is emptied."""
    shutil.rmtree(folder, ignore_errors=True)
    lead = targets(language)
    for page, source in sources(language).items():
        (folder / page).parent.mkdir(parents=True, exist_ok=True)
        if not page.endswith(".md"):
            shutil.copy(ROOT / source, folder / page)
            continue
        text = without_breaks((ROOT / source).read_text(encoding="utf-8"))
        text = re.sub(r"^\[(?:中文|English)\]\(.*\)\n", "", text, flags=re.MULTILINE)  # the menu does that here
        if page == "index.md":
            limits = section(text, LIMITS[language])
            (folder / "limits.md").write_text(relink(limits, source, "limits.md", lead), encoding="utf-8")
        (folder / page).write_text(relink(text, source, page, lead), encoding="utf-8")
    (folder / "reference").mkdir()
    for title, modules in references().items():
        (folder / f"reference/{title}.md").write_text(reference(title, modules), encoding="utf-8")
    shutil.copytree(HERE / "assets", folder / "assets")
