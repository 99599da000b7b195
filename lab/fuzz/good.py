"""Makes the good inputs that the cases damage: tiny models, a run, conversations, documents and data files."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from pathlib import Path
from typing import Any

import yaml

__all__ = ["GOOD_SUMMARY", "causal_model", "make_good", "pdf", "recipe", "summarizer"]

_WORDS = "editor compiler library server client small fast python network image sound text 文件 段落".split()
_MODEL = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "segment_length": 8}
_RECIPE: dict[str, Any] = {
    "task": "summarization",
    "tokenizer": {"vocab_size": 300},
    "model": {**_MODEL, "num_hidden_layers": 1, "num_decoder_layers": 1, "dropout": 0.1},
    "training": {
        **{"max_steps": 3, "per_device_train_batch_size": 4, "learning_rate": 0.01, "logging_steps": 1},
        **{"save_steps": 1, "save_total_limit": 3, "eval_strategy": "no", "use_cpu": True},
    },
    "seed": 1,
}
GOOD_SUMMARY = "good.summary.json"
"""The summary of the good document by the tiny model; a bad document beside it must not change it."""


def summarizer(good: Path) -> Path:
    """Return the folder of a tiny model for summaries."""
    return good / "run" / "model"


def causal_model(good: Path) -> Path:
    """Return the folder of a tiny model for dialogue."""
    return good / "causal"


def recipe(folder: Path) -> dict[str, Any]:
    """Return the recipe of a run in a folder, with data files in that folder."""
    files = {split: str(folder / f"{split}.jsonl") for split in ("train", "validation")}
    return {**_RECIPE, "data": files, "output_dir": str(folder / "run")}


def make_good(good: Path) -> None:
    """Make all good inputs in an empty folder; takes about ten seconds."""
    rng = random.Random(0)
    for split, count in (("train", 24), ("validation", 6)):
        documents = [" ".join(rng.choices(_WORDS, k=rng.randint(5, 40))) for _ in range(count)]
        rows = [{"document": text, "summary": " ".join(text.split()[:4])} for text in documents]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (good / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    (good / "recipe.yaml").write_text(yaml.safe_dump(recipe(good)), encoding="utf-8")
    _train(good)
    _make_causal(good, documents)
    _make_conversation(good)
    _make_data_files(good)
    document = good / "good.txt"
    document.write_text("A small editor of text, fast and without a network. " * 6, encoding="utf-8")
    (good / "good.pdf").write_bytes(pdf("A small editor of text."))
    _summarize(good, document)


def _train(good: Path) -> None:
    """Train the summarizer; copy the run as of the step before the last, to resume from."""
    from simmim.train.run_config import load_recipe
    from simmim.train.trainer import train

    train(load_recipe(good / "recipe.yaml", []))
    stopped = shutil.copytree(good / "run", good / "stopped")
    shutil.rmtree(stopped / "model")
    shutil.rmtree(stopped / "checkpoints" / "checkpoint-3")


def _make_causal(good: Path, texts: list[str]) -> None:
    import torch

    from simmim import SimMIMConfig, SimMIMForCausalLM
    from simmim.data.chat_template import add_chat_template, turn_end_ids
    from simmim.data.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(texts, 300)
    add_chat_template(tokenizer)
    torch.manual_seed(0)
    config = SimMIMConfig(**_MODEL, num_hidden_layers=2, vocab_size=len(tokenizer))  # type: ignore[arg-type]
    config.eos_token_id = turn_end_ids(tokenizer)
    model = SimMIMForCausalLM(config)
    model.save_pretrained(causal_model(good))
    tokenizer.save_pretrained(causal_model(good))


def _make_conversation(good: Path) -> None:
    """Save a conversation with its cache."""
    from lab.fuzz.commands import judge, run

    turns = f"a small editor\nof text\n/save {good / 'talk.json'}\n"
    options = ("--temperature", 0, "--max-new-tokens", 4)
    verdict = judge(run(good, "chat", "--model", causal_model(good), *options, typed=turns))
    if verdict.fault or not verdict.accepted:
        raise RuntimeError(f"no conversation to begin with: {verdict}")


def _make_data_files(good: Path) -> None:
    import datasets

    rows = [json.loads(line) for line in (good / "validation.jsonl").read_text(encoding="utf-8").splitlines()]
    table = datasets.Dataset.from_list(rows)
    table.to_parquet(good / "data.parquet")
    table.to_csv(good / "data.csv", index=False)
    table.to_csv(good / "data.tsv", index=False, sep="\t")
    shutil.copyfile(good / "validation.jsonl", good / "data.jsonl")
    for name in ("data.jsonl", "data.csv"):
        (good / f"{name}.gz").write_bytes(gzip.compress((good / name).read_bytes()))


def _summarize(good: Path, document: Path) -> None:
    from lab.fuzz.commands import run

    options = ("--json", "--max-new-tokens", 3, "--model", summarizer(good))
    record = json.loads(run(good, "summarize", document, *options).stdout)
    (good / GOOD_SUMMARY).write_text(json.dumps(record["summary"]), encoding="utf-8")


def pdf(text: str) -> bytes:
    """Return a minimal PDF of one page, so small that damage has an effect."""
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        page + b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    content, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, entry in enumerate(objects, 1):
        offsets.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, entry)
    table = len(content)
    content += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    for offset in offsets:
        content += b"%010d 00000 n \n" % offset
    content += b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    return bytes(content)
