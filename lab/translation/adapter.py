"""The command `python -m lab.translation.adapter`: trains the adapter that lets a small causal model translate.

`base` trims the vocabulary of the pretrained model, `train` trains the adapter, `ship` writes the folder that comes
with SimMIM. The adapter is low-rank (LoRA: Hu et al., 2021), on all linear layers. An example is a block alone or
blocks that follow each other, in the form of `simmim.tasks.translation.pairs`. The learning rate stays level until the
last sixth of the steps, so that a run may be prolonged from a checkpoint before that.
"""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)

from simmim.files import file_digest
from simmim.models.pretrained import TRANSLATOR, adapter_path
from simmim.tasks.pretrained_weights import read_gguf
from simmim.tasks.translation.pairs import PairFormat
from simmim.tasks.trimmed_vocabulary import closed_vocabulary, trim_model, trim_tokenizer

__all__ = ["app", "make_batches"]


app = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)

_LONGEST = 320  # tokens of an example
# Latin and Greek, punctuation and symbols, Chinese and its full-width forms; others are written as bytes
_SCRIPTS = ((0, 0x250), (0x370, 0x400), (0x2000, 0x2800), (0x3000, 0x3040), (0x4E00, 0xA000), (0xFF00, 0xFFF0))
_ALONE = 0.5  # the share of blocks that stand alone
_TOGETHER = 100  # batches that are made at once, of examples sorted by length
_Example = tuple[list[int], list[bool]]


class _Batches(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Batches made beforehand, so that a run that is resumed goes on with the same ones."""

    def __init__(self, batches: Sequence[Sequence[_Example]]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rows = self._batches[index]
        width = max(len(ids) for ids, _ in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for row, (tokens, learned) in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
            labels[row, : len(tokens)] = torch.where(torch.tensor(learned), torch.tensor(tokens), -100)
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


class _TranslationTrainer(Trainer):
    """Works out scores over the vocabulary for what is learned alone, about half of the tokens."""

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
        """Return the mean loss of the tokens to learn, in nats."""
        causal: Any = model.get_base_model()  # type: ignore[operator]  # of a peft model
        hidden = causal.model(inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)[0]
        labels = inputs["labels"][:, 1:]
        learned = labels != -100
        loss = nn.functional.cross_entropy(causal.lm_head(hidden[:, :-1][learned]), labels[learned])
        return (loss, {"logits": loss.detach()[None]}) if kwargs.get("return_outputs") else loss


@app.command()
def base(
    gguf: Annotated[Path, typer.Argument(help="The GGUF file of the pretrained model.")],
    data: Annotated[Path, typer.Argument(help="The folder with train.jsonl.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
) -> None:
    """Write the pretrained model with the tokens of the training pages and the characters of their scripts alone."""
    model, tokenizer = read_gguf(gguf)
    used = set()
    for line in (data / "train.jsonl").open(encoding="utf-8"):
        page = json.loads(line)
        form = PairFormat(tokenizer, page["source_language"], page["target_language"])
        used.update(form.example([("", "")])[0])
        texts = [" " + " ".join(text.split()) for text in (*page["source"], *page["target"])]
        used.update(*tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"])
    characters = [chr(code) for first, last in _SCRIPTS for code in range(first, last)]
    kept = closed_vocabulary(tokenizer, used, characters)
    trim_model(model, kept)
    model.save_pretrained(output)
    trim_tokenizer(tokenizer, kept).save_pretrained(output)
    save_file({"kept_tokens": torch.tensor(kept, dtype=torch.int32)}, output / "kept_tokens.safetensors")
    (output / "sha256").write_text(file_digest(gguf)[1], encoding="utf-8")
    typer.echo(f"{output}: {len(used):,} tokens occur, {len(kept):,} are kept")


@app.command()
def ship(
    base: Annotated[Path, typer.Argument(help="The folder that `base` wrote.")],
    adapter: Annotated[Path, typer.Argument(help="The adapter: a checkpoint, or the end/ of a run.")],
    directions: Annotated[str, typer.Option(help="That were trained.")] = "en-fr,en-zh,fr-en",
    output: Annotated[Path | None, typer.Option("--output", "-o", show_default="that of SimMIM")] = None,
) -> None:
    """Write the adapter in bfloat16, with what the default model is made from."""
    output = output or adapter_path(TRANSLATOR)
    output.mkdir(parents=True, exist_ok=True)
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file({name: values.bfloat16() for name, values in weights.items()}, output / "adapter_model.safetensors")
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = "gemma-3-270m"
    (output / "adapter_config.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(base / "kept_tokens.safetensors", output / "kept_tokens.safetensors")
    about = {"sha256": (base / "sha256").read_text(encoding="utf-8"), "directions": directions.split(",")}
    (output / "translation.json").write_text(json.dumps(about | {"longest": _LONGEST}) + "\n", encoding="utf-8")


@app.command()
def train(
    model: Annotated[Path, typer.Argument(help="The folder of the causal model.")],
    data: Annotated[Path, typer.Argument(help="The folder with train.jsonl and validation.jsonl.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoints; the adapter goes to its end/.")],
    directions: Annotated[str, typer.Option(help="With their shares.")] = "en-fr:0.45,en-zh:0.4,fr-en:0.15",
    steps: Annotated[int, typer.Option(help="Of the optimizer.")] = 2000,
    tokens: Annotated[int, typer.Option(help="In a batch, padding included.")] = 1024,
    rank: Annotated[int, typer.Option(help="Of the adapter.")] = 32,
    rate: Annotated[float, typer.Option(help="The learning rate.")] = 4e-4,
    threads: Annotated[int, typer.Option(help="To compute with.")] = 2,
    seed: Annotated[int, typer.Option()] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
) -> None:
    """Train the adapter."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(model)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    shares = {name: float(share) for name, share in (part.split(":") for part in directions.split(","))}
    batches = make_batches(tokenizer, data / "train.jsonl", shares, tokens, steps, seed)
    held_out = make_batches(tokenizer, data / "validation.jsonl", shares, tokens, 8, seed)
    settings = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    adapted = get_peft_model(base, settings)
    adapted.print_trainable_parameters()
    arguments = TrainingArguments(
        output_dir=str(output),
        max_steps=steps,
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        learning_rate=rate,
        lr_scheduler_type="warmup_stable_decay",
        warmup_steps=40,
        lr_scheduler_kwargs={"num_decay_steps": max(1, steps // 6), "min_lr_ratio": 0.02},
        weight_decay=0.0,
        logging_steps=10,
        save_steps=50,
        save_total_limit=3,
        eval_strategy="steps",
        eval_steps=300,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        use_cpu=not torch.cuda.is_available(),
        report_to=[],
        seed=seed,
        disable_tqdm=True,
    )
    trainer = _TranslationTrainer(
        model=adapted,
        args=arguments,
        train_dataset=_Batches(batches),
        eval_dataset=_Batches(held_out),
        data_collator=lambda rows: rows[0],
    )
    trainer.train(resume_from_checkpoint=resume)
    adapted.save_pretrained(str(output / "end"))


def make_batches(
    tokenizer: PreTrainedTokenizerBase, path: Path, shares: dict[str, float], tokens: int, count: int, seed: int
) -> list[list[_Example]]:
    """Return batches of examples of about the same length; the directions have the shares of tokens that are given.

    The first batches are the same for any `count`.
    """
    chance = random.Random(seed)
    pages = [json.loads(line) for line in path.open(encoding="utf-8")]
    streams = {}
    for name in shares:
        source, target = name.split("-")
        streams[name] = _examples(tokenizer, pages, source, target, chance)
    found: list[list[_Example]] = []
    used: Counter[str] = Counter()
    while len(found) < count:
        examples = []
        for name, share in shares.items():
            while used[name] < share * (len(found) + _TOGETHER) * tokens:
                examples.append(next(streams[name]))
                used[name] += len(examples[-1][0])
        batches = _cut(sorted(examples, key=lambda example: len(example[0])), tokens)
        chance.shuffle(batches)
        found += batches
    typer.echo(f"{path}: {dict(used)} tokens")
    return found[:count]


def _cut(examples: Sequence[_Example], tokens: int) -> list[list[_Example]]:
    """Cut examples that grow in length into batches of so many tokens, padding included."""
    batches: list[list[_Example]] = [[]]
    for example in examples:
        if batches[-1] and len(example[0]) * (len(batches[-1]) + 1) > tokens:
            batches.append([])
        batches[-1].append(example)
    return batches


def _examples(
    tokenizer: PreTrainedTokenizerBase, pages: Sequence[dict[str, Any]], source: str, target: str, chance: random.Random
) -> Iterator[_Example]:
    """Yield the examples of a direction that are not too long."""
    form = PairFormat(tokenizer, source, target)
    for pairs in _windows(_of_direction(pages, source, target), chance):
        example = form.example(pairs)
        if len(example[0]) <= _LONGEST:
            yield example


def _of_direction(pages: Sequence[dict[str, Any]], source: str, target: str) -> list[list[tuple[str, str]]]:
    """Return the pairs of blocks of the pages that have both languages."""
    found = []
    for page in pages:
        there, here = page["source_language"], page["target_language"]
        if (there, here) == (source, target):
            found.append(list(zip(page["source"], page["target"], strict=True)))
        elif (here, there) == (source, target):
            found.append(list(zip(page["target"], page["source"], strict=True)))
    return found


def _windows(pages: list[list[tuple[str, str]]], chance: random.Random) -> Iterator[list[tuple[str, str]]]:
    """Yield blocks alone and blocks that follow each other, from all pages in a random order, again and again."""
    while True:
        windows = []
        for page in pages:
            place = 0
            while place < len(page):
                size = 1 if chance.random() < 2 * _ALONE / (1 + _ALONE) else chance.randint(2, 6)
                windows.append(page[place : place + size])
                place += size
        chance.shuffle(windows)
        yield from windows


if __name__ == "__main__":
    app()
