"""Reads documents in a subprocess, so that a document that hangs, fills the memory or crashes stops no other."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from simmim.cli.documents import Extracted, check_library, extract, kind_of
from simmim.cli.inputs import read_content
from simmim.errors import DataError, SimMIMError

__all__ = ["Document", "DocumentReader", "read_documents", "serve"]

_SECONDS, _SECONDS_PER_MIB = 7.0, 30.0  # time limit of a document; a page of a PDF takes some hundredths
_BYTES, _BYTES_PER_BYTE = 2**31, 16  # memory limit

_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from simmim.cli.document_worker import serve; serve()"


@dataclass(frozen=True)
class Document:
    """Holds a document that was read, or why it was not.

    Attributes:
        index: its index among the documents of the run.
        name: its file.
        sha256: of its content; None if that cannot be had.
        extracted: its text, or the error.
    """

    index: int
    name: str
    sha256: str | None
    extracted: Extracted | DataError


def read_documents(
    names: Sequence[str], encoding: str | None, is_done: Callable[[str, str | None], bool]
) -> Iterator[Document | None]:
    """Read documents one after the other.

    Args:
        names: their files.
        encoding: as for `simmim.cli.documents.extract`.
        is_done: says of a name and a digest whether that document needs no reading.

    Yields:
        Each document; None for one that is done.
    """
    with DocumentReader() as reader:
        for index, name in enumerate(names):
            sha256 = None
            try:
                content = read_content(name)
                sha256 = content.sha256
                found: Extracted | DataError | None = None
                if not is_done(name, sha256):
                    found = reader.extract(name, content.content, encoding)
            except DataError as error:
                found = None if is_done(name, sha256) else error
            yield None if found is None else Document(index, name, sha256, found)


class DocumentReader:
    """Extracts the text of documents; those that need a parser in a subprocess.

    The subprocess starts with the first of them, and restarts after a failure.
    """

    def __init__(self, seconds: float = _SECONDS) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    def extract(self, name: str, content: bytes, encoding: str | None = None) -> Extracted:
        """Call `simmim.cli.documents.extract` with a time limit.

        Raises:
            DataError: as for `extract`, or the document takes too long or crashes the subprocess.
            ConfigError: as for `extract`.
        """
        if kind_of(name, content) == "text":
            return extract(name, content, encoding)
        check_library(name, content)
        limit = self._seconds + _SECONDS_PER_MIB * len(content) / 2**20
        request = {"name": name, "encoding": encoding, "size": len(content), "seconds": limit}
        answer = self._ask(request, content)
        if "error" in answer:
            raise DataError(answer["error"])
        headings = tuple((begin, level) for begin, level in answer["headings"])
        return Extracted(answer["text"], answer["note"], tuple(answer["pages"]), headings, answer["wrapped"])

    def _ask(self, request: dict[str, Any], content: bytes) -> dict[str, Any]:
        process = self._process = self._process or _start()
        assert process.stdin is not None and process.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(request["seconds"], stop)
        timer.daemon = True
        answer = b""
        try:
            timer.start()
            with contextlib.suppress(OSError):  # the subprocess has ended
                process.stdin.write(json.dumps(request).encode() + b"\n" + content)
                process.stdin.flush()
                answer = process.stdout.readline()
        finally:
            timer.cancel()
            if not answer.endswith(b"\n"):  # also on Ctrl-C
                self.close()
        if answer.endswith(b"\n"):
            found: dict[str, Any] = json.loads(answer)
            return found
        what = f"takes more than {request['seconds']:.0f} s to read" if late.is_set() else "makes its reader crash"
        raise DataError(f"{request['name']}: expected a document that can be read, this one {what}; convert it to text")

    def close(self) -> None:
        """Kill the subprocess, if it runs."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        with contextlib.suppress(OSError), process:  # waits for it and closes the pipes
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _start() -> subprocess.Popen[bytes]:
    """Start the subprocess; -P prevents imports from the current folder."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _PROGRAM, str(Path(__file__).parents[2])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    process.stdout.readline()  # it is ready: the time limits exclude its start
    return process


def serve() -> None:
    """Read documents from standard input until its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C
    requests = sys.stdin.buffer
    with os.fdopen(os.dup(1), "wb") as answers, Path(os.devnull).open("wb") as null:
        os.dup2(null.fileno(), 1)  # output of libraries must not reach the parent process
        answers.write(b"\n")
        answers.flush()
        while line := requests.readline():
            request = json.loads(line)
            answer = _answer(request, requests.read(request["size"]))
            answers.write(json.dumps(answer).encode() + b"\n")
            answers.flush()


def _answer(request: dict[str, Any], content: bytes) -> dict[str, Any]:
    """Read a document, within limits."""
    _limit_memory(_BYTES + _BYTES_PER_BYTE * len(content))
    _alarm(int(request["seconds"]) + 5)  # in case the parent process has gone
    try:
        return asdict(extract(request["name"], content, request["encoding"]))
    except SimMIMError as error:
        return {"error": str(error)}
    finally:
        _alarm(0)  # the next document may be long in coming


def _alarm(seconds: int) -> None:
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


def _limit_memory(size: int) -> None:
    try:
        import resource
    except ImportError:  # on Windows
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    with contextlib.suppress(OSError, ValueError):  # not every system supports this limit
        resource.setrlimit(resource.RLIMIT_AS, (size if hard < 0 else min(size, hard), hard))
