"""A tiny model behind the endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving import a_service, a_writer
from simmim.serve.endpoints import Service
from simmim.serve.writer import Writer


@pytest.fixture(scope="session")
def writer(tiny_chat_model: Path) -> Writer:
    return a_writer(tiny_chat_model, max_context=300, max_new_tokens=24)


@pytest.fixture
def service(writer: Writer) -> Iterator[Service]:
    found = a_service(writer)
    yield found
    found.engine.stop()
    found.engine.join(600)
