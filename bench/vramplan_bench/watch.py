"""Tells the tracker where in the model the step is: which module runs, and which layer forward and backward reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from .tracker import StorageTracker


@contextmanager
def module_names(model: nn.Module, tracker: StorageTracker) -> Iterator[None]:
    """Blocks made inside carry the path of the module that ran."""
    names = {id(module): name for name, module in model.named_modules()}
    stack: list[str] = []

    def enter(module: nn.Module, _: Any) -> None:
        stack.append(tracker.module)
        tracker.module = names.get(id(module), tracker.module)

    def leave(module: nn.Module, *_: Any) -> None:
        tracker.module = stack.pop()

    with ExitStack() as handles:
        handles.callback(nn.modules.module.register_module_forward_pre_hook(enter).remove)
        # always_call: checkpointing leaves the recomputation early, by an exception
        handles.callback(nn.modules.module.register_module_forward_hook(leave, always_call=True).remove)
        yield


def decoder_layers(model: nn.Module, depth: int) -> list[nn.Module]:
    """The stack of decoder layers: the heaviest list of modules with `depth` entries; empty where there is none."""
    lists: list[nn.ModuleList] = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
    if not lists:
        return []
    return list(max(lists, key=lambda m: _weight(m)))


def _weight(module: Any) -> int:
    return sum(p.numel() for p in module.parameters())


def follow_layers(layers: list[nn.Module], tracker: StorageTracker) -> None:
    """Mark in the stream where each layer's forward begins and ends, and where its backward begins."""
    for number, layer in enumerate(layers):
        layer.register_forward_pre_hook(lambda *_, n=number: tracker.set_segment(n))
        layer.register_forward_hook(lambda _, __, out, n=number: _watch_gradient(out, n, tracker))
    if layers:
        layers[-1].register_forward_hook(lambda *_: tracker.set_segment("after"))


def _watch_gradient(out: Any, number: int, tracker: StorageTracker) -> None:
    hidden = out if isinstance(out, torch.Tensor) else out[0]
    if hidden.requires_grad:
        hidden.register_hook(lambda _: tracker.set_segment(number))
