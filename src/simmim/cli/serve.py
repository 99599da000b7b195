"""The command `simmim serve`: transformers' own server, which then knows SimMIM's models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from simmim.errors import ConfigError

__all__ = ["serve"]


def serve(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="Folder of a saved model that was trained on conversations.")],
) -> None:
    """Serve a model to OpenAI clients at http://localhost:8000/v1, as `transformers serve` does.

    Every option of `transformers serve` can be given: --host, --port, --device, --dtype, … Clients name the model as it
    is named here.
    """
    # these take seconds to import
    import transformers
    from transformers import AutoModelForCausalLM
    from transformers.cli.transformers import app
    from transformers.utils.import_utils import is_serve_available

    from simmim.models import SimMIMForCausalLM
    from simmim.tasks.chat import Chat
    from simmim.tasks.checkpoints import load_model

    if not is_serve_available():
        raise ConfigError('serve: expected fastapi, uvicorn and openai to be installed; pip install "simmim[serve]"')
    Chat(*load_model(model, "cpu", auto_class=AutoModelForCausalLM))  # refuses, before the server starts, what cannot
    # The server takes the class that config.json names out of transformers, whatever the Auto classes know.
    library: Any = transformers
    library.SimMIMForCausalLM = SimMIMForCausalLM
    app(["serve", str(model), *context.args], prog_name="simmim", standalone_mode=False)
