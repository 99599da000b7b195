"""The command `python -m lab.translation`: builds the corpus of translated documentation."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from lab.corpora.apt_packages import AptPackage, fetched_packages
from lab.translation.align import aligned, is_translation
from lab.translation.corpus import Page, in_splits, write_corpus
from lab.translation.sources import CATALOGUES, SOURCES, Source, catalogue_pairs, page_blocks

__all__ = ["app"]

logger = logging.getLogger("lab.translation")
app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def build(
    folder: Annotated[Path, typer.Argument(help="Where to write it.")],
    languages: Annotated[
        list[str] | None, typer.Argument(metavar="[LANGUAGE]...", help="Of fr, es and zh.", show_default="all")
    ] = None,
) -> None:
    """Fetch the packages, align their pages and write the splits with a manifest."""
    languages = languages or ["fr", "es", "zh"]
    names = [
        name
        for source in SOURCES
        for language in ("en", *languages)
        for name in source.packages.get(language, ((),))[0]
    ]
    names += [CATALOGUES[language] for language in languages]
    dropped: Counter[str] = Counter()
    with fetched_packages(list(dict.fromkeys(names))) as fetched:
        packages = {package.name: package for package in fetched}
        pages = [page for source in SOURCES for page in _pages(source, languages, packages, dropped)]
        pages += _messages(languages, packages, dropped)
        entries = [package.entry() for package in fetched]
    splits = in_splits(pages, dropped)
    about = {
        "corpus": "translated-documentation",
        "fetched_by": "apt-get download with a private state",
        "licences": {source.name: source.licence for source in SOURCES} | {"libreoffice-l10n": "MPL-2.0"},
        "dropped": dict(dropped.most_common()),
        "packages": entries,
    }
    manifest = write_corpus(folder, splits, about)
    print(json.dumps({"dropped": manifest["dropped"], "splits": manifest["splits"]}, indent=1))


def _pages(
    source: Source, languages: list[str], packages: Mapping[str, AptPackage], dropped: Counter[str]
) -> Iterator[Page]:
    versions = {
        language: page_blocks(source, language, packages) for language in languages if language in source.packages
    }
    english = page_blocks(source, "en", packages, {name for pages in versions.values() for name in pages})
    for language, translated in versions.items():
        logger.info("%s: %d pages in English, %d in %s", source.name, len(english), len(translated), language)
        for name in sorted(english.keys() & translated.keys()):
            pairs = [
                pair
                for pair in aligned(english[name], translated[name], strict=source.strict, dropped=dropped)
                if is_translation(*pair, language, dropped)
            ]
            if pairs:
                yield _page(language, source.name, name, pairs)


def _messages(languages: list[str], packages: Mapping[str, AptPackage], dropped: Counter[str]) -> Iterator[Page]:
    for language in languages:
        catalogues: dict[str, list[tuple[str, str]]] = {}
        if CATALOGUES[language] not in packages:
            continue
        for name, source, target in catalogue_pairs(packages[CATALOGUES[language]]):
            source, target = (" ".join(text.split()) for text in (source, target))
            if is_translation(source, target, language, dropped):
                catalogues.setdefault(name, []).append((source, target))
        for name, pairs in catalogues.items():
            yield _page(language, "libreoffice-l10n", name, pairs, held_out=False)


def _page(language: str, origin: str, name: str, pairs: list[tuple[str, str]], held_out: bool = True) -> Page:
    sources, targets = zip(*pairs, strict=True)
    return Page("en", language, origin, name, sources, targets, held_out)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    app()
