"""An OpenAI client talks with a served model: whole and streamed, with a long shared history, and after an error."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
openai: Any = pytest.importorskip("openai", reason="needs the extra simmim[serve]")


@pytest.fixture(scope="module")
def client(tiny_chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Serve a tiny model on a free port of this machine."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [
        sys.executable,
        "-m",
        "simmim",
        "serve",
        str(tiny_chat_model),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with log.open("w") as stream:
        server = subprocess.Popen(command, stdout=stream, stderr=stream, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        for _ in range(240):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except OSError:
                assert server.poll() is None, log.read_text()
                time.sleep(0.5)
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) as client:
            yield client
    finally:
        server.terminate()
        server.wait(timeout=30)


def test_a_client_chats_whole_and_streamed(client: Any, tiny_chat_model: Path) -> None:
    model = str(tiny_chat_model)
    messages: list[dict[str, str]] = [{"role": "system", "content": "s"}, {"role": "user", "content": "a user asks"}]
    settings = {"model": model, "max_tokens": 12, "temperature": 0}

    whole = client.chat.completions.create(messages=messages, **settings)
    pieces = list(client.chat.completions.create(messages=messages, stream=True, **settings))

    [choice] = whole.choices
    assert (choice.message.role, choice.finish_reason) == ("assistant", "length")
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == choice.message.content
    assert len(pieces) > 4
    assert (whole.usage.completion_tokens, pieces[-1].usage.completion_tokens) == (12, 12)

    from transformers import AutoModelForCausalLM

    from simmim.tasks.chat import Chat
    from simmim.tasks.checkpoints import load_model

    chat = Chat(*load_model(tiny_chat_model, "cpu", auto_class=AutoModelForCausalLM), system="s")
    assert chat.reply("a user asks", max_new_tokens=12, do_sample=False).text == choice.message.content

    # A long history that two requests share, and an error between them.
    for turn in range(180):
        messages += [{"role": "assistant", "content": f"reply {turn} 樹 " * 8}, {"role": "user", "content": "again"}]
    first = client.chat.completions.create(messages=messages, **settings)
    assert first.usage.prompt_tokens > 1 << 14, "more than is read at once"
    with pytest.raises(openai.InternalServerError):  # the template refuses the role; the log says why
        client.chat.completions.create(messages=[*messages, {"role": "narrator", "content": "x"}], **settings)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(messages=messages, **{**settings, "model": "another"})
    again = client.chat.completions.create(messages=messages, **settings)
    assert again.choices[0].message.content == first.choices[0].message.content
    more = [*messages, {"role": "assistant", "content": "b"}, {"role": "user", "content": "and now"}]
    longer = client.chat.completions.create(messages=more, **settings)
    assert longer.usage.prompt_tokens > first.usage.prompt_tokens
