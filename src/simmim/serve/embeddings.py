"""The endpoint of embeddings: vectors of texts by the encoder that also finds passages."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from starlette.responses import Response

from simmim.reading.embedding import Encoder
from simmim.serve.bodies import read_body
from simmim.serve.engine import Engine
from simmim.serve.errors import RequestError
from simmim.serve.feed import Feed
from simmim.serve.responses import json_response, while_connected
from simmim.serve.schemas import EmbeddingRequest, parse

__all__ = ["add_embeddings"]


def add_embeddings(app: FastAPI, encoder: Encoder, name: str, engine: Engine, max_body: int) -> None:
    """Add `/v1/embeddings`.

    Args:
        app: gets the endpoint.
        encoder: makes the vectors.
        name: its name as a model.
        engine: runs the requests.
        max_body: maximum size of a request in bytes.
    """

    @app.post("/v1/embeddings")
    async def embeddings(request: Request) -> Response:
        asked = parse(await read_body(request, max_body), EmbeddingRequest)
        if asked.model != name:
            message = f"model: expected {name!r}, which makes vectors here, got {ascii(asked.model)[:80]}"
            raise RequestError(message, status=404, param="model", code="model_not_found")
        return json_response(await while_connected(request, _embedded(encoder, engine, asked)))


async def _embedded(encoder: Encoder, engine: Engine, asked: EmbeddingRequest) -> dict[str, Any]:
    """Have the engine compute the vectors of some texts."""
    feed: Feed[tuple[np.ndarray, int]] = Feed()
    job = engine.submit(lambda job: feed.tell(encoder.encode_whole(asked.input, lambda _: job.check())), feed.tell)
    try:
        [(vectors, tokens)] = [found async for found in feed.events()]
    finally:
        engine.cancel(job)
    rows = [
        {"object": "embedding", "index": index, "embedding": _vector(vector, asked.encoding_format)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": asked.model, "data": rows, "usage": usage}


def _vector(vector: np.ndarray, form: str) -> str | list[float]:
    if form == "float":
        return [round(float(value), 7) for value in vector]
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
