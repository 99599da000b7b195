"""Compares summaries of a document's own sentences with its beginning and with TextRank, on corpora with references.

    python -m lab.summaries --corpus debian-descriptions rfc-abstracts --limit 200 -o FILE.json

The length of each system is chosen by ROUGE-L on the validation split; the scores are those of the test split.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from rich.console import Console
from rich.progress import track

import lab.corpora  # noqa: F401  (registers them)
from simmim.cli.provenance import provenance
from simmim.data.corpora import load_corpus
from simmim.tasks.summarization.extractive import best_textrank
from simmim.tasks.summarization.extracts.extract import Digest, Extractor
from simmim.tasks.summarization.lead import best_lead, budgets
from simmim.tasks.summarization.rouge import mean_rouge_l, paired_difference, rouge, word_rule

__all__ = ["main", "parse"]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(prog="python -m lab.summaries", description=__doc__)
    parser.add_argument("--corpus", nargs="+", required=True)
    parser.add_argument("--limit", type=int, default=200, help="documents of each split, drawn with --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    extractor = Extractor.with_default_encoder("cpu")
    rows = [_measure(name, extractor, options.limit, options.seed) for name in options.corpus]
    if options.output:
        made = provenance("rouge-score", "networkx", "nltk")
        found = {
            "command": f"python -m lab.summaries {' '.join(arguments or sys.argv[1:])}",
            "corpora": rows,
            "made": made,
        }
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def _measure(corpus: str, extractor: Extractor, limit: int, seed: int) -> dict[str, Any]:
    rows = load_corpus(corpus)
    validation, test = (_drawn(rows[split], limit, seed) for split in ("validation", "test"))
    references = list(test["summary"])
    rule = word_rule(references)
    words, tried = _best_length(extractor, validation)
    lead, textrank = best_lead(validation), best_textrank(validation)
    systems: dict[str, Callable[[str], str]] = {
        "extract": lambda text: _text(extractor(text), words),
        "lead": lead,
        "textrank": textrank,
    }
    scores = {}
    for name, write in systems.items():
        documents = track(test["document"], f"{corpus}, {name}", console=Console(stderr=True))
        scores[name] = rouge([write(text) for text in documents], references, rule=rule)
    row = {
        **{"corpus": corpus, "documents": len(test), "rougeL by words on validation": tried},
        "settings": {"extract": f"{words} words", "lead": str(lead), "textrank": str(textrank)},
        "rougeL": {name: asdict(found.rougeL) for name, found in scores.items()},
        "extract minus": {
            name: asdict(paired_difference(scores["extract"], scores[name]).rougeL) for name in ("lead", "textrank")
        },
    }
    print(json.dumps(row), flush=True)
    return row


def _drawn(rows: Dataset, limit: int, seed: int) -> Dataset:
    return rows.select(sorted(random.Random(seed).sample(range(len(rows)), min(limit, len(rows)))))


def _best_length(extractor: Extractor, validation: Dataset) -> tuple[int, dict[int, float]]:
    """Return the words of a summary with the highest ROUGE-L, and the scores of all lengths that were tried."""
    references = list(validation["summary"])
    digests = [extractor(text) for text in track(validation["document"], "validation", console=Console(stderr=True))]
    rule = word_rule(references)
    scores = {
        words: round(mean_rouge_l([_text(one, words) for one in digests], references, rule=rule), 2)
        for words in budgets(references)
    }
    return max(scores, key=scores.__getitem__), scores


def _text(digest: Digest, words: int) -> str:
    return "\n".join(one.text for one in digest.summary(words))


if __name__ == "__main__":
    sys.exit(main())
