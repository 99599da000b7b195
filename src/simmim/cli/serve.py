"""The command `simmim serve`: a model behind OpenAI's interface, for this machine's clients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simmim.cli.notices import say
from simmim.cli.options import CausalModel, Device, Dtype, OldModel, Quiet, Verbose, dtype_of
from simmim.errors import ConfigError

if TYPE_CHECKING:
    from simmim.serve.writer import Limits, Writer

__all__ = ["serve"]

_INTERRUPTED = 130
_EVERYWHERE = ("", "0.0.0.0", "::")


def serve(
    old_model: OldModel = None,
    model: CausalModel = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; one beyond this machine needs --api-key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="SIMMIM_API_KEY", help="What clients have to send as their key.", show_default="none"),
    ] = None,
    allowed_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Another name of this server, in the header Host.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="A web page's origin that may ask; * for all.")
    ] = None,
    max_queue: Annotated[
        int, typer.Option(min=0, help="Requests that may wait for the one before; others get status 503.")
    ] = 0,
    max_context: Annotated[int, typer.Option(min=2, help="Most tokens of a prompt and its reply together.")] = 1 << 17,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of a reply.")] = 4096,
    max_body: Annotated[int, typer.Option(min=1000, help="Most bytes of a request.")] = 2_000_000,
    request_timeout: Annotated[
        float, typer.Option(min=1, max=86_400, help="Seconds that a request may take, waiting included.")
    ] = 600,
    device: Device = None,
    dtype: Dtype = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Serve a model to OpenAI clients at http://127.0.0.1:8000/v1.

    The server answers one request at a time. Clients name the model by its folder's name or as --model names it.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(f'serve: expected {error.name} to be installed; pip install "simmim[serve]"') from error
    from simmim.cli.checkpoints import model_folder
    from simmim.serve.endpoints import Service, create_app
    from simmim.serve.engine import Engine
    from simmim.serve.security import Access, Guard
    from simmim.serve.server import Server, is_loopback, open_sockets
    from simmim.serve.writer import Limits
    from simmim.tasks.checkpoints import fingerprint

    if api_key is None and not is_loopback(host):
        raise ConfigError(
            f"--host: {host} is reached from other machines, and --api-key is missing; give one (or set "
            "SIMMIM_API_KEY), or listen on 127.0.0.1"
        )
    named = [] if host in _EVERYWHERE else [host]
    access = Access([*named, *(allowed_host or [])], allow_origin or [], api_key)
    model = model or old_model
    folder = model_folder(model)
    writer = _load(folder, device, dtype, Limits(max_context, max_new_tokens))
    sockets = open_sockets(host, port)
    engine = Engine(max_queue=max_queue, time_limit=request_timeout)
    names = list(dict.fromkeys([folder.resolve().name, model or folder.resolve().name]))
    app = create_app(Service(writer, engine, names, fingerprint(folder), max_body))

    def started(actual: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        chats = "" if writer.prompts.has_template else "; it has no chat template: only /v1/completions"
        say(f"serving {names[0]} at http://{shown}:{actual}/v1{chats}")

    try:
        Server(Guard(app, access), engine, started).run(sockets)
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None


def _load(folder: Path, device: str | None, dtype: str | None, limits: Limits) -> Writer:
    """Load the model; refuse one that cannot be served."""
    from transformers import AutoModelForCausalLM

    from simmim.cli.checkpoints import load_model
    from simmim.serve.writer import Writer

    model, tokenizer = load_model(folder, device=device, dtype=dtype_of(dtype), auto_class=AutoModelForCausalLM)
    return Writer(model, tokenizer, limits)
