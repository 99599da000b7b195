"""Runs a `simmim` command in this process and judges its outcome."""

from __future__ import annotations

import traceback
from pathlib import Path

from typer.testing import CliRunner, Result

from lab.fuzz.cases import Verdict

__all__ = ["judge", "run"]

_CONTROLS = {chr(code) for code in (*range(32), 127, *range(128, 160))} - set("\n\t")


def run(workdir: Path, *arguments: object, typed: str | bytes | None = None) -> Result:
    """Run a command.

    Args:
        workdir: a folder for the caches of the library.
        arguments: the arguments of the command.
        typed: standard input.
    """
    from simmim.cli.main import app

    environment = {"SIMMIM_CACHE": str(workdir / "cache"), "HF_HOME": str(workdir / "cache"), "COLUMNS": "120"}
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=typed, env=environment)


def judge(result: Result) -> Verdict:
    """Judge whether a command accepted its input, or refused it properly: with a message and exit code 1 or 2."""
    accepted = result.exit_code == 0
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return Verdict(False, "traceback", "".join(traceback.format_exception(result.exception)))
    if result.exit_code not in (0, 1, 2):
        return Verdict(False, "exit code", f"{result.exit_code}: {result.stderr}")
    if "Traceback (most recent call last)" in result.output:
        return Verdict(accepted, "traceback", result.output)
    if not accepted and not (result.stderr.strip() or result.stdout.strip()):
        return Verdict(False, "silence", "it failed without a word")
    controls = _CONTROLS & set(result.stderr)
    if controls:
        return Verdict(accepted, "control characters", f"{controls!r} on standard error: {result.stderr!r}")
    return Verdict(accepted)
