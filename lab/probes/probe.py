"""What a probe is: a generated task with known answers, a pure function of a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from simmim.errors import ConfigError
from simmim.models.losses import IGNORED
from simmim.nn.registry import Registry

__all__ = ["IGNORED", "PROBES", "Example", "Probe", "ProbeSettings", "Split", "check_length"]

Ids = npt.NDArray[np.int64]
Split = Literal["train", "test"]

_TEST_SHARE = 8  # one content in so many belongs to the test split


@dataclass(frozen=True, eq=False)
class Example:
    """A text and what is asked of it.

    Attributes:
        input_ids: ``[N]``.
        labels: ``[N]`` the token that the place before must predict; ``IGNORED`` where nothing is asked.
        groups: ``[answers]`` where each answer belongs in the table of results: how deep its key lies, for instance.
    """

    input_ids: Ids
    labels: Ids
    groups: Ids


@dataclass(frozen=True)
class ProbeSettings:
    """How a model learns a probe, unless somebody says otherwise.

    Attributes:
        length: tokens of the longest training texts.
        shortest: of the shortest; every batch has one length, drawn between the two. None: all are the longest.
        mostly_short: draw the logarithm of the length evenly, not the length, so that most texts are short.
        test_lengths: lengths to measure at.
        steps: of training.
        batch_size: texts a step.
        learning_rate: at its highest; it warms up for a twentieth of the steps and falls to a tenth as a cosine.
        model: settings of ``SimMIMConfig`` for every form.
    """

    length: int = 256
    shortest: int | None = None
    mostly_short: bool = False
    test_lengths: tuple[int, ...] = (256,)
    steps: int = 1000
    batch_size: int = 32
    learning_rate: float = 2e-3
    model: Mapping[str, Any] = field(default_factory=dict)


class Probe:
    """A generated task. Subclass it and register the class in ``PROBES``; ``python -m lab.probes`` then knows its name.

    Attributes:
        about: what is asked, in a line.
        vocab_size: how many ids it uses; 0 is padding.
        grouped_by: what ``Example.groups`` counts.
        counts: whether each ``answer`` is scored, or only the ``text`` whose answers are all right.
        clue_name: what a baseline sees of a text instead of all of it; None for no baseline.
        settings: how it is learnt.
    """

    about: str
    vocab_size: int
    grouped_by: str
    counts: Literal["answer", "text"] = "answer"
    clue_name: str | None = None
    settings = ProbeSettings()

    def draw(self, random: np.random.Generator, length: int, number: int) -> Example:
        """Return a random example.

        Args:
            random: the only source of chance.
            length: tokens of the text, or the most that it may have.
            number: of the example; what is measured apart may go through it in turn.

        Raises:
            ConfigError: no such text exists.
        """
        raise TypeError(f"{type(self).__name__} must define draw")

    def content(self, example: Example) -> bytes:
        """Return what no test example may share with a training example: all its tokens, unless a probe says less."""
        return example.input_ids.tobytes()

    def clue(self, example: Example) -> int:
        """Return the number of the clue that a baseline guesses by; only with ``clue_name``."""
        raise TypeError(f"{type(self).__name__} must define clue")

    def example(self, split: Split, seed: int, number: int, length: int) -> Example:
        """Return an example: always the same for the same arguments, and never the same for both splits.

        Contents are divided by their hash, so that no content of one split can turn up in the other, whatever the seed.
        """
        random = np.random.default_rng([seed, number, length, split == "test"])
        while True:
            drawn = self.draw(random, length, number)
            digest = hashlib.blake2b(self.content(drawn), digest_size=8).digest()
            if (int.from_bytes(digest, "big") % _TEST_SHARE == 0) == (split == "test"):
                return drawn


PROBES: Registry[Probe] = Registry("probe")


def check_length(length: int, least: int, why: str) -> None:
    """Refuse a text that is too short for its task.

    Raises:
        ConfigError: it is.
    """
    if length < least:
        raise ConfigError(f"length: expected {least} or more tokens, {why}; got {length}")
