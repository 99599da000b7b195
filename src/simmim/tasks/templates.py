"""Renders chat templates, which are untrusted, within limits of time and memory."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from jinja2 import Environment, TemplateError, nodes
from transformers import PreTrainedTokenizerBase

from simmim.data.control_tokens import check_no_control_token, control_tokens
from simmim.data.unicode import check_text
from simmim.errors import DataError

if sys.platform != "win32":
    import resource

__all__ = ["apply_template"]

_SECONDS = 3.0
_BYTES = 2**30  # additional memory for a template
_LONGEST = 2**27  # maximum characters of its output
_GENERATION = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")  # a tag of transformers that Jinja does not know


def apply_template(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]], **options: Any) -> Any:
    """Format a conversation with a tokenizer's chat template.

    Templates run in the sandbox of transformers, which denies access to files and Python, but allows infinite loops and
    huge strings; here these raise an error. Any thread may call this.

    Returns:
        The result of `apply_chat_template`.

    Raises:
        DataError: a text contains a control token or is not valid Unicode, or the template refuses a message, fails,
            or takes more than 3 seconds of processor time or 1 GiB of memory.
    """
    _check_powers(tokenizer.chat_template)
    _check_texts(tokenizer, messages, options)
    try:
        with _limited():
            rendered = tokenizer.apply_chat_template([dict(message) for message in messages], **options)
    except TemplateError as error:
        raise DataError(f"chat template: {error}") from error
    except (MemoryError, RecursionError) as error:
        raise DataError(
            f"chat template: expected one that writes a conversation in less than {_BYTES >> 20:,} MiB and without "
            "end in itself, got one that does not; replace chat_template.jinja in the model's folder"
        ) from error
    except _TooSlowError as error:
        raise DataError(
            f"chat template: expected one that writes a conversation in {_SECONDS:.0f} s, got one that does not; "
            "replace chat_template.jinja in the model's folder"
        ) from error
    except Exception as error:  # a template can raise errors of any type
        raise DataError(f"chat template: cannot write the conversation: {type(error).__name__}: {error}") from error
    if isinstance(rendered, str):
        if len(rendered) > _LONGEST:
            raise DataError(f"chat template: expected at most {_LONGEST:,} characters, got {len(rendered):,}")
        check_text("chat template", rendered)
    return rendered


def _check_texts(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
) -> None:
    """Refuse texts that are not valid Unicode or contain a control token."""
    refused = control_tokens(tokenizer)
    for number, message in enumerate(messages, start=1):
        for key, text in message.items():
            if isinstance(text, str):
                check_text(f"messages: message {number}: {key}", text)
                check_no_control_token(f"chat template: messages: message {number}", text, refused)
    for key, text in options.items():
        if isinstance(text, str):
            check_text(key, text)
            check_no_control_token(f"chat template: {key}", text, refused)


def _check_powers(template: object) -> None:
    """Refuse powers: Python computes a power in one step that nothing can interrupt."""
    for source in template.values() if isinstance(template, dict) else [template]:
        if not isinstance(source, str):
            raise DataError(f"chat template: expected a text, got {type(source).__name__}")
        if "**" not in source:
            continue
        try:
            parsed = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(_GENERATION.sub("", source))
        except (TemplateError, RecursionError) as error:
            raise DataError(f"chat template: {error}") from error
        if parsed.find(nodes.Pow) is not None:
            raise DataError("chat template: expected one without powers (**), which may take forever")


class _TooSlowError(BaseException):
    """Ends a template; derives from BaseException so that no handler catches it."""


@contextmanager
def _limited() -> Iterator[None]:
    """Limit the processor time of a block, checked at each line of Python, and its memory."""
    end, previous = time.thread_time() + _SECONDS, sys.gettrace()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if time.thread_time() > end:
            raise _TooSlowError
        return trace

    with _memory_limit():
        sys.settrace(trace)
        try:
            yield
        finally:
            sys.settrace(previous)


@contextmanager
def _memory_limit() -> Iterator[None]:
    """Limit additional memory of the process to 1 GiB (Linux only)."""
    if not sys.platform.startswith("linux"):
        yield
        return
    with open("/proc/self/statm", encoding="ascii") as stream:  # noqa: PTH123
        size = int(stream.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = size + _BYTES
    if soft != resource.RLIM_INFINITY and soft <= wanted:
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
