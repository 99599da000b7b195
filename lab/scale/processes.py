"""Trains a small model on 1, 2 and 4 gloo processes, and measures what each computes, sends and needs.

Processor time, not the clock: it does not depend on what else the machine does.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor.parallel import parallelize_module

from simmim import SimMIMConfig, SimMIMForCausalLM, SimMIMModel
from simmim.parallel import SegmentParallel, reduce_gradients

__all__ = ["measure"]

SIZES: dict[str, Any] = {"vocab_size": 512, "hidden_size": 128, "intermediate_size": 344, "num_attention_heads": 4}


def measure(tokens: int, ranks: int, steps: int, **settings: Any) -> list[dict[str, float]]:
    """Return of each rank the processor seconds and bytes of a step, and by how much it raised the peak memory.

    Args:
        tokens: N, of one document.
        ranks: K processes; 1 is the model as it is.
        steps: the least of so many is taken.
        **settings: of the model, beside its sizes; ``causal`` for a language model.
    """
    context = multiprocessing.get_context("spawn")
    store = str(Path(tempfile.mkdtemp(), "store"))
    queue = context.Queue()
    given = [(rank, ranks, store, tokens, steps, settings, queue) for rank in range(ranks)]
    processes = [context.Process(target=_train, args=arguments) for arguments in given]
    for process in processes:
        process.start()
    found = sorted((queue.get() for _ in processes), key=lambda one: one["rank"])
    for process in processes:
        process.join()
    return found


def _train(rank: int, ranks: int, store: str, tokens: int, steps: int, settings: dict[str, Any], queue: Any) -> None:
    torch.set_num_threads(1)
    settings = dict(settings)
    kind = SimMIMForCausalLM if settings.pop("causal", True) else SimMIMModel
    torch.manual_seed(0)
    model: Any = kind(SimMIMConfig(**SIZES, **settings))
    style = SegmentParallel()
    if ranks > 1:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
        mesh = DeviceMesh.from_group(dist.distributed_c10d._get_default_group(), "cpu", mesh_dim_names=("segments",))
        parallelize_module(model, mesh, style)
    ids = torch.randint(4, SIZES["vocab_size"], (1, tokens))
    # Once with little, so that what is held once and for all does not count.
    _step(model, ids[:, : 8 * ranks * model.config.segment_length], kind is SimMIMForCausalLM)
    model.zero_grad(set_to_none=False)
    before, seconds, sent = _peak(), [], 0
    for _ in range(steps):
        style.sent.clear()
        started = time.process_time()
        _step(model, ids, kind is SimMIMForCausalLM)
        seconds.append(time.process_time() - started)
        sent = sum(style.sent.values())
        if ranks > 1:
            reduce_gradients(model, mesh)
        model.zero_grad(set_to_none=False)
    queue.put({"rank": rank, "seconds": min(seconds), "sent": sent, "peak_bytes": _peak() - before})
    if ranks > 1:
        dist.destroy_process_group()


def _step(model: Any, ids: torch.Tensor, causal: bool) -> None:
    if causal:
        model(input_ids=ids, labels=ids, skip_logits=True).loss.backward()
    else:
        output = model(input_ids=ids)
        (output.last_hidden_state.square().mean() + output.pooler_output.square().mean()).backward()


def _peak() -> int:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
