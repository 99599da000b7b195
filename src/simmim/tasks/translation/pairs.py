"""Writes a translation as lines that a causal model continues: `English: ...`, `French: ...`, block after block.

What precedes on the page, and what it became, stands in front, so that a term is translated as it was before.
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from simmim.tasks.translation.languages import language_name

__all__ = ["PairFormat"]


class PairFormat:
    """Makes the ids of pairs of blocks.

    Every piece of a line is tokenized apart, so a prompt is the beginning of what was trained on, to the token.

    Attributes:
        end: the id of the end of a line, which ends a translation.

    Args:
        tokenizer: of the model.
        source: the language of the texts, such as `en`.
        target: the language to write.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, source: str, target: str) -> None:
        self._tokenizer = tokenizer
        (self.end,) = self._ids("\n")
        self._source, self._target = (self._ids(f"{language_name(name)}:") for name in (source, target))
        self._start = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []

    def prompt(self, block: str, before: Sequence[tuple[str, str]] = ()) -> list[int]:
        """Return what the model reads to translate a block.

        Args:
            block: the text; a line break in it is a space.
            before: the blocks that precede it, each with its translation.
        """
        ids = list(self._start)
        for source, target in before:
            ids += [*self._asked(source), *self._text(target), self.end]
        return ids + self._asked(block)

    def example(self, pairs: Sequence[tuple[str, str]]) -> tuple[list[int], list[bool]]:
        """Return the ids of blocks that follow each other with their translations, and which of them are to be learned.

        Learned are the translations and the ends of their lines.
        """
        ids, learned = list(self._start), [False] * len(self._start)
        for source, target in pairs:
            asked, written = self._asked(source), [*self._text(target), self.end]
            ids += asked + written
            learned += [False] * len(asked) + [True] * len(written)
        return ids, learned

    def _asked(self, source: str) -> list[int]:
        return [*self._source, *self._text(source), self.end, *self._target]

    def _text(self, text: str) -> list[int]:
        return self._ids(" " + " ".join(text.split()))

    def _ids(self, text: str) -> list[int]:
        # what looks like a special token in a document is text
        found = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
        return list(found["input_ids"])
