"""Ways to answer a question about a long document with one model: ours and those that it is compared with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers.cache_utils import DynamicCache

from simmim.reading.answering import fitting, instruct, recall, tokens_of, with_sink
from simmim.reading.cache import ReadingCache
from simmim.reading.finder import Found, fuse
from simmim.reading.interface import decoder_of
from simmim.tasks.reading import Library, open_library

__all__ = ["SYSTEMS", "Asked", "Document"]

_CHUNK = 1024


@dataclass(frozen=True)
class Asked:
    """An answer, the segments that were chosen for it in the order of their votes, and the keys that it read."""

    text: str
    found: list[int]
    keys: int


class Document:
    """A document that a library holds, with what each system keeps of it.

    Args:
        library: holds this document only; its reader keeps keys.
        passages: segments that are chosen for a question, each with its neighbours.
        tokens: longest answer.
    """

    def __init__(self, library: Library, passages: int, tokens: int) -> None:
        self.library, self.passages, self.tokens = library, passages, tokens
        self.reader = library.reader
        self.ids: list[int] = library.opened.documents[0].tokens.ids.tolist()
        self.budget = (3 * passages + 1) * self.reader.settings.segment
        self._full: DynamicCache | None = None
        self._streaming: ReadingCache | None = None
        self._scores: tuple[str, dict[str, Any]] = ("", {})

    def after(self, question: str) -> list[int]:
        """Return the tokens that follow the document."""
        return self.reader.prompt.after([{"role": "user", "content": instruct(question)}])

    def scores(self, question: str) -> dict[str, Any]:
        """Return the scores of all segments by each index, computed once a question."""
        if self._scores[0] != question:
            self._scores = (question, self.library.finder.scores(question))
        return self._scores[1]

    @torch.inference_mode()
    def full(self, question: str) -> Asked:
        """Read everything with the model's own attention."""
        if self._full is None:
            decoder = decoder_of(self.reader.model)
            self._full = DynamicCache(config=decoder.config)
            for begin in range(0, len(self.ids), _CHUNK):
                decoder(input_ids=self._row(self.ids[begin : begin + _CHUNK]), past_key_values=self._full)
        text = self.write([*self.ids, *self.after(question)], self._full)
        self._full.crop(len(self.ids) - self._full.get_seq_length())
        return Asked(text, [], len(self.ids))

    @torch.inference_mode()
    def streaming(self, question: str) -> Asked:
        """Read with the sink and a sliding window of as many keys as ours reads (StreamingLLM, arXiv 2309.17453)."""
        if self._streaming is None:
            near = self.budget // self.reader.settings.segment - 2
            self._streaming = ReadingCache(self.reader.model, segment=self.reader.settings.segment, near=near)
            for begin in range(0, len(self.ids), _CHUNK):
                part = self._row(self.ids[begin : begin + _CHUNK])
                decoder_of(self.reader.model)(input_ids=part, past_key_values=self._streaming)
                self._streaming.drop()
        text = self.write([*self.ids, *self.after(question)], copy.deepcopy(self._streaming))
        return Asked(text, [], self.budget)

    def window(self, question: str) -> Asked:
        """Read the end of the document, as many tokens as ours reads."""
        before = self.reader.prompt.before()
        ids = [*before, *self.ids[len(before) :][-self.budget :]]
        return Asked(self.write([*ids, *self.after(question)], None), [], len(ids))

    def bm25(self, question: str) -> Asked:
        """Choose segments by their words, and read them again."""
        return self._again(question, ("words",))

    def retrieval(self, question: str) -> Asked:
        """Choose segments by their words and vectors, and read them again."""
        return self._again(question, ("words", "meaning"))

    def ours(self, question: str) -> Asked:
        """Choose by all indexes, and take keys and values from the cache."""
        found = self._found(question, None)
        cache, ids = recall(self.reader, self.library.opened, self._chosen(found))
        return Asked(self.write([*ids, *self.after(question)], cache), self._numbers(found), len(ids))

    def ours_text(self, question: str) -> Asked:
        """Choose by all indexes, and read the chosen segments again."""
        return self._again(question, None)

    def _again(self, question: str, names: Sequence[str] | None) -> Asked:
        found = self._found(question, names)
        ids = tokens_of(self.library.opened, with_sink(self._chosen(found)))
        return Asked(self.write([*ids, *self.after(question)], None), self._numbers(found), len(ids))

    def _found(self, question: str, names: Sequence[str] | None) -> list[Found]:
        scores = self.scores(question)
        total, _ = fuse({name: scores[name] for name in names or scores})
        best = (-total).argsort(kind="stable")[: max(self.passages, 8)]
        return [Found(self.library.opened.locate(int(i)), float(total[i]), {}) for i in best]

    def _chosen(self, found: list[Found]) -> list[Segment]:
        return fitting(found[: self.passages], self.library.opened, 10**6)

    def _numbers(self, found: list[Found]) -> list[int]:
        return [each.segment.number for each in found]

    @torch.inference_mode()
    def write(self, ids: list[int], cache: Any) -> str:
        """Write an answer, greedily."""
        row = self._row(ids)
        generate: Any = self.reader.model.generate
        out = generate(
            input_ids=row,
            attention_mask=torch.ones_like(row),
            past_key_values=cache,
            max_new_tokens=self.tokens,
            do_sample=False,
        )
        return str(self.reader.tokenizer.decode(out[0, len(ids) :], skip_special_tokens=True)).strip()

    def _row(self, ids: Sequence[int]) -> torch.Tensor:
        return torch.tensor([list(ids)], device=self.reader.model.device)


SYSTEMS: dict[str, Callable[[Document, str], Asked]] = {
    "full": Document.full,
    "streaming": Document.streaming,
    "window": Document.window,
    "bm25": Document.bm25,
    "retrieval": Document.retrieval,
    "ours": Document.ours,
    "ours-text": Document.ours_text,
}


def open_document(folder: Path, reader: Any, passages: int, tokens: int) -> Document:
    """Open the folder of one document."""
    return Document(open_library(folder, reader), passages, tokens)
