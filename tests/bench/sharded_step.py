"""A step of a tiny Llama on two processes of the CPU: prints the bytes that the first of them holds, as JSON.

python tests/bench/sharded_step.py CONFIG_FOLDER PORT
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from transformers import AutoConfig, AutoModelForCausalLM

GPUS = 2


def held(tensors: Iterable[Any]) -> int:
    """Bytes of this process's parts."""
    local = [t.to_local() if hasattr(t, "to_local") else t for t in tensors]
    return sum(t.numel() * t.element_size() for t in local)


def shared(folder: str) -> torch.nn.Module:
    """The units that accelerate 1.15 makes (utils/fsdp_utils.py, fsdp2_prepare_model)."""
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.bfloat16)
    for unit in (*model.model.layers, model.model.embed_tokens, [model.model.norm, model.lm_head], model):
        fully_shard(unit, mp_policy=policy)
    return model


def work(rank: int, folder: str, port: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=GPUS)
    model = shared(folder)
    optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
    ids = torch.randint(0, 64, (1, 8))
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    if rank == 0:
        states = [t for state in optimizer.state.values() for name, t in state.items() if name != "step"]
        gradients = [p.grad for p in model.parameters()]
        found = {"weights": held(model.parameters()), "gradients": held(gradients), "states": held(states)}
        print(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(work, args=(sys.argv[1], sys.argv[2]), nprocs=GPUS)
