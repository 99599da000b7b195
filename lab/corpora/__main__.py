"""The command `python -m lab.corpora`: lists the project's corpora, and builds some into the cache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

import lab.corpora  # noqa: F401  (registers them)
from simmim.cli.data import plain_table, progress, show
from simmim.cli.group import errors_in_one_line
from simmim.data import corpora
from simmim.data.cache import cache_folder
from simmim.terminal import terminal_safe
from simmim.train.run_config import load_recipe

__all__ = ["app"]

app = typer.Typer(
    help="List the project's corpora, and build some into the cache.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.command("list")
def list_corpora() -> None:
    """List the corpora that can be built, and then be named in a recipe."""
    cache = cache_folder()
    table = plain_table("corpus", "what it holds", "in the cache")
    for name, corpus in corpora.CORPORA.items():
        table.add_row(name, corpus.about, "yes" if (cache / name).exists() else "no")
    show(table)
    typer.echo(terminal_safe(f"cache: {cache}"))


@app.command()
def build(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="Corpora that `list` shows, or recipes that name some."),
    ],
) -> None:
    """Build corpora into the cache, unless they are there, and show what their manifests say."""
    with errors_in_one_line():
        for name in dict.fromkeys(corpus for one in names for corpus in _named(one)):
            with progress(f"building {name}", "lab.corpora"):
                manifest = corpora.load_manifest(name)
            _show_manifest(manifest)


def _named(name: str) -> list[str]:
    """Return the corpora that an argument names; a recipe may name none."""
    return list(load_recipe(Path(name)).data.corpora) if Path(name).suffix in (".yaml", ".yml") else [name]


def _show_manifest(manifest: Mapping[str, Any]) -> None:
    """Print the figures of a corpus."""
    headings = {
        "mean_document_words": "words of a document",
        "mean_summary_words": "of a summary",
        "summary_occurs_in_document": "summary in document",
        "mean_words": "words of a text",
    }
    counted = [name for name in manifest["splits"]["train"] if name != "sha256"]
    table = plain_table("split", *(headings.get(name, name) for name in counted), "near duplicates")
    for split, figures in manifest["splits"].items():
        near = manifest.get("near_duplicates", {}).get(split)
        table.add_row(split, *(f"{figures[name]:,}" for name in counted), "" if near is None else f"{near:,}")
    show(table)
    table = plain_table("dropped", "documents")
    for reason, count in manifest.get("dropped", {}).items():
        table.add_row(reason, f"{count:,}")
    show(table)
    typer.echo(terminal_safe(f"licence: {manifest.get('licence', 'not recorded')}"))
    if not manifest.get("redistributable", True):
        typer.echo("not redistributable: keep this corpus, and weights that have learnt from it, on this machine")


if __name__ == "__main__":
    app(prog_name="python -m lab.corpora")
