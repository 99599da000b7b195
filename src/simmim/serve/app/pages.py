"""An open document of the app: its text, where its segments and headings begin, and its digest."""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cached_property
from typing import Any

import numpy as np

from simmim.reading.location import page_of
from simmim.reading.opened import OpenDocument
from simmim.reading.outline import Outline
from simmim.serve.app.cells import map_of, segment_starts
from simmim.serve.app.digests import load_digest
from simmim.serve.app.offsets import Offsets
from simmim.serve.app.shelf import Entry
from simmim.serve.errors import RequestError
from simmim.tasks.summarization.extracts.candidates import Candidate
from simmim.tasks.summarization.extracts.extract import Digest

__all__ = ["Page", "Pages"]

_KEPT = 4
_MOST_HEADINGS = 5_000
_SEGMENT = 64


class Page:
    """A document that is shown. All positions that it gives are in UTF-16 code units.

    Args:
        entry: the document.

    Raises:
        RequestError: its text was not written yet, or its folder cannot be read (409).
        CheckpointError: it is damaged.
    """

    def __init__(self, entry: Entry) -> None:
        about = entry.document
        if entry.problem or about is None or entry.manifest is None:
            reason = entry.problem or f"{entry.name}: its text is not extracted yet; wait until it is read"
            raise RequestError(reason, status=409, code="not_ready")
        self.entry, self.sha256 = entry, about.sha256
        self.length = int(entry.manifest.settings.get("segment", _SEGMENT))
        self.document = OpenDocument(entry.folder, entry.number, about, self.length)
        self.text = self.document.text
        self.offsets = Offsets(self.text)
        self.digest: Digest | None = load_digest(entry.work / "digest.json", about.sha256, len(self.text))

    @cached_property
    def starts(self) -> np.ndarray:
        """Return the first character of each segment, int64, [S]."""
        return segment_starts(self.document, self.length)

    @cached_property
    def map(self) -> dict[str, Any]:
        """Return the cells of the map."""
        return map_of(self.starts, self.offsets)

    @cached_property
    def segment_units(self) -> list[int]:
        """Return where each segment begins."""
        return list(self.offsets.all_to_units(self.starts).tolist())

    @cached_property
    def headings(self) -> list[tuple[int, int, int, str]]:
        """Return begin, end, level from 1 and text of each heading. Cost: two passes over the lines."""
        outline = Outline(self.text, self.document.about.known_headings)
        return [
            (
                self.offsets.to_units(begin),
                self.offsets.to_units(end),
                len(outline.over(begin)) + 1,
                " ".join(self.text[begin:end].split()).strip("# ")[:120],
            )
            for begin, end in outline.heading_spans[:_MOST_HEADINGS]
        ]

    @cached_property
    def pages(self) -> list[int]:
        """Return where each page begins; empty for a document without pages."""
        return [self.offsets.to_units(begin) for begin in self.document.about.pages]

    @cached_property
    def _lines(self) -> np.ndarray:
        return np.flatnonzero(np.frombuffer(self.text.encode("utf-32-le"), dtype=np.uint32) == ord("\n"))

    def where(self, begin: int, end: int) -> dict[str, Any]:
        """Return what the page is given about characters `begin` to `end`: their position, line and page."""
        line = int(np.searchsorted(self._lines, begin)) + 1
        first, last = self.offsets.to_units(begin), self.offsets.to_units(end)
        return {"begin": first, "end": last, "line": line, "page": page_of(self.document.about.pages, begin)}

    def sentence(self, one: Candidate) -> dict[str, Any]:
        """Return what the page is given about a sentence."""
        return {"text": one.text, "headings": list(one.headings), **self.where(one.begin, one.end)}


class Pages:
    """The documents that were shown last, of which the text stays in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], Page] = OrderedDict()

    def open(self, entry: Entry) -> Page:
        """Open a document.

        Raises:
            RequestError: as for `Page`.
            CheckpointError: as for `Page`.
        """
        key = entry.id, entry.document.sha256 if entry.document is not None else ""
        with self._lock:  # one request opens a document, the others wait for it
            found = self._kept.pop(key, None) or Page(entry)
            found.entry = entry  # it may have been opened while it was read
            self._kept[key] = found
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found

    def forget(self, entry: Entry) -> None:
        """Forget a document that was removed."""
        with self._lock:
            for key in [key for key in self._kept if key[0] == entry.id]:
                del self._kept[key]
