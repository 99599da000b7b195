"""Renders chat templates, which come with a model and may be anything, within limits of time and memory."""

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
_BYTES = 2**30  # that a template may take beside what the process has
_LONGEST = 2**27  # characters that it may write
_GENERATION = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")  # a tag of transformers that Jinja does not know


def apply_template(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]], **options: Any) -> Any:
    """Write a conversation as a tokenizer's chat template has it.

    Templates run in the sandbox of transformers, which keeps them from files and Python but not from loops without
    end or strings without limit; those end here with an error. Any thread may call this.

    Args:
        tokenizer: a tokenizer with a chat template.
        messages: the conversation.
        **options: what `apply_chat_template` of transformers takes.

    Returns:
        What `apply_chat_template` returns.

    Raises:
        DataError: a text holds a control token or is no valid Unicode, or the template refuses a message, fails, or
            takes more than 3 seconds or 1 GiB of memory.
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
    except Exception as error:  # a template may fail in any way that an expression of Python can
        raise DataError(f"chat template: cannot write the conversation: {type(error).__name__}: {error}") from error
    if isinstance(rendered, str):
        if len(rendered) > _LONGEST:
            raise DataError(f"chat template: expected at most {_LONGEST:,} characters, got {len(rendered):,}")
        check_text("chat template", rendered)
    return rendered


def _check_texts(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
) -> None:
    """Refuse texts that no tokenizer can encode, or that a model would take for more than a text."""
    refused = control_tokens(tokenizer)
    for place, message in enumerate(messages, start=1):
        for key, text in message.items():
            if isinstance(text, str):
                check_text(f"messages: message {place}: {key}", text)
                check_no_control_token(f"chat template: messages: message {place}", text, refused)
    for key, text in options.items():
        if isinstance(text, str):
            check_text(key, text)
            check_no_control_token(f"chat template: {key}", text, refused)


def _check_powers(template: object) -> None:
    """Refuse powers: Python computes one in a single step, however long that takes, and nothing interrupts it."""
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
    """Ends a template; no handler in it catches this."""


@contextmanager
def _limited() -> Iterator[None]:
    """Give a block of Python so many seconds, checked at each of its lines, and so much memory."""
    end, before = time.monotonic() + _SECONDS, sys.gettrace()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if time.monotonic() > end:
            raise _TooSlowError
        return trace

    with _memory_limit():
        sys.settrace(trace)
        try:
            yield
        finally:
            sys.settrace(before)


@contextmanager
def _memory_limit() -> Iterator[None]:
    """Let the process take 1 GiB more at most, where the system can (Linux)."""
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
