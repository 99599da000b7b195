"""The schemas of the requests, after the OpenAI API reference: which values are accepted and which refused."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from simmim.serve.errors import RequestError
from simmim.serve.parameters import Bias, Content, Ignored, Prompts, Stops, Texts, Unserved

__all__ = ["ChatRequest", "CompletionRequest", "EmbeddingRequest", "GenerationRequest", "Message", "parse"]

MAX_CHOICES = 8
MAX_MESSAGES = 2048
_SEED = 1 << 63
_SHOWN = 60

Short = Annotated[str, StringConstraints(max_length=512)]
Name = Annotated[str, StringConstraints(max_length=64, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)


class StreamOptions(_Strict):
    """The options of a stream."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Message(_Strict):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Content
    name: Name | None = None
    tool_calls: Unserved = None
    function_call: Unserved = None
    audio: Unserved = None
    refusal: Unserved = None
    annotations: Ignored = None


class GenerationRequest(_Strict):
    """The parameters of both endpoints."""

    limits: ClassVar[tuple[str, ...]] = ("max_tokens",)
    """The parameters that limit the length of a reply."""
    default_tokens: ClassVar[int | None] = None
    """Maximum tokens of a reply if the request sets no limit; None for the limit of the server."""

    model: Short
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    seed: Annotated[int, Field(ge=-_SEED, lt=_SEED)] | None = None
    stop: Stops = ()
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: Bias = Field(default_factory=dict)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Short | None = None

    @model_validator(mode="after")
    def _check_stream_options(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options: expected none, since `stream` is not true")
        return self


class ChatRequest(GenerationRequest):
    """The body of a POST to /v1/chat/completions."""

    limits = ("max_completion_tokens", "max_tokens")

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    response_format: ResponseFormat | None = None
    modalities: list[Literal["text"]] | None = None
    # None of these changes the text of a model without tools, storage and audio.
    metadata: Annotated[dict[Short, Short], Field(max_length=16)] | None = None
    store: bool | None = None
    service_tier: Short | None = None
    safety_identifier: Short | None = None
    prompt_cache_key: Short | None = None
    prompt_cache_retention: Short | None = None
    parallel_tool_calls: bool | None = None
    prediction: Ignored = None
    tools: Unserved = None
    tool_choice: Unserved = None
    functions: Unserved = None
    function_call: Unserved = None
    logprobs: Unserved = None
    top_logprobs: Literal[0] | None = None
    audio: Unserved = None
    web_search_options: Unserved = None
    reasoning_effort: Unserved = None
    verbosity: Unserved = None

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("max_tokens: expected either it or `max_completion_tokens`, got both")
        return self


class ResponseFormat(_Strict):
    """The format of a reply."""

    type: Literal["text"]


class CompletionRequest(GenerationRequest):
    """The body of a POST to /v1/completions."""

    default_tokens = 16

    prompt: Prompts
    best_of: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    echo: Unserved = None
    logprobs: Unserved = None
    suffix: Unserved = None

    @model_validator(mode="after")
    def _check_best_of(self) -> Self:
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise ValueError("best_of: expected as many as `n`; choosing among more is not served")
        return self


class EmbeddingRequest(_Strict):
    """The body of a POST to /v1/embeddings."""

    model: Short
    input: Texts
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Unserved = None
    user: Short | None = None


Request = TypeVar("Request", bound=BaseModel)


def parse(body: bytes, kind: type[Request]) -> Request:
    """Read the body of a request.

    Raises:
        RequestError: the body is not JSON, or a parameter is wrong; the error names it.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> RequestError:
    """Return the first mistake as an error that names the parameter."""
    first = error.errors(include_url=False, include_context=False)[0]
    kind, message = first["type"], first["msg"].removeprefix("Value error, ")
    if kind == "json_invalid":
        return RequestError(f"body: expected JSON, got something else: {message}", code="invalid_json")
    if not first["loc"]:
        if kind == "value_error":
            return RequestError(message, param=message.partition(":")[0], code="invalid_value")
        return RequestError(f"body: {message}", code="invalid_type")
    param = _path(first["loc"])
    if kind == "extra_forbidden":
        return RequestError(f"Unrecognized request argument supplied: {param}", param=param, code="unknown_parameter")
    if kind == "missing":
        return RequestError(f"{param}: missing; this parameter is required", param=param, code="missing_parameter")
    given: Any = first.get("input")
    shown = ascii(given) if isinstance(given, (str, int, float, type(None))) else f"a {type(given).__name__}"
    shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
    return RequestError(f"{param}: {message}, got {shown}", param=param, code="invalid_value")


def _path(keys: tuple[int | str, ...]) -> str:
    """Return the path of a value, such as ``messages[0].content``; long keys are cut, odd ones escaped."""
    path = ""
    for key in keys:
        shown = key if isinstance(key, int) or key.isidentifier() else ascii(key)
        shown = str(shown)[:_SHOWN]
        path += f"[{shown}]" if isinstance(key, int) else f".{shown}" if path else shown
    return path
