"""Scores what the cells of the benchmark of summaries wrote, and shows it as a table and a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import load_from_disk
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.table import Table

from benchmarks.measure import hardware
from benchmarks.quality_models import FORMS
from simmim.tasks.summarization.comparison import figures, length_buckets
from simmim.tasks.summarization.extractive import best_textrank
from simmim.tasks.summarization.lead import best_lead
from simmim.tasks.summarization.rouge import Rouge, estimate, rouge, word_rule

__all__ = ["LONG", "Scored", "gather", "gather_long", "long_table", "plot", "score_corpus", "table"]

LONG = 2048
"""Tokens from which on a document is long."""

Scores = Mapping[str, npt.NDArray[np.float64]]
"""Of each system a row of figures for each document."""

STYLES = {
    "simmim": ("#0b6e99", "o"),
    "full": ("#c2571a", "s"),
    "local": ("#7d4f9e", "^"),
    "led": ("#2f8f4e", "D"),
    "lead": ("#777777", "x"),
    "textrank": ("#b5a642", "+"),
}


@dataclass(frozen=True)
class Scored:
    """Holds what every system and both baselines got on the test documents of a corpus.

    Attributes:
        about: what each baseline is, in words.
        by_seed: of each system ROUGE of each seed.
        groups: of the documents.
        lengths: of the documents, in tokens.
    """

    about: dict[str, str]
    by_seed: dict[str, list[Rouge]]
    groups: list[str]
    lengths: list[int]

    @cached_property
    def scores(self) -> Scores:
        """Of each system the scores, the mean over its seeds."""
        return {name: np.mean([one.scores for one in found], axis=0) for name, found in self.by_seed.items()}


def score_corpus(work: Path, corpus: str, systems: Mapping[str, Mapping[str, Any]]) -> Scored:
    """Score all systems and two baselines on the test documents of a corpus.

    Args:
        work: the folder of the benchmark.
        corpus: its name.
        systems: of each trained system what its cells reached and wrote, a cell a seed.
    """
    test, validation = load_from_disk(work / "data" / "test"), load_from_disk(work / "data" / "validation")
    places = [place for place, name in enumerate(test["corpus"]) if name == corpus]
    test = test.select(places)
    validation = validation.filter(lambda row: row["corpus"] == corpus)
    references, groups, documents = list(test["summary"]), list(test["group"]), list(test["document"])
    rule = word_rule(references)
    baselines: dict[str, Callable[[str], str]] = {"lead": best_lead(validation), "textrank": best_textrank(validation)}
    texts = {
        name: [[one["texts"][place] for place in places] for one in found["written"]] for name, found in systems.items()
    }
    texts |= {name: [[baseline(text) for text in documents]] for name, baseline in baselines.items()}
    seeds = {name: [rouge(one, references, groups=groups, rule=rule) for one in found] for name, found in texts.items()}
    about = {name: str(baseline) for name, baseline in baselines.items()}
    return Scored(about, seeds, groups, list(test["length"]))


def gather(scored: Scored) -> dict[str, Any]:
    """Return the figures of a corpus.

    Returns:
        Of each system ROUGE of each seed, and ROUGE of the mean over the seeds with its interval over documents, over
        all and by length; and SimMIM, with the same copy head, minus it, paired.
    """
    gathered: dict[str, Any] = {
        name: {
            "about": scored.about.get(name, name),
            **found,
            "rouge_by_seed": [figures(one) for one in scored.by_seed[name]],
            "by_length": [],
        }
        for name, found in _estimates(scored.scores, scored.groups).items()
    }
    for bucket in length_buckets(scored.lengths):
        if not bucket.rows:
            continue
        within = {name: values[np.array(bucket.rows)] for name, values in scored.scores.items()}
        about = {"label": bucket.label, "documents": len(bucket.rows), "few": bucket.few}
        for name, found in _estimates(within, [scored.groups[row] for row in bucket.rows]).items():
            gathered[name]["by_length"].append(about | found)
    return gathered


def gather_long(corpora: Mapping[str, Scored]) -> dict[str, Any]:
    """Return the figures of all corpora' documents of `LONG` tokens or more together; nothing if there are none."""
    chosen = {name: np.array(scored.lengths) >= LONG for name, scored in corpora.items()}
    groups = [
        f"{name}/{group}"
        for name, scored in corpora.items()
        for group, long in zip(scored.groups, chosen[name], strict=True)
        if long
    ]
    if not groups:
        return {}
    systems = next(iter(corpora.values())).scores
    scores = {
        system: np.concatenate([scored.scores[system][chosen[name]] for name, scored in corpora.items()])
        for system in systems
    }
    return {"at_least_tokens": LONG, "documents": len(groups), "systems": _estimates(scores, groups)}


def _estimates(scores: Scores, groups: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return of each system ROUGE with its intervals, and what SimMIM has more, document by document."""
    found: dict[str, dict[str, Any]] = {}
    for name, values in scores.items():
        found[name] = {"rouge": figures(estimate(values, groups))}
        ours = _ours(name, scores)
        if ours is not None and name != ours:
            found[name]["simmim_minus_this"] = figures(estimate(scores[ours] - values, groups))
    return found


def _ours(name: str, scores: Scores) -> str | None:
    """Return the SimMIM that a system is compared with: that with the same copy head, for a baseline that with one."""
    wanted: tuple[str, ...] = ("simmim-copy",) if name.endswith("-copy") else ("simmim",)
    if name in ("lead", "textrank"):
        wanted = ("simmim-copy", "simmim")
    return next((ours for ours in wanted if ours in scores), None)


def table(record: dict[str, Any], corpus: str) -> Table:
    """Return the figures of a corpus as a table for the terminal."""
    machine = record["machine"]
    shown = Table(title=f"{corpus}\n{hardware(machine)}")
    for heading in ("", "M parameters", "nats", "ROUGE-L", "SimMIM - this", "tokens/s", "peak MiB"):
        shown.add_column(heading, justify="right" if heading else "left")
    for name, scored in record["scores"][corpus].items():
        cells = _rouge_l(scored)
        found = record["systems"].get(name)
        if found is None:
            shown.add_row(f"{name}: {scored['about']}", "", "", *cells, "", "")
            continue
        trained = found["trained"]
        peaks = [one["peak_bytes"] for one in trained if one["peak_bytes"] is not None]
        shown.add_row(
            _label(found),
            f"{trained[0]['parameters']['total'] / 1e6:.2f}",
            f"{mean(one['validation_loss'] for one in trained):.4f}",
            *cells,
            f"{mean(one['tokens_per_second'] for one in trained):,.0f}",
            f"{max(peaks) / 2**20:,.0f}" if peaks else "not measured",
        )
    return shown


def long_table(record: dict[str, Any]) -> Table:
    """Return the figures of the long documents of all corpora as a table for the terminal."""
    found = record["long_documents"]
    shown = Table(title=f"{found['documents']:,} documents of {found['at_least_tokens']:,} tokens or more, all corpora")
    for heading in ("", "ROUGE-L", "SimMIM - this"):
        shown.add_column(heading, justify="right" if heading else "left")
    for name, scored in found["systems"].items():
        system = record["systems"].get(name)
        shown.add_row(name if system is None else _label(system), *_rouge_l(scored))
    return shown


def plot(record: dict[str, Any]) -> Figure:
    """Draw ROUGE-L by length, a row a corpus, without and with the copy head, and what training took."""
    systems, training, scores = record["systems"], record["training"], record["scores"]
    heads = [head for head in (False, True) if any(found["copy_head"] == head for found in systems.values())]
    figure = Figure(figsize=(5 + 4.6 * len(heads), 4.8 * len(scores)), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(scores), len(heads) + 1, squeeze=False, width_ratios=[*(1.3 for _ in heads), 1])
    for panels, (corpus, scored) in zip(rows, scores.items(), strict=True):
        for axes, copying in zip(panels, heads, strict=False):
            chosen = {
                name: systems.get(name, {}) | found
                for name, found in scored.items()
                if systems.get(name, {}).get("copy_head", copying) == copying
            }
            _scores(axes, chosen, f"{corpus}, {'with' if copying else 'without'} the copy head")
        panels[-1].set_axis_off()
    rows[0][-1].set_axis_on()
    _speed(rows[0][-1], systems)
    machine = record["machine"]
    figure.suptitle(
        f"Summaries: {training['steps']:,} steps of at most "
        f"{training['tokens_per_batch']:,} tokens, documents of at most {training['size']['max_source_tokens']:,}, "
        f"{len(record['seeds'])} seed(s)\n{hardware(machine)}, "
        f"{training['dtype']}, torch {machine['torch']}, {record['date']}",
        fontsize=11,
    )
    return figure


def _scores(axes: Axes, systems: Mapping[str, Any], title: str) -> None:
    """Draw ROUGE-L with its intervals, over all documents and by length; hollow marks for few documents."""
    axes.set_title(title, fontsize=10)
    labels: list[str] = []
    for place, (name, found) in enumerate(systems.items()):
        colour, marker = STYLES[found.get("form", name)]
        total = {"label": "all", "documents": sum(row["documents"] for row in found["by_length"]), "few": False}
        rows = [total | {"rouge": found["rouge"]}, *found["by_length"]]
        labels = [f"{row['label']}\n({row['documents']:,})" for row in rows]
        shift = 0.6 * ((place + 0.5) / len(systems) - 0.5)
        for column, row in enumerate(rows):
            value = row["rouge"]["rougeL"]
            axes.errorbar(
                [column + shift],
                [value["mean"]],
                yerr=[[max(value["mean"] - value["low"], 0)], [max(value["high"] - value["mean"], 0)]],
                fmt=marker,
                color=colour,
                markerfacecolor="none" if row["few"] else colour,
                capsize=2,
                label=FORMS.get(found.get("form", ""), name) if column == 0 else None,
            )
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlabel("tokens of the document (documents)")
    axes.set_ylabel("ROUGE-L, 95 % intervals")
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.06))


def _speed(axes: Axes, systems: Mapping[str, Any]) -> None:
    """Draw the source tokens that training reads in a second."""
    names = [_label(found, ",\n") for found in systems.values()]
    speeds = [mean(one["tokens_per_second"] for one in found["trained"]) for found in systems.values()]
    bars = axes.barh(names, speeds, color=[STYLES[found["form"]][0] for found in systems.values()])
    axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel("source tokens a second, in training")
    axes.spines[["top", "right"]].set_visible(False)


def _interval(found: Mapping[str, float]) -> str:
    return f"{found['mean']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def _rouge_l(scored: Mapping[str, Any]) -> tuple[str, str]:
    """Return a system's ROUGE-L, and what SimMIM has more of it, if they are compared."""
    difference = scored.get("simmim_minus_this", {}).get("rougeL")
    return _interval(scored["rouge"]["rougeL"]), _interval(difference) if difference else ""


def _label(system: Mapping[str, Any], separator: str = ", ") -> str:
    return FORMS[system["form"]] + f"{separator}copying" * system["copy_head"]
