"""From tensors to the card: allocated -> reserved -> device, with room to spare and at the edge.

With room the caching allocator keeps what a phase no longer needs, and phases do not share it: checkpoints that live
on split the freed blocks, so the loss cannot use the blocks of a layer, nor the optimizer those of the loss. Reserved
is then the peak plus the buffers of the phases that do not bind. Nothing in this sum is fitted; on 116 public runs it
misses the device figure by 2.6 % in the median (docs/accuracy.md).

Near the limit the allocator gives cached blocks back before it fails, and reserved falls towards allocated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..gpu import Gpu
from ..units import MIB, largest
from .phases import Moment, StepMemory
from .result import Source

CONTEXT_T4_BYTES = 141 * MIB
"""CUDA context and libraries on a T4: device minus reserved, the same in 59 public runs (corpus, fitcheck rows)."""
CONTEXT_BYTES = 500 * MIB
"""Elsewhere, assumed: the design's range is 0.14 to 0.6 GiB by card and driver."""
CONTEXT_RANGE_BYTES = (300 * MIB, 620 * MIB)

EDGE_LOW, EDGE_HIGH = 1.005, 1.10
"""Reserved over allocated when the allocator is under pressure. Full fine-tuning of Mistral-7B on A100-80 (corpus, fms
rows): one run ended at 1.014 with the context, one of 77.1 GB allocated ran on 85.9 GB, one of 78.5 GB did not."""
PRESSED_SHARE = 3
"""Where the figure with room would pass the card's size, the measured peak lay on average a third of the way from
the edge to the card's size (median of the 11 A100 runs of that kind)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers:
    """Bytes per GPU. `edge` figures hold under pressure; the others as the card would show them."""

    allocated_bytes: int
    reserved_bytes: int
    device_bytes: int
    edge_low_bytes: int
    edge_high_bytes: int
    context_bytes: int
    context_source: Source


def context_bytes(gpu: Gpu | None) -> tuple[int, tuple[int, int], Source]:
    """Memory outside the allocator: best value, range, and where it comes from."""
    if gpu is not None and gpu.compute_capability == (7, 5) and gpu.key == "t4":
        return CONTEXT_T4_BYTES, (CONTEXT_T4_BYTES - 2 * MIB, CONTEXT_T4_BYTES + 2 * MIB), "fitted"
    return CONTEXT_BYTES, CONTEXT_RANGE_BYTES, "assumed"


def reserved_with_room(step: StepMemory) -> Any:
    """What the allocator holds when nothing presses it: a peak plus the buffers of the other kinds of work.

    max over kinds k of (peak while k runs + buffers of the kinds that do not), kinds: loss, layer, optimizer step;
    beside an optimizer step the checkpoints are buffers too.
    """
    peaks: dict[str, Any] = {"loss": 0, "layer": 0, "optimizer": 0}
    for moment in step.moments:
        if moment.phase != "load":
            kind = _kind(step, moment)
            peaks[kind] = largest(peaks[kind], moment.bytes)
    buffers = _buffers(step)
    everything = buffers["loss"] + buffers["layer"] + buffers["optimizer"]
    result: Any = step.allocated
    for kind, peak in peaks.items():
        others = everything - buffers[kind] + (step.activations if kind == "optimizer" else 0)
        result = largest(result, peak + others)
    return result


def _kind(step: StepMemory, moment: Moment) -> str:
    if moment.phase == "optimizer_step":
        return "optimizer"
    return "loss" if moment.tape is step.tail.tape else "layer"


def _buffers(step: StepMemory) -> dict[str, Any]:
    """What each kind of work takes at its worst, beyond what stays through the step."""
    layer: Any = 0
    for item in step.layers:
        own = largest(item.fold.forward_peak, item.fold.backward_peak)
        kept = item.input_bytes if step.c.recipe.checkpointing else item.fold.saved_bytes
        layer = largest(layer, largest(own - kept, 0))
    return {
        "loss": largest(largest(step.head.forward_peak, step.head.loss_peak), step.head.backward_peak),
        "layer": layer,
        "optimizer": step.static.optimizer.temporary_bytes,
    }


def tiers(step: StepMemory, gpu: Gpu | None) -> Tiers:
    """The three tiers of one step (whole numbers only)."""
    allocated = step.allocated
    context, (context_low, context_high), source = context_bytes(gpu)
    low = int(allocated * EDGE_LOW) + context_low
    high = int(allocated * EDGE_HIGH) + context_high
    device = reserved_with_room(step) + context
    if gpu is not None and device > gpu.capacity_bytes:
        edge = (low + high) // 2
        device = max(allocated + context, edge + max(0, gpu.capacity_bytes - edge) // PRESSED_SHARE)
    return Tiers(
        allocated_bytes=allocated,
        reserved_bytes=device - context,
        device_bytes=device,
        edge_low_bytes=min(low, device),
        edge_high_bytes=high,
        context_bytes=context,
        context_source=source,
    )
