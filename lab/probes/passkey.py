"""The probe ``passkey``: five digits said once, anywhere in a long text of no interest, and asked for at its end."""

from __future__ import annotations

import numpy as np

from lab.probes.probe import IGNORED, PROBES, Example, Ids, Probe, ProbeSettings, check_length

__all__ = ["Passkey"]

DEPTHS = 10
"""Parts of the text in which the key lies in turn; the groups of the results."""

_FILLER = (
    "rain fell on the grey roofs .",
    "a cart rolled past the old mill .",
    "nobody spoke for a while .",
    "the river was slow and brown .",
    "bread and salt stood on the table .",
    "they walked on and came back .",
    "a dog slept under the cart .",
    "it was late and the lamp burned low .",
)
_BEFORE, _AFTER = "the secret key is", ". keep it in mind ."
_QUESTION = "what is the secret key ? the secret key is"

_WORDS = sorted({word for line in (*_FILLER, _BEFORE, _AFTER, _QUESTION) for word in line.split()})
_ID = {word: number for number, word in enumerate(_WORDS, 1)}
_FIRST_DIGIT = len(_WORDS) + 1


def _ids(text: str) -> Ids:
    return np.array([_ID[word] for word in text.split()], dtype=np.int64)


@PROBES.register("passkey")
class Passkey(Probe):
    """Filler, "the secret key is D D D D D", filler, "what is the secret key? the secret key is", and the digits.

    The task of Landmark Attention (Mohtashami and Jaggi, arXiv 2305.16300, §4.2), with a word or a digit a token. Keys
    of the test split are never seen in training.
    """

    about = "five digits at a random depth of a text, asked for at its end"
    vocab_size = _FIRST_DIGIT + 10
    grouped_by = "depth"
    counts = "text"
    settings = ProbeSettings(
        length=256,
        shortest=32,
        test_lengths=(256, 1024, 4096),
        steps=4000,
        model={"state_weight": "shared"},  # or little is found at 16 times the training length (decision 0008)
    )

    digits = 5

    _sentences = tuple(_ids(line) for line in _FILLER)
    _before, _after, _question = _ids(_BEFORE), _ids(_AFTER), _ids(_QUESTION)
    least = len(_before) + len(_after) + len(_question) + 2 * digits

    def draw(self, random: np.random.Generator, length: int, number: int) -> Example:
        """Return a text whose key lies in the part ``number % DEPTHS``, at a random place there."""
        check_length(length, self.least, "which a key and the question for it take")
        key = _FIRST_DIGIT + random.integers(0, 10, self.digits)
        rest, depth = length - self.least, number % DEPTHS
        before = int((depth + random.random()) / DEPTHS * (rest + 1))
        text = [
            *(self._fill(random, before), self._before, key, self._after, self._fill(random, rest - before)),
            *(self._question, key),
        ]
        input_ids = np.concatenate(text)
        labels = np.full(length, IGNORED)
        labels[-self.digits :] = key
        return Example(input_ids, labels, np.full(self.digits, depth))

    def content(self, example: Example) -> bytes:
        """Return the key."""
        return example.input_ids[-self.digits :].tobytes()

    def _fill(self, random: np.random.Generator, tokens: int) -> Ids:
        """Return random sentences, the last one cut."""
        shortest = min(len(sentence) for sentence in self._sentences)
        chosen = random.integers(0, len(self._sentences), tokens // shortest + 1)
        return np.concatenate([self._sentences[i] for i in chosen])[:tokens]
