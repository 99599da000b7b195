"""The command `simmim app`: long documents in the browser, on this machine alone."""

from __future__ import annotations

import logging
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simmim.cli.notices import complain, say
from simmim.cli.options import CausalModel, Device, Dtype, Quiet, Verbose, dtype_of
from simmim.errors import ConfigError, DataError

if TYPE_CHECKING:
    import socket

    from simmim.serve.app.application import App
    from simmim.serve.app.documents import Documents
    from simmim.serve.app.shelf import Shelf

__all__ = ["app"]

_INTERRUPTED = 130
_HOST, _PORT = "127.0.0.1", 8765
_QUEUE = 32  # jobs that may wait


def app(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="Documents, and folders that simmim read has made.")
    ] = None,
    model: CausalModel = None,
    translation_model: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|NAME",
            help="A model that translates: a folder, or a name on the hub.",
            show_default="ours, if it is installed",
        ),
    ] = None,
    library: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where documents are kept.", show_default="in your folder for data"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Port to listen on; 0 takes a free one.", show_default=f"{_PORT}, or a free one"
        ),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address only.")] = False,
    device: Device = None,
    dtype: Dtype = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Open a page in the browser that shows long documents whole, answers, summarizes and translates them.

    All is done on this machine; nothing is sent anywhere. Only a browser that opens the printed address gets in. The
    documents stay in the library until you remove them. The same process serves OpenAI clients under /v1.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(f'app: expected {error.name} to be installed; pip install "simmim[read,serve]"') from error
    from platformdirs import user_data_path

    from simmim.cli.checkpoints import find_model

    folders = [path for path in files or [] if path.is_dir()]
    for folder in folders:
        if not (folder / "manifest.json").exists():
            raise DataError(f"{folder}: expected a file, or a folder that simmim read has made; name its files")
    sockets = _listen(port)
    find_model(model)
    from simmim.serve.app.access import TokenGuard, new_token
    from simmim.serve.app.application import create
    from simmim.serve.app.shelf import Shelf
    from simmim.serve.security import Access, Guard
    from simmim.serve.server import Server

    shelf = Shelf(library or user_data_path("simmim", appauthor=False) / "library", folders)
    made = _make(shelf, model, translation_model, device, dtype)
    web, documents = create(made)
    for path in files or []:
        if not path.is_dir():
            _add(path, shelf, documents)
    token = new_token()

    def started(actual: int) -> None:
        address = f"http://{_HOST}:{actual}/?token={token}"
        say(f"library: {shelf.root}")
        typer.echo(f"open {address}")
        say("stop with Ctrl-C")
        if not no_browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    server = Server(Guard(TokenGuard(web, token), Access()), made.board.engine, started)
    made.stopping = lambda: server.should_exit
    if not verbose:  # the page asks for something at every move of the pointer
        logging.getLogger("simmim.serve").setLevel(logging.WARNING)
    try:
        server.run(sockets)
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None


def _listen(port: int | None) -> list[socket.socket]:
    from simmim.serve.server import open_sockets

    if port is not None:
        return open_sockets(_HOST, port)
    try:
        return open_sockets(_HOST, _PORT)
    except ConfigError:  # another app, most likely
        return open_sockets(_HOST, 0)


def _make(shelf: Shelf, model: str | None, translation_model: str | None, device: str | None, dtype: str | None) -> App:
    """Load the model and put the parts together."""
    from simmim.cli.document_worker import DocumentReader
    from simmim.cli.reading import say_calibrating
    from simmim.reading.reader import ReadingSettings
    from simmim.serve.app.application import App
    from simmim.serve.app.attached import Attached
    from simmim.serve.app.board import Board
    from simmim.serve.app.desk import Desk
    from simmim.serve.app.pages import Pages
    from simmim.serve.app.translations import Translations
    from simmim.serve.endpoints import Service
    from simmim.serve.engine import Engine
    from simmim.serve.writer import Limits, Writer
    from simmim.tasks.reading import load_reader
    from simmim.tasks.summarization.extracts.extract import Extractor
    from simmim.tasks.translation.default_model import is_at_hand

    reader = load_reader(
        model, ReadingSettings(keep="text"), device=device, dtype=dtype_of(dtype), calibrating=say_calibrating
    )
    engine = Engine(max_queue=_QUEUE, time_limit=3600)
    board = Board(engine)
    board.watch(reader.model)
    encoder = reader.encoder
    if encoder is not None:
        board.watch(encoder.model)
    extractor = Extractor() if encoder is None else Extractor(lambda: encoder)
    desk = Desk(reader, shelf, DocumentReader(), extractor, Pages())
    service = Service(
        Writer(reader.model, reader.tokenizer, Limits()),
        engine,
        [reader.fingerprint.partition("@")[0]],
        reader.fingerprint,
        encoder=encoder,
        attachments=Attached(desk),
    )
    translations = None
    if translation_model is not None or is_at_hand():
        translations = Translations(translation_model, board, device, dtype_of(dtype))
    return App(service, desk, board, translations)


def _add(path: Path, shelf: Shelf, documents: Documents) -> None:
    """Take a file into the library; one that cannot be read does not stop the others."""
    from simmim.cli.inputs import read_content

    try:
        documents.start_reading(shelf.add(path.name, read_content(str(path)).content))
    except DataError as error:
        complain(error)
