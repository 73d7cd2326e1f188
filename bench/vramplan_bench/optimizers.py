"""Recipe -> optimizer, with the implementation that a CUDA run would have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

import torch

from vramplan.recipe import Optimizer

from .tracker import StorageTracker

PAGED_FROM_ELEMENTS = 100_000
"""bitsandbytes/optim/optimizer.py, get_state_buffer: smaller states are ordinary tensors."""
CODE_TABLE_ENTRIES = 256
"""bitsandbytes/functional.py, create_dynamic_map: one figure for each byte."""


@contextmanager
def paged_states(tracker: StorageTracker) -> Iterator[None]:
    """Large states of paged optimizers are managed memory, as on a GPU; on the CPU bitsandbytes does not page. The
    tables of 8-bit codes lie on the card, where bitsandbytes moves them at the first step."""
    if find_spec("bitsandbytes") is None:
        yield
        return
    from bitsandbytes.optim.optimizer import Optimizer8bit

    def get_state_buffer(self: Any, p: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        if not self.is_paged or p.numel() < PAGED_FROM_ELEMENTS:
            return torch.zeros_like(p, dtype=dtype)
        with tracker.on_host():
            return torch.zeros_like(p, dtype=dtype)

    def fill_qmap(self: Any) -> None:
        for name in ("dynamic", "udynamic"):
            self.name2qmap[name] = torch.empty(CODE_TABLE_ENTRIES)

    with (
        patch.object(Optimizer8bit, "get_state_buffer", get_state_buffer),
        patch.object(Optimizer8bit, "fill_qmap", fill_qmap),
    ):
        yield


def build_optimizer(
    name: Optimizer, parameters: Iterable[torch.nn.Parameter], *, wide: Iterable[torch.nn.Embedding] = ()
) -> Any:
    """The optimizer over trainable parameters. `foreach` is what torch picks on CUDA when nothing is said.

    8-bit optimizers keep fp32 states for the embeddings `wide`, as transformers' Trainer has it (trainer.py,
    create_optimizer).
    """
    trainable = [p for p in parameters if p.requires_grad]
    if name == "adamw":
        return torch.optim.AdamW(trainable, lr=1e-4, foreach=True)
    if name == "adamw_fused":
        return torch.optim.AdamW(trainable, lr=1e-4, fused=True)
    if name in ("sgd", "sgd_momentum"):
        return torch.optim.SGD(trainable, lr=1e-4, momentum=0.9 if name == "sgd_momentum" else 0.0, foreach=True)
    if name == "adafactor":
        from transformers.optimization import Adafactor

        return Adafactor(trainable, scale_parameter=False, relative_step=False, lr=1e-4)
    import bitsandbytes as bnb

    classes = {
        "adamw_8bit": bnb.optim.AdamW8bit,
        "paged_adamw_8bit": bnb.optim.PagedAdamW8bit,
        "paged_adamw_32bit": bnb.optim.PagedAdamW32bit,
        "lion": bnb.optim.Lion32bit,
        "lion_8bit": bnb.optim.Lion8bit,
        "paged_lion_8bit": bnb.optim.PagedLion8bit,
    }
    optimizer = classes[name](trainable, lr=1e-4)
    overrides = bnb.optim.GlobalOptimManager.get_instance()
    overrides.initialize()  # it lives as long as the process, and knows parameters by their place
    if "8bit" in name:
        for embedding in wide:
            overrides.register_module_override(embedding, "weight", {"optim_bits": 32})
    return optimizer
