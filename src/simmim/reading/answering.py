"""Answers questions about a folder of documents: finds, reads what was found, writes, and says where it stands."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteriaList
from transformers.cache_utils import DynamicCache
from transformers.generation.streamers import BaseStreamer

from simmim.data.unicode import check_text
from simmim.errors import DataError
from simmim.reading.finder import Finder, Found, with_neighbours
from simmim.reading.interface import decoder_of
from simmim.reading.location import line_and_page
from simmim.reading.opened import OpenFolder, Segment
from simmim.reading.reader import Reader
from simmim.reading.rotation import Rotation, layer_type_of, uses_rotation

__all__ = ["Answer", "Passage", "answer", "recall", "rotated_cache", "tokens_of", "with_sink"]

_REPEATED = 12  # tokens that an answer writes twice before it is ended


@dataclass(frozen=True)
class Passage:
    """A part of a document that was read for an answer.

    Attributes:
        document: name of its file.
        begin: index of its first character in the document.
        end: of the first behind it.
        line: number of its first line, from 1.
        page: number of its page, from 1; None in a document without pages.
        text: the part.
        weight: its share of the votes of all parts, from 0 to 1.
    """

    document: str
    begin: int
    end: int
    line: int
    page: int | None
    text: str
    weight: float


@dataclass(frozen=True)
class Answer:
    """What a model answered.

    Attributes:
        text: the answer.
        complete: whether the model ended it itself.
        passages: what was read for it, in the order of the documents.
        read_tokens: how many tokens that were, the question included.
        new_tokens: tokens of the answer.
        seconds: time to find and to write.
        first_token_seconds: time until the first token was written.
    """

    text: str
    complete: bool
    passages: tuple[Passage, ...]
    read_tokens: int
    new_tokens: int
    seconds: float
    first_token_seconds: float


@torch.inference_mode()
def answer(
    reader: Reader,
    opened: OpenFolder,
    finder: Finder,
    messages: Sequence[Mapping[str, str]],
    *,
    passages: int = 3,
    streamer: BaseStreamer | None = None,
    stopping_criteria: StoppingCriteriaList | None = None,
    **settings: Any,
) -> Answer:
    """Answer the last message of a conversation about documents.

    Args:
        reader: the model.
        opened: the documents.
        finder: finds segments in them.
        messages: the conversation; the last is the question.
        passages: segments that are read, each with its neighbours.
        streamer: gets the tokens as they are written.
        stopping_criteria: as `generate` takes them.
        **settings: arguments of `generate`.

    Raises:
        DataError: the question is blank, no valid Unicode, or longer than the model's window has space for.
    """
    if not messages:
        raise DataError("messages: expected a question, got none")
    check_text("question", messages[-1]["content"])
    began = time.perf_counter()
    after = reader.prompt.after([*messages[:-1], {**messages[-1], "content": instruct(messages[-1]["content"])}])
    space = _space(reader, len(after) + int(settings.get("max_new_tokens", 20)))
    found = finder.find(messages[-1]["content"], passages)
    chosen = fitting(found, opened, space // reader.settings.segment - 1)
    cache, ids = recall(reader, opened, chosen)
    whole = torch.tensor([[*ids, *after]], device=reader.model.device)
    clock, loop = _Clock(), _Loop(whole.shape[1])
    generate: Any = reader.model.generate
    written = generate(
        input_ids=whole,
        attention_mask=torch.ones_like(whole),
        past_key_values=cache,
        streamer=streamer,
        stopping_criteria=StoppingCriteriaList([*(stopping_criteria or []), clock, loop]),
        **settings,
    )[0, whole.shape[1] :].tolist()
    text = str(reader.tokenizer.decode(written[: loop.end], skip_special_tokens=True)).strip()
    ends = reader.model.generation_config.eos_token_id
    complete = bool(written) and written[-1] in (ends if isinstance(ends, list) else [ends])
    ended = time.perf_counter()
    spent, first = ended - began, (clock.first or ended) - began
    return Answer(text, complete, passages_of(chosen, found, opened), whole.shape[1], len(written), spent, first)


def _space(reader: Reader, taken: int) -> int:
    """Return the tokens of the model's window that question and answer leave for passages.

    Raises:
        DataError: they are too few.
    """
    window: int = decoder_of(reader.model).config.max_position_embeddings
    most = window - 4 * reader.settings.segment
    if taken > most:
        raise DataError(
            f"question: expected at most {most:,} tokens with the conversation and the answer, which the model's "
            f"window of {window:,} leaves, got {taken:,}; shorten it"
        )
    return window - taken


def instruct(question: str) -> str:
    """Write a question as the model gets it: small models otherwise talk about the document instead of answering."""
    if re.search("[\u4e00-\u9fff]", question):
        return f"问题：{question}\n请根据文中内容简要回答。"
    return f"Question: {question}\nAnswer briefly, from the text."


class _Clock:
    """Notes when the first token was written."""

    def __init__(self) -> None:
        self.first: float | None = None

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        self.first = self.first or time.perf_counter()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


class _Loop:
    """Ends an answer that repeats itself: small models go on for ever, word for word.

    Args:
        prompt: tokens before the answer.

    Attributes:
        end: tokens of the answer before its repetition; None while there is none.
    """

    def __init__(self, prompt: int) -> None:
        self._prompt = prompt
        self._next = prompt
        self._seen: set[tuple[int, ...]] = set()
        self.end: int | None = None

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        length, total = _REPEATED, input_ids.shape[1]
        new = input_ids[0, self._next :].tolist()
        for start in range(total - 2 * length + 1 - self._next):  # what ends before the last `length` tokens begin
            self._seen.add(tuple(new[start : start + length]))
            self._next += 1
        if tuple(new[-length:]) in self._seen:
            self.end = total - self._prompt - length
        return torch.full((len(input_ids),), self.end is not None, dtype=torch.bool, device=input_ids.device)


def fitting(found: Sequence[Found], opened: OpenFolder, most: int) -> list[Segment]:
    """Return found segments with their neighbours, in the order of the text: the best of them that fit."""
    chosen: list[Segment] = []
    for count in range(1, len(found) + 1):
        more = with_neighbours([each.segment for each in found[:count]], opened)
        if len(more) > most:
            break
        chosen = more
    return chosen or [found[0].segment]


def with_sink(chosen: Sequence[Segment]) -> list[Segment]:
    """Put the first segment of the first chosen segment's document before all others: it begins with the prompt."""
    sink = Segment(chosen[0].document, 0)
    return [sink, *(segment for segment in chosen if segment != sink)]


def tokens_of(opened: OpenFolder, segments: Sequence[Segment]) -> list[int]:
    """Return the tokens of segments, side by side."""
    return [token for each in segments for token in opened.documents[each.document].ids(each.number).tolist()]


def recall(reader: Reader, opened: OpenFolder, chosen: Sequence[Segment]) -> tuple[DynamicCache, list[int]]:
    """Return a cache of the sink and of segments, side by side at positions 0, 1, 2, ..., and their tokens.

    A folder without keys and values has the tokens read again.

    Cost: one read of each segment's record and its rotation.
    """
    order, decoder = with_sink(chosen), decoder_of(reader.model)
    ids = tokens_of(opened, order)
    if reader.settings.keep == "text":
        cache = DynamicCache(config=decoder.config)
        decoder(input_ids=torch.tensor([ids], device=reader.model.device), past_key_values=cache)
        return cache, ids
    parts = []
    for segment in order:
        document = opened.documents[segment.document]
        values = document.kept(reader.record, segment.number, reader.model.dtype)
        document.check("keys", values.float().numpy())
        parts.append(values)
    return rotated_cache(decoder, torch.cat(parts, -2).to(reader.model.device)), ids


def rotated_cache(decoder: Any, both: Tensor) -> DynamicCache:
    """Return an ordinary cache of keys and values, `[layers, 2, G, M, D]`, at positions 0 to M - 1."""
    cache, rotation = DynamicCache(config=decoder.config), Rotation(decoder)
    positions = torch.arange(both.shape[-2], device=both.device)[None]
    for number, layer in enumerate(decoder.layers):
        keys, values = both[number][:, None]
        if uses_rotation(layer.self_attn):
            keys = rotation.rotate(keys, rotation.tables(positions, keys, layer_type_of(layer.self_attn)))
        cache.update(keys, values, number)
    return cache


def passages_of(chosen: Sequence[Segment], found: Sequence[Found], opened: OpenFolder) -> tuple[Passage, ...]:
    """Join neighbouring segments to passages, and say where each stands."""
    groups: list[list[Segment]] = []
    for segment in chosen:
        if groups and groups[-1][-1] == Segment(segment.document, segment.number - 1):
            groups[-1].append(segment)
        else:
            groups.append([segment])
    votes = {each.segment: each.score for each in found}
    total = sum(votes.get(segment, 0.0) for segment in chosen) or 1.0
    passages = []
    for group in groups:
        document = opened.documents[group[0].document]
        begin, end = document.span(group[0].number, group[-1].number)
        text = document.text
        line, page = line_and_page(text, document.about.pages, begin)
        weight = sum(votes.get(segment, 0.0) for segment in group) / total
        passages.append(Passage(document.about.name, begin, end, line, page, text[begin:end], round(weight, 4)))
    return tuple(passages)
