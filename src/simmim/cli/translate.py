"""The command `simmim translate`: documents in, the same documents in another language out."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simmim.cli.notices import complain, say
from simmim.cli.options import Device, Dtype, Quiet, Verbose, dtype_of
from simmim.errors import DataError
from simmim.terminal import terminal_safe

if TYPE_CHECKING:
    from rich.progress import Progress

    from simmim.tasks.translation.translate import Translated

__all__ = ["translate"]

_SHOWN = 5  # faults of a document that are printed; --json has all


def translate(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...", help="Files, folders, quoted patterns ('docs/**/*.md'); - is standard input."
        ),
    ],
    to: Annotated[str, typer.Option("--to", metavar="LANGUAGE", help="The language to write, such as fr.")],
    from_: Annotated[
        str | None, typer.Option("--from", metavar="LANGUAGE", help="That of the documents.", show_default="detected")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|NAME", help="A model that translates: a folder, or a name on the hub.", show_default="ours"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="A folder, or a file for one document. Run again to go on.", show_default="beside it"
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over files that exist.")] = False,
    glossary: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Terms and their translations, one pair a line.")
    ] = None,
    memory: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE.tmx", help="Translated blocks, taken as they are; again for more."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print an object for each document: its blocks, scores, repairs and faults.")
    ] = False,
    encoding: Annotated[
        str | None, typer.Option(metavar="NAME", help="Encoding of texts.", show_default="UTF-8, or declared")
    ] = None,
    num_beams: Annotated[int, typer.Option(min=1, help="Width of the beam search; 1 is greedy.")] = 4,
    group: Annotated[
        int, typer.Option(min=1, help="Blocks that a model of SimMIM reads together; others read one by one.")
    ] = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="Blocks, or groups of them, at a time.")] = 16,
    device: Device = None,
    dtype: Dtype = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Translate documents: text, Markdown, HTML, Word, EPUB, PO, XLIFF, SRT, WebVTT and manual pages.

    Markup, code, addresses and placeholders stay, and are checked. What a model loses of them is mended; what cannot be
    mended, such as a number, is reported. A document that cannot be read does not stop the others: the exit code is 1.
    """
    from simmim.cli.inputs import find_documents
    from simmim.cli.translation_output import Ledger, output_paths
    from simmim.tasks.translation.formats import SUFFIXES

    found = find_documents(inputs, leave_out=output, suffixes=SUFFIXES)
    for note in found.notes:
        say(f"note: {note}")
    failures = [str(error) for error in found.errors]
    paths = output_paths(found.names, inputs, output, to)
    settings: dict[str, Any] = {
        "model": model,
        "to": to,
        "from": from_,
        "num_beams": num_beams,
        "group": group,
        "encoding": encoding,
    }
    settings |= {"glossary": _content(glossary), "memory": [_content(path) for path in memory or []]}
    is_folder = output is not None and set(paths.values()) != {output}
    if is_folder and output is not None:
        output.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(output if is_folder else None, settings, overwrite)
    options = {"group_size": group, "batch_size": batch_size}
    work = _Work(model, to, from_, encoding, device, dtype, num_beams, glossary, memory or [], options)
    done = 0
    from simmim.cli.progress import bar as progress_bar

    with progress_bar() as progress:
        bar = progress.add_task("translating", total=None)
        for name, path in paths.items():
            try:
                done += _one(name, path, work, ledger, overwrite, as_json, progress, bar)
            except DataError as error:
                failures.append(str(error))
    for failure in failures:
        complain(failure)
    skipped = len(paths) + len(found.errors) - done - len(failures)
    if not as_json and (len(paths) > 1 or skipped):
        before = f"; done before: {skipped:,}" if skipped else ""
        say(f"documents translated: {done:,}{before}; failed: {len(failures):,}")
    if failures:
        raise typer.Exit(1)


def _content(path: Path | None) -> str | None:
    """Return the digest of a file that translations depend on."""
    if path is None:
        return None
    from simmim.files import file_digest

    return file_digest(path)[1]


@dataclass(eq=False)  # compared, and hashed, as what it is
class _Work:
    """Holds what documents are translated with; the model is loaded with the first that needs it."""

    model: str | None
    to: str
    from_: str | None
    encoding: str | None
    device: str | None
    dtype: str | None
    num_beams: int
    terms: Path | None
    memories: Sequence[Path]
    options: dict[str, int]

    @functools.cached_property
    def _loaded(self) -> Any:
        # torch and transformers take seconds to import: not before there is something to do
        from simmim.tasks.translation.default_model import is_made
        from simmim.tasks.translation.loading import load_translation_model

        if self.model is None and not is_made():
            say("making the default model once, from its Python packages; that takes a minute or two")
        return load_translation_model(self.model, self.device, dtype_of(self.dtype))

    @functools.cached_property
    def glossary(self) -> Any:
        from simmim.tasks.translation.glossary import read_glossary

        return None if self.terms is None else read_glossary(self.terms)

    @functools.cache  # noqa: B019  (there is one of it)
    def memory(self, source: str) -> dict[str, str]:
        from simmim.tasks.translation.pages import read_memory

        return {key: text for path in self.memories for key, text in read_memory(path, source, self.to).items()}

    @functools.cache  # noqa: B019
    def translator(self, source: str) -> Any:
        from simmim.tasks.translation.models import translator_for

        model, tokenizer = self._loaded
        return translator_for(model, tokenizer, source, self.to, num_beams=self.num_beams)


def _one(
    name: str, path: Path, work: _Work, ledger: Any, overwrite: bool, as_json: bool, progress: Progress, bar: Any
) -> bool:
    """Translate a document; return False where it was done before."""
    from simmim.cli.inputs import STANDARD_INPUT, read_content
    from simmim.cli.translation_output import write_document
    from simmim.tasks.language_detection import detect_language
    from simmim.tasks.translation.formats import open_document
    from simmim.tasks.translation.translate import translate_blocks

    found = read_content(name)
    to_standard_output = name == STANDARD_INPUT and path.name.startswith("-")
    if not to_standard_output:
        if ledger.holds(path, found.sha256):
            return False
        if path.exists() and not overwrite and not ledger.knows(path):
            raise DataError(f"{path}: expected a file that does not exist; name another with --output, or --overwrite")
    document = open_document("standard-input.txt" if name == STANDARD_INPUT else name, found.content, work.encoding)
    blocks = document.blocks
    source = work.from_ or detect_language(name, (block.text for block in blocks)) if blocks else work.to
    progress.reset(bar, total=len(blocks), description=terminal_safe(Path(name).name))
    translated: list[Translated] = []
    if blocks and source != work.to:
        translated = translate_blocks(
            blocks,
            work.translator(source),
            glossary=work.glossary,
            memory=work.memory(source),
            advance=lambda count: progress.advance(bar, count),
            **work.options,
        )
    texts = [one.text for one in translated] or [block.text for block in blocks]
    content = document.render(texts, work.to)
    if to_standard_output:
        if not as_json:
            sys.stdout.buffer.write(content)
    else:
        write_document(path, content)
        ledger.add(path, found.sha256)
    _show(name, None if to_standard_output else path, source, work.to, translated, len(blocks), as_json)
    return True


def _show(
    name: str, path: Path | None, source: str, target: str, translated: list[Translated], blocks: int, as_json: bool
) -> None:
    """Say what became of a document."""
    if as_json:
        from simmim.cli.results import json_line

        record = {"name": name, "output": None if path is None else str(path), "from": source, "to": target}
        typer.echo(json_line(record | {"blocks": [asdict(one) for one in translated]}), nl=False)
        return
    counts = [f"blocks: {blocks:,}"]
    if blocks and not translated:
        counts.append(f"already in {target}")
    for what, number in (
        ("from the memory", sum(one.origin == "memory" for one in translated)),
        ("mended", sum(bool(one.repairs) for one in translated)),
        ("with faults", sum(bool(one.faults) for one in translated)),
    ):
        counts += [f"{what}: {number:,}"] if number else []
    say(f"{name} ({source}) -> {path or 'standard output'} ({target}); {'; '.join(counts)}")
    wrong = [(number, fault) for number, one in enumerate(translated, start=1) for fault in one.faults]
    for number, fault in wrong[:_SHOWN]:
        say(f"  block {number}: {fault}: {translated[number - 1].source[:60]!r}")
    if len(wrong) > _SHOWN:
        say(f"  and {len(wrong) - _SHOWN:,} more; --json lists all")
