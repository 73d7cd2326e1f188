"""The training loops: what a stack does around forward, backward and the optimizer.

`raw` is a hand-written loop (no autocast unless asked, no clipping). `hf-trainer` does what `transformers.Trainer`
and accelerate do: autocast around forward only with outputs converted to fp32, outputs dropped before backward,
gradients clipped to 1.0, `use_cache` off, gradients set to None.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch


class Probe(Protocol):
    """Hears which phase the step is in."""

    def phase(self, phase: str) -> AbstractContextManager[None]: ...
    def set_phase(self, phase: str, step: int | None = None) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """How a stack runs a step."""

    convert_outputs_to_fp32: bool = True
    """accelerate wraps the forward so under mixed precision (accelerate.utils.convert_outputs_to_fp32)."""
    outputs_held: bool = False
    """Raw loops often keep `outputs` (and its logits) alive through backward."""
    clip_grad_norm: float | None = 1.0
    use_cache: bool | None = False
    attention_mask: bool = True
    reentrant: bool = False
    """torch.utils.checkpoint's older way, which holds a layer's output and its gradient while it is recomputed."""


RAW_T4 = Loop(convert_outputs_to_fp32=False, outputs_held=True, clip_grad_norm=None, use_cache=None, attention_mask=False)
RAW = Loop(convert_outputs_to_fp32=False, outputs_held=False, clip_grad_norm=None, attention_mask=False)
HF_TRAINER = Loop()

LOOPS = {"raw": RAW, "raw-t4": RAW_T4, "hf-trainer": HF_TRAINER, "trl": HF_TRAINER}


def run_step(
    model: Any,
    optimizer: Any,
    make_batch: Callable[[], dict[str, torch.Tensor]],
    loop: Loop,
    probe: Probe,
    *,
    autocast: torch.dtype | None,
    device_type: str,
    grad_accum: int = 1,
) -> None:
    """One optimizer step of `grad_accum` micro-batches."""
    for _ in range(grad_accum):
        outputs: Any = None
        with probe.phase("forward"):
            batch = make_batch()
            if loop.use_cache is not None:
                batch["use_cache"] = loop.use_cache  # type: ignore[assignment]
            with torch.autocast(device_type, dtype=autocast, enabled=autocast is not None):
                outputs = model(**batch)
            if autocast is not None and loop.convert_outputs_to_fp32:
                from accelerate.utils.operations import convert_to_fp32

                outputs = convert_to_fp32(outputs)
            loss = outputs["loss"]
            if not loop.outputs_held:
                outputs = None
        if grad_accum > 1:
            loss = loss / grad_accum
        with probe.phase("backward"):
            del batch
            loss.backward()
        del loss
    with probe.phase("optimizer_step"):
        if loop.clip_grad_norm is not None:
            trainable = [p for p in model.parameters() if p.requires_grad]
            torch.nn.utils.clip_grad_norm_(trainable, loop.clip_grad_norm, foreach=True)
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
