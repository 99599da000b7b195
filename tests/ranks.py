"""Four gloo ranks that run many cases: started once a module, since a start costs more than all that they compute.

A case is a module-level function that gets its rank's ``Mesh`` and picklable arguments, and returns what is compared.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

RANKS = 4
PATIENCE = 600  # seconds that a process may take


@dataclass
class Ranks:
    """The processes and the pipes to them."""

    processes: list[Any]
    pipes: list[Connection]

    def run(self, case: Callable[..., Any], *arguments: Any, ranks: int = RANKS) -> list[Any]:
        """Run a case on the first so many ranks, and return what each returns; after an error all start anew."""
        for pipe in self.pipes[:ranks]:
            pipe.send((case, arguments, ranks))
        found = [_answer(pipe) for pipe in self.pipes[:ranks]]
        errors = [error for failed, error in found if failed]
        if errors:
            for process in self.processes:
                process.kill()
                process.join()
            fresh = start()
            self.processes, self.pipes = fresh.processes, fresh.pipes
        assert not errors, "\n".join(errors)
        return [value for _, value in found]

    def close(self) -> None:
        """End the processes."""
        for pipe in self.pipes:
            pipe.send(None)
        for process in self.processes:
            process.join(PATIENCE)


def _answer(pipe: Connection) -> tuple[bool, Any]:
    """Return whether a rank failed, and what it answers."""
    if not pipe.poll(PATIENCE):
        return True, f"a rank has not answered for {PATIENCE} s"
    try:
        answer: tuple[bool, Any] = pipe.recv()
    except EOFError:
        answer = True, "a rank has died"
    return answer


def start() -> Ranks:
    """Start the ranks: forked, so that nothing is imported again."""
    context = multiprocessing.get_context("fork")
    store = Path(tempfile.mkdtemp(), "store")
    pairs = [context.Pipe() for _ in range(RANKS)]
    processes = [
        context.Process(target=_serve, args=(rank, store, pairs[rank][1]), daemon=True) for rank in range(RANKS)
    ]
    for process in processes:
        process.start()
    return Ranks(processes, [here for here, _ in pairs])


def _serve(rank: int, store: Path, pipe: Connection) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=RANKS)
    meshes: dict[int, DeviceMesh] = {}
    for size in range(1, RANKS + 1):
        group = dist.new_group(list(range(size)))  # all ranks call it, also those that are not in it
        if rank < size:
            meshes[size] = DeviceMesh.from_group(group, "cpu", mesh_dim_names=("segments",))
    while (task := pipe.recv()) is not None:
        case, arguments, size = task
        try:
            answer = False, case(meshes[size], *arguments)
        except BaseException:
            answer = True, f"rank {rank}: {traceback.format_exc()}"
        pipe.send(answer)
        if answer[0]:
            os._exit(1)  # the others wait for it in vain: they fail, too
    dist.destroy_process_group()


def two_dimensions(data: int, segments: int) -> DeviceMesh:
    """Return a mesh of all ranks with the dimensions "data" and "segments"."""
    return init_device_mesh("cpu", (data, segments), mesh_dim_names=("data", "segments"))
