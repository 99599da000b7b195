"""Builds the documentation as a site of two languages, with warnings as errors: ``python -m lab.site`` into build/site.

The Chinese half lies in ``zh``. Nothing on it is loaded from another host, which the last step checks.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml

from lab.site.stage import HERE, LANGUAGES, ROOT, nav, stage

SITE = ROOT / "build/site"
STAGED = ROOT / "build/site-pages"
KATEX_FILES = ("katex.min.css", "katex.min.js", "contrib/auto-render.min.js", "fonts/*.woff2")
OTHER = {
    "en": {"lang": "zh", "name": "中文", "root": "zh"},
    "zh": {"lang": "en", "name": "English", "root": ".."},
}
DESCRIPTION = {"en": "Transformers for long text", "zh": "处理长文本的 transformer"}
LOADING = {
    "script": "src",
    "img": "src",
    "source": "src",
    "iframe": "src",
    "video": "src",
    "audio": "src",
    "object": "data",
}
IN_STYLE = re.compile(r"""(?:url\(|@import)\s*["']?\s*((?:https?:)?//[^"')\s]+)""")


def config(language: str) -> dict[str, Any]:
    """Return what a language adds to mkdocs.yml."""
    which = LANGUAGES.index(language)
    pages = [{titles[which]: [{page[1 + which]: f"{page[0]}.md"} for page in pages]} for titles, pages in nav()]
    search = {"lang": ["en"]} if language == "en" else {"lang": ["zh", "en"], "separator": r"[\s\u200b\-.,()/]+"}
    return {
        "INHERIT": str(HERE / "mkdocs.yml"),
        "site_description": DESCRIPTION[language],
        "docs_dir": str(STAGED / language),
        "site_dir": str(SITE if language == "en" else SITE / language),
        "theme": {"language": language, "custom_dir": str(HERE / "overrides")},
        "extra": {"other": OTHER[language]},
        "plugins": {"search": search, "mkdocstrings": {"handlers": {"python": {"paths": [str(ROOT / "src")]}}}},
        "nav": pages,
    }


def copy_katex(package: Path, assets: Path) -> None:
    """Put KaTeX, which typesets the equations, beside the pages."""
    for pattern in KATEX_FILES:
        found = list((package / "dist").glob(pattern))
        if not found:
            raise FileNotFoundError(f"expected {pattern} in {package}/dist, the npm package katex; run make docs")
        for file in found:
            target = assets / "katex" / file.relative_to(package / "dist")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)


class Loads(HTMLParser):
    """Collects what a page loads by itself: scripts, styles, pictures, frames; not where its links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag loads."""
        values = {name: value or "" for name, value in attrs}
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev", "alternate"):
            self.found.append(values.get("href", ""))
        elif tag in LOADING:
            self.found += [
                values.get(LOADING[tag], ""),
                *(part.split()[0] for part in values.get("srcset", "").split(",") if part),
            ]
        self.found += IN_STYLE.findall(values.get("style", ""))


def loaded_from_elsewhere(site: Path) -> list[str]:
    """Return each file of a site that loads something from another host, and what."""
    found = []
    for file in sorted(site.rglob("*")):
        if file.suffix == ".html":
            page = Loads()
            text = file.read_text(encoding="utf-8")
            page.feed(text)
            urls = page.found + [
                url for style in re.findall(r"<style.*?</style>", text, re.DOTALL) for url in IN_STYLE.findall(style)
            ]
        elif file.suffix == ".css":
            urls = IN_STYLE.findall(file.read_text(encoding="utf-8"))
        else:
            continue
        found += [f"{file.relative_to(site)}: {url}" for url in urls if re.match(r"(?:https?:)?//", url)]
    return found


def main(katex: Path) -> int:
    """Build both languages; return what the process exits with."""
    began = time.monotonic()
    shutil.rmtree(SITE, ignore_errors=True)
    for language in LANGUAGES:  # English first: its folder holds the other one
        stage(language, STAGED / language)
        copy_katex(katex, STAGED / language / "assets")
        file = STAGED / f"{language}.yml"
        file.write_text(yaml.safe_dump(config(language), allow_unicode=True, sort_keys=False), encoding="utf-8")
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--config-file", str(file)]
        if status := subprocess.run(command, check=False, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}).returncode:
            return status
    if elsewhere := loaded_from_elsewhere(SITE):
        print("error: pages load from other hosts:", *elsewhere, sep="\n  ")
        return 1
    pages = len(list(SITE.rglob("*.html")))
    print(f"{SITE.relative_to(ROOT)}: {pages} pages in {time.monotonic() - began:.0f} s; read it with: ", end="")
    print(f"python -m http.server --bind 127.0.0.1 --directory {SITE.relative_to(ROOT)}")
    return 0
