"""Finds the retrieval heads of a model: a short trial with generated facts and questions in other words."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from simmim.reading.asking import NO_QUESTION, best_of_segments, question_queries
from simmim.reading.cache import ReadingCache
from simmim.reading.heads import Head
from simmim.reading.interface import decoder_of
from simmim.reading.reader import Reader
from simmim.reading.tokens import tokenize

__all__ = ["Trial", "find_heads", "head_scores", "make_trial"]

_PLACES = (
    "the northern depot",
    "the harbour office",
    "the town library",
    "the old mill",
    "the observatory",
    "the swimming hall",
    "the railway museum",
    "the botanical garden",
    "the city archive",
    "the music school",
    "the fire station",
    "the concert hall",
    "the pharmacy",
    "the bakery",
    "the garage",
    "the youth hostel",
)
# What the text says, and what is asked in other words.
_FACTS = (
    ("{Place} was built in {year}.", "In what year was {place} constructed?", "year"),
    ("{Place} employs {small} people.", "How many workers does {place} have?", "small"),
    ("Visitors pay {small} francs to enter {place}.", "What does a ticket for {place} cost?", "small"),
    ("{Place} is led by {name}.", "Who is the head of {place}?", "name"),
    ("The roof of {place} was repaired by {name}.", "Who mended the top of {place}?", "name"),
    ("{Place} opens at {hour} o'clock.", "From when on can one go into {place}?", "hour"),
    ("{Place} closes for {small} days in winter.", "How long is {place} shut in the cold season?", "small"),
    ("A bus leaves for {place} every {small} minutes.", "How often can one ride to {place}?", "small"),
    ("{Place} is painted {colour}.", "What does {place} look like from outside?", "colour"),
    ("The key to {place} is kept in the {thing}.", "Where can I find what unlocks {place}?", "thing"),
)
_VALUES = {
    "year": [str(year) for year in range(1741, 1990, 7)],
    "small": [str(number) for number in range(11, 97, 3)],
    "hour": ["six", "seven", "eight", "nine", "ten", "eleven"],
    "name": ["Ada Brandt", "Otto Lind", "Mira Kowal", "Jonas Reber", "Lea Martin", "Paul Okoye", "Ines Duarte"],
    "colour": ["green", "dark red", "white", "yellow", "blue", "grey"],
    "thing": ["blue drawer", "flower pot", "tin box", "desk of the clerk", "coat pocket"],
}


@dataclass(frozen=True)
class Trial:
    """A generated document with questions; the answer to `questions[i]` stands at character `places[i]`."""

    text: str
    questions: tuple[str, ...]
    places: tuple[int, ...]


def make_trial(seed: int = 0, facts: int = 140, questions: int = 32) -> Trial:
    """Write facts about places, each of its own kind and place, and ask for some of them."""
    rng = random.Random(seed)
    pairs = [(place, fact) for place in _PLACES for fact in _FACTS]
    rng.shuffle(pairs)
    text = ""
    asked: list[str] = []
    places: list[int] = []
    for number, (place, (statement, question, kind)) in enumerate(pairs[:facts]):
        value = rng.choice(_VALUES[kind])
        words = {"place": place, "Place": place[0].upper() + place[1:], kind: value}
        if number % (facts // questions) == 0 and len(asked) < questions:
            asked.append(question.format(place=place))
            places.append(len(text))
        text += statement.format(**words) + (" " if rng.random() < 0.8 else "\n\n")
    return Trial(text, tuple(asked), tuple(places))


def find_heads(reader: Reader, count: int = 8, trials: int = 2) -> list[Head]:
    """Return the query heads that most often give the segment of the answer the largest calibrated share.

    Args:
        reader: the model; its own heads are not looked at.
        count: how many heads.
        trials: generated documents of about 2,000 tokens.

    Cost: one forward pass over the documents and their questions.
    """
    config = decoder_of(reader.model).config
    heads = [Head(i, j) for i in range(config.num_hidden_layers) for j in range(config.num_attention_heads)]
    merit = torch.zeros(len(heads))
    for seed in range(trials):
        shares, right = head_scores(reader, make_trial(seed), heads)
        ranks = (shares > shares.gather(-1, right[:, None, None].expand(-1, len(heads), 1))).sum(-1)
        merit += (1 / (1 + ranks)).mean(0)
    best = merit.argsort(descending=True, stable=True)[:count]
    return [heads[i] for i in best.tolist()]


@torch.inference_mode()
def head_scores(reader: Reader, trial: Trial, heads: list[Head]) -> tuple[Float[Tensor, "n heads S"], Tensor]:
    """Return the calibrated share of each segment by each question and head, and the segment of each answer.

    Args:
        reader: the model.
        trial: a document and its questions.
        heads: query heads.
    """
    tokens = tokenize(reader.tokenizer, reader.prompt.before(), trial.text)
    cache = ReadingCache(reader.model, segment=reader.settings.segment, near=reader.settings.near)
    ids = torch.from_numpy(tokens.ids.astype("int64"))[None].to(reader.model.device)
    decoder_of(reader.model)(input_ids=ids, past_key_values=cache)
    length = reader.settings.segment
    keys = torch.stack([cache.layers[head.layer].keys[0, head.head // reader.share] for head in heads]).float()

    def shares(question: str) -> Float[Tensor, "heads S"]:
        queries = question_queries(reader.model, reader.prompt, question, heads)
        scores = queries @ keys.transpose(1, 2) * queries.shape[-1] ** -0.5
        return best_of_segments(scores, length).softmax(-1).mean(1)

    nothing = shares(NO_QUESTION)
    found = torch.stack([shares(question) - nothing for question in trial.questions])
    starts = torch.from_numpy(tokens.starts.astype("int64"))
    where = torch.searchsorted(starts[tokens.prompt :], torch.tensor(trial.places), right=True) - 1 + tokens.prompt
    return found, where // length
