"""The sections of a recipe: what each may hold."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StrictFloat, StrictInt, StrictStr
from pydantic.dataclasses import dataclass

__all__ = [
    "COLUMN_KEYS",
    "BatchingSection",
    "DataSection",
    "EarlyStoppingSection",
    "PretrainingSection",
    "Recipe",
    "TokenizerSection",
]

_STRICT = ConfigDict(extra="forbid")
_Count = Annotated[StrictInt, Field(gt=0, lt=2**31)]
_Number = Annotated[StrictFloat, Field(allow_inf_nan=False)] | StrictInt
_Name = Annotated[StrictStr, Field(min_length=1)]
COLUMN_KEYS = ("document", "summary", "text", "messages")


def _names(value: object) -> object:
    """Refuse what is neither the name of a corpus nor a list of different ones."""
    names = value if isinstance(value, list) else [value]
    texts = [name for name in names if isinstance(name, str)]
    if value is not None and (not names or len(texts) < len(names) or len(set(texts)) < len(texts)):
        raise ValueError(f"expected the name of a corpus or a list of different names, got {value!r}")
    return value


@dataclass(frozen=True, config=_STRICT)
class DataSection:
    """Says which examples a model learns from: corpora by name, or files of one's own.

    Args:
        corpus: the name of a corpus, `debian-descriptions` for instance, or a list of names, which are joined in every
            split; then no files are given.
        train: JSON lines, for instance, with `document` and `summary`, or with `text`: what the task learns from.
        validation: the same, to measure the loss on while training.
        test: the same, to measure with once at the end; training never reads it.
        document: what the column of the documents is called in the files; None stands for `document`.
        summary: the same of the summaries; None stands for `summary`.
        text: the same of the texts that language is learnt from; None stands for `text`.
        messages: the same of the conversations; None stands for `messages`.
        max_source_tokens: cut every document to so many tokens; None keeps all of it, however long.
        max_target_tokens: cut every summary to so many tokens; None keeps all of it.
        sequence_length: tokens of a sequence that texts are packed into; a longer text is learnt in pieces.
        directions: of translation, the languages from and into, such as `en-fr`.
    """

    corpus: Annotated[str | list[str] | None, BeforeValidator(_names)] = None
    train: StrictStr | None = None
    validation: StrictStr | None = None
    test: StrictStr | None = None
    document: _Name | None = None
    summary: _Name | None = None
    text: _Name | None = None
    messages: _Name | None = None
    max_source_tokens: _Count | None = None
    max_target_tokens: _Count | None = None
    sequence_length: _Count | None = None
    directions: list[_Name] | None = None

    def __post_init__(self) -> None:
        """Refuse a section that names both a corpus and files, or neither."""
        files = [name for name in ("train", "validation", "test") if getattr(self, name) is not None]
        if self.corpus is not None and files:
            raise ValueError(f"expected either corpus or files, got corpus and {', '.join(files)}; remove one of them")
        if self.corpus is None and not {"train", "validation"} <= set(files):
            raise ValueError(f"expected corpus, or both train and validation, got {', '.join(files) or 'none of them'}")
        named = [name for name in COLUMN_KEYS if getattr(self, name) is not None]
        if self.corpus is not None and named:
            raise ValueError(f"expected {named[0]} only beside files, whose column it names; remove it")
        if self.column("document") == self.column("summary"):
            raise ValueError(f"document, summary: expected two columns, got {self.document!r} for both")

    def column(self, key: str) -> str:
        """Return what a column is called in the files, by its key in `COLUMN_KEYS`."""
        name: str | None = getattr(self, key)
        return key if name is None else name

    @property
    def corpora(self) -> list[str]:
        """The names of the corpora; none where files are given."""
        if self.corpus is None:
            return []
        return [self.corpus] if isinstance(self.corpus, str) else self.corpus


@dataclass(frozen=True, config=_STRICT)
class TokenizerSection:
    """Says where the tokenizer comes from: trained on the train split, or a folder that holds one.

    Args:
        vocab_size: how many tokens a tokenizer trained for this run knows.
        path: the folder of a tokenizer to use as it is.
    """

    vocab_size: _Count | None = None
    path: StrictStr | None = None

    def __post_init__(self) -> None:
        """Refuse a section that gives both ways, or neither."""
        if (self.vocab_size is None) == (self.path is None):
            raise ValueError("expected exactly one of vocab_size and path")


@dataclass(frozen=True, config=_STRICT)
class BatchingSection:
    """Says how many examples of like length share a batch.

    Args:
        max_tokens: as many as have so many source tokens together, padding included; a longer document is alone.
            None takes `per_device_train_batch_size` examples, however long.
    """

    max_tokens: _Count | None = None


@dataclass(frozen=True, config=_STRICT)
class EarlyStoppingSection:
    """Says when a run ends before its time because the validation loss does not fall any more.

    Args:
        patience: after so many evaluations in a row without a new lowest loss.
        threshold: by how much, in nats a token, a loss must be lower to count.
    """

    patience: _Count
    threshold: Annotated[_Number, Field(ge=0)] = 0.0


@dataclass(frozen=True, config=_STRICT)
class PretrainingSection:
    """Describes a first phase, in which the model restores hidden spans of the documents of the train split.

    Args:
        noise_density: the share of tokens that is hidden.
        mean_span: the mean length of a hidden span, in tokens.
        training: keyword arguments of `transformers.Seq2SeqTrainingArguments` for this phase.
    """

    noise_density: Annotated[_Number, Field(gt=0, lt=1)] = 0.15
    mean_span: Annotated[_Number, Field(ge=1)] = 3.0
    training: dict[StrictStr, Any] = dataclasses.field(default_factory=dict)


def _current_task(name: str) -> str:
    """Return what a task is called now; saved models and runs have recipes with its old name."""
    return {"summarisation": "summarization"}.get(name, name)


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class Recipe:
    """Holds everything that a training run depends on.

    Args:
        data: the examples.
        task: what is learnt from them: `summarization`, or another name of `simmim.train.tasks`.
        tokenizer: the tokenizer; None with `init_from`, which brings one.
        output_dir: the folder of the run, relative to the working directory.
        init_from: the folder of a saved model whose weights and tokenizer the run starts from; None starts anew.
        model: keyword arguments of `SimMIMConfig`; the tokenizer decides the vocabulary and the special tokens. With
            `init_from` only `dropout`.
        training: keyword arguments of `transformers.Seq2SeqTrainingArguments`.
        batching: the size of a batch.
        early_stopping: when to end early; None never does.
        pretraining: a first phase on masked spans; None has none.
        seed: the seed of everything random.
    """

    data: DataSection
    task: Annotated[StrictStr, AfterValidator(_current_task)] = "summarization"
    tokenizer: TokenizerSection | None = None
    output_dir: StrictStr
    init_from: StrictStr | None = None
    model: dict[StrictStr, Any] = dataclasses.field(default_factory=dict)
    training: dict[StrictStr, Any] = dataclasses.field(default_factory=dict)
    batching: BatchingSection = dataclasses.field(default_factory=BatchingSection)
    early_stopping: EarlyStoppingSection | None = None
    pretraining: PretrainingSection | None = None
    seed: Annotated[StrictInt, Field(ge=0, lt=2**32)] = 0

    def __post_init__(self) -> None:
        """Refuse two sizes of a batch, two tokenizers or none, and another shape of a model that is there already."""
        if self.init_from is not None and self.tokenizer is not None:
            raise ValueError("init_from and tokenizer both say which tokenizer is used; remove one of them")
        if self.init_from is None and self.tokenizer is None:
            raise ValueError("tokenizer: this key is required and missing (unless init_from names a saved model)")
        others = sorted(self.model.keys() - {"dropout"})
        if self.init_from is not None and others:
            raise ValueError(
                f"model.{others[0]}: expected only dropout beside init_from, whose model has all other settings; "
                "remove it"
            )
        phases = {
            "training": self.training,
            "pretraining.training": self.pretraining.training if self.pretraining else {},
        }
        for name, settings in phases.items():
            if self.batching.max_tokens is not None and "per_device_train_batch_size" in settings:
                raise ValueError(
                    f"batching.max_tokens and {name}.per_device_train_batch_size both say how large a batch is; "
                    "remove one of them"
                )

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as it would stand in a file, without the keys that are not set."""
        return _without_none(dataclasses.asdict(self))


def _without_none(entries: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is None, and the sections that are empty then, outside the settings of other libraries."""
    kept: dict[str, Any] = {}
    for key, value in entries.items():
        if isinstance(value, dict) and key not in ("model", "training"):
            value = _without_none(value) or None
        if value is not None:
            kept[key] = value
    return kept
