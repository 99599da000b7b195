"""Does the work of the app in the engine's thread: reads, summarizes, answers, and keeps what came of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from simmim.errors import CheckpointError, DataError
from simmim.reading.folder import content_of
from simmim.reading.reader import Reader
from simmim.serve.app.board import Task
from simmim.serve.app.digests import save_digest
from simmim.serve.app.pages import Page, Pages
from simmim.serve.app.shelf import Entry, Shelf
from simmim.tasks.reading import Library, open_library, settings_of
from simmim.tasks.streaming import TextStream
from simmim.tasks.summarization.extracts.extract import LENGTHS, Digest, Extractor
from simmim.tasks.templates import apply_template

__all__ = ["Desk", "Extracted", "Parser"]

_STEP = 0.1


class Extracted(Protocol):
    """The text of a document, as `simmim.cli.documents` extracts it."""

    @property
    def text(self) -> str:
        """The whole text."""

    @property
    def note(self) -> str:
        """What of the document is not in the text."""

    @property
    def pages(self) -> Sequence[int]:
        """Where each page begins."""

    @property
    def headings(self) -> Sequence[tuple[int, int]]:
        """Where each heading begins, and its level."""

    @property
    def wrapped(self) -> bool:
        """Whether a paragraph may have several lines."""


class Parser(Protocol):
    """Extracts the text of documents in a process with limits."""

    def extract(self, name: str, content: bytes) -> Extracted:
        """Return the text of a document; raise DataError if it cannot be read."""

    def close(self) -> None:
        """End the process; what it is extracting fails."""


@dataclass
class Desk:
    """What the work needs.

    Attributes:
        reader: the model that reads and answers.
        shelf: the documents.
        parser: extracts text.
        extractor: makes digests.
        pages: the open documents.
    """

    reader: Reader
    shelf: Shelf
    parser: Parser
    extractor: Extractor
    pages: Pages
    _library: tuple[Path, str, Library] | None = None

    def readable(self, entry: Entry) -> bool:
        """Whether the model of the app has read the document, so that it can be asked."""
        found = entry.manifest
        return found is not None and content_of(found.model) == content_of(self.reader.fingerprint)

    def read(self, entry: Entry, task: Task) -> None:
        """Read an uploaded document, or go on where that was interrupted, and make its digest.

        Raises:
            Cancelled: it was stopped; what was read stays.
            DataError: it cannot be read.
            CheckpointError: the folder is damaged, or of another model.
        """
        began = time.monotonic()
        try:
            task.advance("extracting")
            found = self._extract(entry, task)
            entry.note(note=found.note, wrapped=found.wrapped, error="")
            task.advance("tokenizing")

            def progress(done: int, total: int) -> None:
                task.advance("reading" if done < total else "indexing", done, total)

            self.reader.read(
                entry.folder, found.text, entry.name, found.pages, progress, headings=tuple(found.headings)
            )
        except (DataError, CheckpointError, OSError) as error:
            entry.note(error=str(error))
            raise
        now = self.shelf.entry(entry.id) or entry
        now.note(seconds=round(entry.about.get("seconds", 0) + time.monotonic() - began, 1), error="")
        self.digest(self.pages.open(now), task)

    def _extract(self, entry: Entry, task: Task) -> Extracted:
        """Extract the text beside the engine's thread, so that it can be stopped."""
        content, found = entry.original(), list[Any]()

        def work() -> None:
            try:
                found.append(self.parser.extract(entry.name, content))
            except Exception as error:
                found.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                task.check()
                thread.join(_STEP)
        finally:
            if thread.is_alive():
                self.parser.close()
                thread.join()
        [result] = found
        if isinstance(result, Exception):
            raise result
        extracted: Extracted = result
        return extracted

    def digest(self, page: Page, task: Task) -> Digest:
        """Return the digest of a document, made and kept where there is none yet.

        Raises:
            Cancelled: it was stopped.
            DataError: the text has no words.
        """
        if page.digest is None:
            about, done = page.document.about, 0

            def progress(count: int, total: int) -> None:
                nonlocal done
                done += count
                task.advance("summarizing", done, total)

            task.advance("summarizing")
            wrapped = bool(page.entry.about.get("wrapped", True))
            page.digest = self.extractor(
                page.text, about.name, about.known_headings or None, wrapped=wrapped, progress=progress
            )
            save_digest(page.entry.work / "digest.json", page.digest, page.sha256)
        return page.digest

    def summarize(self, page: Page, length: str, span: tuple[int, int] | None, task: Task) -> dict[str, Any]:
        """Return the sentences that summarize a document, or its characters `span`.

        Raises:
            Cancelled: it was stopped.
            DataError: there are no words.
        """
        if span is None:
            digest, shift = self.digest(page, task), 0
        else:
            task.advance("summarizing")
            part = page.text[span[0] : span[1]]
            digest, shift = self.extractor(part, page.entry.name, progress=lambda *_: task.check()), span[0]
        return self.summary(page, digest, length, shift)

    def summary(self, page: Page, digest: Digest, length: str, shift: int = 0) -> dict[str, Any]:
        """Return the sentences of a digest, whose text begins `shift` characters behind the page's."""
        found = []
        for one in digest.summary(length):
            found.append({**page.sentence(one), **page.where(one.begin + shift, one.end + shift)})
        return {"length": length, "words": LENGTHS[length], "of": digest.words, "sentences": found}

    def ask(
        self,
        page: Page,
        messages: Sequence[dict[str, str]],
        task: Task,
        write: Callable[[str], None],
        *,
        passages: int = 3,
        max_new_tokens: int = 256,
        do_sample: bool = False,
        **settings: Any,
    ) -> dict[str, Any]:
        """Answer a question about the documents of a folder, and keep the answer in the history.

        Args:
            page: one of the documents.
            messages: the conversation; the last is the question.
            task: the job.
            write: gets the answer piece by piece.
            passages: segments that are read.
            max_new_tokens: longest answer.
            do_sample: draw the tokens.
            **settings: further arguments of `generate`.

        Raises:
            Cancelled: it was stopped.
            DataError: the question is blank or too long.
            CheckpointError: the folder was read by another model, or not to its end.
        """
        task.advance("finding")
        library = self._open(page.entry)
        stream = TextStream(library.reader.tokenizer, write)
        found = library.answer(
            messages,
            passages=passages,
            streamer=stream,
            max_new_tokens=max_new_tokens,
            do_sample=do_sample,
            **settings,
        )
        shown = []
        documents = [document.about.name for document in library.opened.documents]
        for passage in found.passages:
            number = documents.index(passage.document)
            of = self._beside(page, number)
            own = of.where(passage.begin, passage.end) if of is not None else {}
            shown.append({**asdict(passage), **own, "id": of.entry.id if of is not None else None})
        result = {
            "question": messages[-1]["content"],
            **asdict(found),
            "passages": shown,
            "model": self.reader.fingerprint,
        }
        page.entry.remember({"kind": "ask", **result})
        return result

    def _beside(self, page: Page, number: int) -> Page | None:
        """Return another document of the same folder."""
        if number == page.entry.number:
            return page
        found = (e for e in self.shelf.entries() if e.folder == page.entry.folder and e.number == number)
        entry = next(found, None)
        return None if entry is None else self.pages.open(entry)

    def _open(self, entry: Entry) -> Library:
        """Open a folder to ask about it; the last one stays open."""
        assert entry.manifest is not None, "it has a page"
        state = "/".join(document.sha256 for document in entry.manifest.documents)
        if self._library is None or self._library[:2] != (entry.folder, state):
            _, settings, _ = settings_of(entry.folder, entry.manifest)
            own = self.reader
            if settings != own.settings:
                own = Reader(
                    own.model,
                    own.tokenizer,
                    fingerprint=own.fingerprint,
                    render=apply_template,
                    heads=own.heads,
                    settings=settings,
                    encoder=own.encoder,
                    source=own.source,
                )
            self._library = entry.folder, state, open_library(entry.folder, own, entry.manifest)
        return self._library[2]
