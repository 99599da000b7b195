"""Checks annotated shapes in the first calls of a test: those that follow are the same ones over and over."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from beartype import beartype
from jaxtyping import config

CALLS = 1000
"""Checks a test; a forward pass of a tiny model takes some hundred."""
_left = CALLS


def begin(wanted: bool) -> None:
    """Start a test, which checks shapes or not."""
    global _left
    _left = CALLS
    config.update("jaxtyping_disable", not wanted)


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check a function's arguments and result, and stop all checks once there were enough."""
    check = beartype(function)

    @functools.wraps(check)
    def call(*arguments: Any, **named: Any) -> Any:
        global _left
        _left -= 1
        if not _left:
            config.update("jaxtyping_disable", True)
        return check(*arguments, **named)

    return call
