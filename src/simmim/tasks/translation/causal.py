"""Translators that are causal models: they continue a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from simmim.errors import ConfigError
from simmim.tasks.translation.languages import language_name
from simmim.tasks.translation.pairs import PairFormat
from simmim.tasks.translation.translator import Translator, Written

__all__ = ["ChatTranslator", "PairTranslator"]


class CausalTranslator(Translator):
    """Base of models that continue a prompt: rows are padded in front, and what they generate begins with it."""

    def generate(self, rows: Sequence[Sequence[int]], **settings: Any) -> Any:
        """Let the model write."""
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        return super().generate(rows, **settings)

    def _skipped(self, source_length: int) -> int:
        return source_length


class ChatTranslator(CausalTranslator):
    """A causal model with a chat template, which is asked for the translation."""

    def encode(self, group: Sequence[str]) -> list[int]:
        """Return the ids of the request."""
        request = (
            f"Translate from {language_name(self.source)} to {language_name(self.target)}. Keep every mark such as "
            "{1} where it belongs. Answer with the translation alone.\n\n" + " ".join(group)
        )
        found: Any = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": request}], add_generation_prompt=True, return_dict=True
        )
        return list(found["input_ids"])


class PairTranslator(CausalTranslator):
    """A causal model that was trained on pairs of blocks, as `simmim.tasks.translation.pairs` writes them.

    The blocks of a group are written one after another: each with those before it, and what they became, in front.
    """

    reads_groups = True

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._trained = self.model.config.translation_pairs
        direction = f"{self.source}-{self.target}"
        if direction not in self._trained["directions"]:
            known = ", ".join(self._trained["directions"])
            raise ConfigError(f"--from, --to: expected a direction that the model knows ({known}), got {direction}")
        self._form = PairFormat(self.tokenizer, self.source, self.target)
        self.settings["eos_token_id"] = self._form.end

    @property
    def limit(self) -> int:
        """The most tokens of a block that the model was trained with; a longer one is cut."""
        return int(self._trained["longest"])

    @property
    def ends(self) -> set[int | None]:
        """The end of a line."""
        return {self._form.end}

    def encode(self, group: Sequence[str]) -> list[int]:
        """Return the prompt of the longest block, without those before it."""
        return max((self._form.prompt(block) for block in group), key=len)

    @torch.inference_mode()
    def write(
        self, groups: Sequence[Sequence[str]], *, batch_size: int = 16, token_budget: int = 4096
    ) -> list[Written]:
        """Translate groups of blocks: the first of all groups, then the second of all, and so on."""
        found: list[list[Written]] = [[] for _ in groups]
        for position in range(max(map(len, groups), default=0)):
            asked = [index for index, group in enumerate(groups) if position < len(group)]
            alone = [len(self._form.prompt(groups[index][position])) for index in asked]
            prompts = [self._prompt(groups[index][: position + 1], found[index]) for index in asked]
            written = self._continued(prompts, alone, batch_size, token_budget)
            for index, one in zip(asked, written, strict=True):
                found[index].append(one)
        return [_together(blocks) for blocks in found]

    def _prompt(self, blocks: Sequence[str], written: Sequence[Written]) -> list[int]:
        """Return the prompt of the last block with as many before it as were in training."""
        before = [(block, one.blocks[0]) for block, one in zip(blocks, written, strict=False)]
        while True:
            ids = self._form.prompt(blocks[-1], before)
            if not before or len(ids) <= self._trained["longest"]:
                return ids
            before = before[1:]


def _together(written: Sequence[Written]) -> Written:
    """Return what was written for the blocks of a group as one."""
    scores = [one.score for one in written if one.score is not None]
    mean = sum(scores) / len(scores) if scores else None
    return Written([text for one in written for text in one.blocks], all(one.complete for one in written), mean)
