"""Trains one step on one long document, of which each process holds some segments.

torchrun --nproc-per-node 4 examples/cluster/segments.py --tokens 65536
"""

from __future__ import annotations

import argparse

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.parallel import parallelize_module

from simmim import SimMIMConfig, SimMIMForCausalLM
from simmim.parallel import SegmentParallel, reduce_gradients


def main() -> None:
    """Train, and print what a rank held and sent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=16_384)
    options = parser.parse_args()
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    device = f"cuda:{dist.get_rank() % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"
    mesh = init_device_mesh(device.split(":")[0], (dist.get_world_size(),), mesh_dim_names=("segments",))

    torch.manual_seed(0)  # the same weights and the same document on every rank
    config = SimMIMConfig(
        vocab_size=512, hidden_size=64, intermediate_size=172, segment_length=64, state_reach="pyramid"
    )
    model = SimMIMForCausalLM(config).to(device)
    ids = torch.randint(4, 512, (1, options.tokens), device=device)
    style = SegmentParallel()
    parallelize_module(model, mesh["segments"], style)

    loss = model(input_ids=ids, labels=ids, skip_logits=True).loss
    loss.backward()
    reduce_gradients(model, mesh["segments"])
    torch.optim.AdamW(model.parameters()).step()
    for rank in range(dist.get_world_size()):
        dist.barrier()
        if rank == dist.get_rank():
            sent = ", ".join(f"{name} {size:,}" for name, size in style.sent.items())
            print(
                f"rank {rank}: {style.shares.tokens:,} tokens, loss {loss.item():.4f}; bytes sent: {sent}", flush=True
            )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
