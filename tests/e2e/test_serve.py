"""A server in a process of its own: a long history, and a signal in the middle of a reply."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.contract]


@pytest.fixture
def served(tiny_chat_model: Path) -> Iterator[tuple[subprocess.Popen[str], openai.OpenAI]]:
    """Serve a tiny model on a free port of this machine."""
    command = [
        sys.executable,
        "-m",
        "simmim",
        "serve",
        str(tiny_chat_model),
        "--port",
        "0",
        "--max-new-tokens",
        "100000",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as server:
        assert server.stderr is not None
        try:
            address = server.stderr.readline().split(" at ")[1].split()[0]
            with openai.OpenAI(base_url=address, api_key="none", max_retries=0) as client:
                yield server, client
        finally:
            server.kill()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_a_server_lives_through_a_long_history_and_an_error_up_to_a_signal(
    served: Any, tiny_chat_model: Path, sent: int, code: int
) -> None:
    server, client = served
    settings: dict[str, Any] = {"model": str(tiny_chat_model), "max_tokens": 12, "temperature": 0}
    messages: list[Any] = [{"role": "user", "content": "a user asks"}]
    for turn in range(180):
        messages += [{"role": "assistant", "content": f"reply {turn} 樹 " * 8}, {"role": "user", "content": "again"}]
    first = client.chat.completions.create(messages=messages, **settings)
    assert first.usage.prompt_tokens > 1 << 14, "more than is read at once"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(messages=[*messages, {"role": "narrator", "content": "x"}], **settings)
    again = client.chat.completions.create(messages=messages, **settings)
    assert again.choices[0].message.content == first.choices[0].message.content

    ends = dict.fromkeys(map(str, range(2, 8)), -100)
    forever: dict[str, Any] = {"model": tiny_chat_model.name, "prompt": "a", "max_tokens": 100_000}
    stream = client.completions.create(**forever, logit_bias=ends, stream=True)
    next(iter(stream))
    server.send_signal(sent)
    with pytest.raises(openai.APIError, match="shutting down"):
        list(stream)
    assert server.wait() == code
    assert "Traceback" not in server.stderr.read()
