"""Compares SimMIM's encoder with those of transformers: processor time of a forward pass and a training step, memory.

``python -m benchmarks.encoders`` runs everything; ``benchmarks/README.md`` says what the figures mean.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    BigBirdConfig,
    BigBirdModel,
    LongformerConfig,
    LongformerModel,
    LongT5Config,
    LongT5EncoderModel,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedModel,
)

from benchmarks.measure import hardware, keep_freed_memory, matching_width, peak_memory, run_facts
from benchmarks.report import in_short, logarithmic, save
from benchmarks.speed import DTYPES, RESULTS, forward, positive, training_step
from simmim import SimMIMConfig, SimMIMModel

__all__ = ["FORMS", "build", "compare", "main", "parameters"]

VOCABULARY, LAYERS, WINDOW = 8192, 6, 128
ENOUGH = 20.0
"""Processor seconds of a form at a length after which no further repeat is begun."""
Build = Callable[[int, int, int], PreTrainedModel]
"""Makes a model of a width E, of a width of the FFN, for documents of so many tokens."""


def _simmim(hidden: int, inner: int, length: int, **changes: Any) -> PreTrainedModel:
    sizes: dict[str, Any] = {"vocab_size": VOCABULARY, "hidden_size": hidden, "intermediate_size": inner}
    sizes |= {"num_hidden_layers": LAYERS, "num_attention_heads": hidden // 64}
    return SimMIMModel(SimMIMConfig(**sizes | changes), add_pooling_layer=False)


def _full(hidden: int, inner: int, length: int) -> PreTrainedModel:
    return _simmim(hidden, inner, length, segment_length=length)


def _sizes(hidden: int, inner: int, length: int) -> dict[str, Any]:
    common: dict[str, Any] = {"vocab_size": VOCABULARY, "hidden_size": hidden, "intermediate_size": inner}
    common |= {"num_hidden_layers": LAYERS, "num_attention_heads": hidden // 64, "max_position_embeddings": length}
    return common | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


_NO_DROPOUT: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def _bert(hidden: int, inner: int, length: int) -> PreTrainedModel:
    config = BertConfig(**_sizes(hidden, inner, length), **_NO_DROPOUT)
    return BertModel(config, add_pooling_layer=False)


def _modernbert(hidden: int, inner: int, length: int, every: int = 3) -> PreTrainedModel:
    tokens: dict[str, Any] = {"cls_token_id": 1, "sep_token_id": 2}
    window: dict[str, Any] = {"global_attn_every_n_layers": every, "local_attention": WINDOW}
    config = ModernBertConfig(**_sizes(hidden, inner, length), **tokens, **window)
    return ModernBertModel(config)


def _longformer(hidden: int, inner: int, length: int) -> PreTrainedModel:
    sizes = _sizes(hidden, inner, length) | {"max_position_embeddings": length + 1}
    config = LongformerConfig(**sizes, **_NO_DROPOUT, attention_window=2 * WINDOW, sep_token_id=2)
    return LongformerModel(config, add_pooling_layer=False)


def _longt5(hidden: int, inner: int, length: int) -> PreTrainedModel:
    heads: dict[str, Any] = {
        "d_model": hidden,
        "d_kv": 64,
        "num_heads": hidden // 64,
        "d_ff": inner,
        "num_layers": LAYERS,
    }
    kind: dict[str, Any] = {
        "encoder_attention_type": "transient-global",
        "feed_forward_proj": "gated-gelu",
        "dropout_rate": 0.0,
    }
    return LongT5EncoderModel(LongT5Config(vocab_size=VOCABULARY, **heads, **kind, pad_token_id=0, eos_token_id=2))


def _bigbird(hidden: int, inner: int, length: int) -> PreTrainedModel:
    blocks: dict[str, Any] = {"attention_type": "block_sparse", "block_size": 64, "num_random_blocks": 3}
    config = BigBirdConfig(**_sizes(hidden, inner, length), **_NO_DROPOUT, **blocks, sep_token_id=2)
    return BigBirdModel(config, add_pooling_layer=False)


FORMS: dict[str, tuple[str, Build]] = {
    "simmim": ("SimMIM", _simmim),
    "pyramid": ("SimMIM, pyramid of states", partial(_simmim, state_reach="pyramid")),
    "full": ("full attention (our code)", _full),
    "bert": ("BERT, sdpa", _bert),
    "global": ("ModernBERT, all layers global", partial(_modernbert, every=1)),
    "modernbert": ("ModernBERT", _modernbert),
    "longformer": ("Longformer, window 256", _longformer),
    "longt5": ("LongT5, transient global", _longt5),
    "bigbird": ("BigBird, blocks of 64", _bigbird),
}
"""Name and builder of every encoder."""


def parameters(model: PreTrainedModel) -> int:
    """Return how many parameters the layers of an encoder have: all but embeddings of tokens and positions."""
    shared = {
        id(one) for module in model.modules() if isinstance(module, torch.nn.Embedding) for one in module.parameters()
    }
    return sum(parameter.numel() for parameter in model.parameters() if id(parameter) not in shared)


def build(form: str, hidden: int, length: int, dtype: str = "float32") -> PreTrainedModel:
    """Build an encoder with random weights; its FFN is as wide as gives it the number of parameters of SimMIM's.

    Args:
        form: one of ``FORMS``.
        hidden: E.
        length: N, tokens of the documents.
        dtype: of weights and activations.
    """
    make, width = FORMS[form][1], 64 * round(11 * hidden / 4 / 64)
    if form not in ("simmim", "full"):
        with torch.device("meta"):
            wanted = parameters(_simmim(hidden, width, length))
            width = matching_width(wanted, lambda inner: parameters(make(hidden, inner, length)))
    torch.manual_seed(0)
    model = make(hidden, width, length)
    torch.nn.Module.to(model, DTYPES[dtype])
    return model.train()


def document(length: int) -> Tensor:
    """Return ``[1, N]`` random token ids."""
    return torch.randint(3, VOCABULARY, (1, length), generator=torch.Generator().manual_seed(1))


def step_for_memory(form: str, hidden: int, length: int, dtype: str, threads: int) -> Callable[[], None]:
    """Return the training step whose memory is measured, after a short one that loads libraries."""
    torch.set_num_threads(threads)
    model, ids = build(form, hidden, length, dtype), document(length)
    training_step(model, ids[:, :1024] if form == "bigbird" else ids[:, :256])
    return partial(training_step, model, ids)


def compare(forms: Sequence[str], hidden: int, length: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure all encoders at one length in turn, so that what else the machine does meets all alike."""
    ids = document(length)
    found: dict[str, dict[str, list[float]]] = {form: {"forward": [], "step": []} for form in forms}
    models = {form: build(form, hidden, length, arguments.dtype) for form in forms}
    for repeat in range(arguments.repeats + 1):  # the first is a warm-up, unless it took long enough to count
        for form, model in models.items():
            for what, run in (("forward", forward), ("step", training_step)):
                seconds = found[form][what]
                if sum(seconds) > ENOUGH:
                    continue
                gc.collect()
                began = time.process_time()
                run(model, ids)
                seconds.append(time.process_time() - began)
                if repeat == 1 and seconds[0] < ENOUGH / 4:
                    del seconds[0]
    row: dict[str, Any] = {"hidden_size": hidden, "length": length, "forms": {}}
    for form, model in models.items():
        memory = peak_memory(step_for_memory, form, hidden, length, arguments.dtype, arguments.threads)
        row["forms"][form] = {
            "parameters": parameters(model),
            "forward": median(found[form]["forward"]),
            "step": median(found[form]["step"]),
            "processor_seconds": found[form],
            "peak_memory": memory,
        }
    return row


def table(record: dict[str, Any]) -> Table:
    """Return how many times as much as SimMIM every encoder needs."""
    shown = Table(title=f"{record['command']}\n{hardware(record['machine'])}; other / SimMIM")
    for heading in ("E", "tokens", "encoder", "forward", "step", "memory", "step (CPU s)"):
        shown.add_column(heading, justify="left" if heading == "encoder" else "right")
    for row in record["rows"]:
        ours = row["forms"]["simmim"]
        for form, one in row["forms"].items():
            ratios = [
                f"{one[what] / ours[what]:.2f}" if one[what] and ours[what] else ""
                for what in ("forward", "step", "peak_memory")
            ]
            name = (str(row["hidden_size"]), f"{row['length']:,}") if form == "simmim" else ("", "")
            shown.add_row(
                *name, FORMS[form][0], *ratios, f"{one['step']:.2f}", end_section=form == list(row["forms"])[-1]
            )
    return shown


def plot(record: dict[str, Any]) -> Figure:
    """Draw processor time and memory of a training step against the length of the document."""
    rows = [row for row in record["rows"] if row["hidden_size"] == record["rows"][0]["hidden_size"]]
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3)
    kinds = (
        ("forward", "forward pass (CPU s)", 1),
        ("step", "training step (CPU s)", 1),
        ("peak_memory", "training step, memory (MiB)", 2**20),
    )
    for axes, (what, label, unit) in zip(panels, kinds, strict=True):
        for number, form in enumerate(record["rows"][0]["forms"]):
            points = [(row["length"], row["forms"][form][what] / unit) for row in rows if row["forms"][form][what]]
            style = {"linewidth": 2.4, "color": "#0b6e99"} if form == "simmim" else {"linewidth": 1.1}
            axes.plot(*zip(*points, strict=True), marker="os^DvPX*<"[number], label=FORMS[form][0], **style)
        lengths = [row["length"] for row in rows]
        logarithmic(axes, lengths, [in_short(length) for length in lengths], label)
    panels[0].legend(frameon=False, fontsize=8)
    figure.suptitle(
        f"Encoders of equal size: E = {rows[0]['hidden_size']}, {LAYERS} layers, {record['dtype']}\n"
        f"{hardware(record['machine'])}, torch {record['machine']['torch']}, {record['date']}",
        fontsize=11,
    )
    return figure


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encoders", description=__doc__)
    parser.add_argument(
        "--lengths", type=positive, nargs="+", default=[512, 4096, 16384], help="tokens of the document"
    )
    parser.add_argument("--hidden", type=positive, nargs="+", default=[256], help="E, a multiple of 64")
    parser.add_argument("--forms", choices=FORMS, nargs="+", default=list(FORMS))
    parser.add_argument("--repeats", type=positive, default=5, help="timed runs, fewer where they take long")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of weights and activations")
    parser.add_argument("--threads", type=positive, default=2, help="of torch")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark, write its results and print them."""
    arguments = _arguments(argv)
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    forms = ["simmim", *(form for form in arguments.forms if form != "simmim")]
    words = {name: " ".join(map(str, getattr(arguments, name))) for name in ("hidden", "lengths")}
    command = (
        f"python -m benchmarks.encoders --hidden {words['hidden']} --lengths {words['lengths']}"
        f" --forms {' '.join(forms)} --repeats {arguments.repeats} --dtype {arguments.dtype}"
        f" --threads {arguments.threads}"
    )
    record = run_facts("encoders", command) | {"dtype": arguments.dtype, "layers": LAYERS, "rows": []}
    console = Console()
    stem = arguments.out / f"{record['date']}-encoders-{arguments.dtype}"
    for hidden in arguments.hidden:
        for length in sorted(set(arguments.lengths)):
            with console.status(f"E = {hidden}, {length:,} tokens"):
                record["rows"].append(compare(forms, hidden, length, arguments))
            data, picture = save(record, stem, plot)  # a long run that is ended leaves what it has
    console.print(table(record))
    console.print(f"written: {data} and {picture.name}", soft_wrap=True)


if __name__ == "__main__":
    main()
