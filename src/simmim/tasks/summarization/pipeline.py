"""The pipeline `summarization`: texts in, summaries out, called as those of transformers are."""

from __future__ import annotations

from typing import Any

from transformers import Pipeline
from transformers.utils.generic import ModelOutput

from simmim.data.control_tokens import encode_plain_text
from simmim.data.unicode import check_text
from simmim.errors import DataError
from simmim.tasks.summarization.generation import decoded, refusal, write_rows

__all__ = ["SummarizationPipeline"]


class SummarizationPipeline(Pipeline):
    """Summarize texts of any length; `simmim.pipeline("summarization")` makes one.

    Texts are read whole: one that is longer than the model can read is refused, not cut.
    """

    _pipeline_calls_generate = True

    def __call__(self, inputs: Any, *args: Any, **settings: Any) -> Any:
        """Write summaries.

        Args:
            inputs: a text, a list of texts, or a generator of texts, which is read as results are taken.
            *args: none; transformers declares them.
            **settings: `batch_size` (texts at a time; 1 by default), and whatever `generate` of transformers
                takes: `max_new_tokens`, `min_new_tokens`, `num_beams`, `length_penalty`, `no_repeat_ngram_size`, ...

        Returns:
            A list with a dictionary for each text: `summary_text`; `complete`, false where a limit ended the summary
            and not the model; `source_tokens`, the tokens of the text. With `num_return_sequences` above 1 a list of
            such dictionaries for each text of a list. For a generator, an iterator over the lists of each text.

        Raises:
            DataError: an input is no text, blank, or longer than the model can read.
            ValueError: `generate` knows no such argument.
        """
        if isinstance(inputs, (list, tuple)):
            if not inputs:
                return []
            results = super().__call__(list(inputs), *args, **settings)
            return [found[0] for found in results] if all(len(found) == 1 for found in results) else results
        return super().__call__(inputs, *args, **settings)

    def _sanitize_parameters(self, **settings: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        return {}, settings, {}

    def preprocess(self, input_: Any, **_: Any) -> dict[str, Any]:
        """Turn a text into tokens, all of them."""
        assert self.tokenizer is not None
        if not isinstance(input_, str) or not input_.strip():
            got = "a blank one" if isinstance(input_, str) else type(input_).__name__
            raise DataError(f"inputs: expected texts (str) with something to summarize, got {got}")
        check_text("inputs", input_)
        encoded = encode_plain_text(self.tokenizer, [input_], return_tensors="pt", verbose=False)
        if refused := refusal(encoded["input_ids"].shape[1], self.tokenizer.model_max_length):
            raise DataError(f"inputs: {refused}")
        return {name: encoded[name] for name in ("input_ids", "attention_mask")}

    def _forward(self, input_tensors: dict[str, Any], **settings: Any) -> ModelOutput:
        if "max_length" in settings:  # else the limit that the model was saved with would win
            settings = {"max_new_tokens": None, **settings}
        if "min_length" in settings:
            settings = {"min_new_tokens": None, **settings}
        rows = write_rows(self.model, input_tensors, **self._prepare_generate_kwargs(settings))
        return ModelOutput(rows=rows, source_tokens=input_tensors["attention_mask"].sum(1))

    def postprocess(self, model_outputs: Any, **_: Any) -> list[dict[str, Any]]:
        """Turn the tokens written about one text into its summaries."""
        assert self.tokenizer is not None
        [rows], [source_tokens] = model_outputs["rows"].tolist(), model_outputs["source_tokens"].tolist()
        return [
            {"summary_text": one.text, "complete": one.complete, "source_tokens": one.source_tokens}
            for one in decoded(self.tokenizer, rows, source_tokens)
        ]
