"""From tensors to the card: allocated -> reserved -> device, with room to spare and at the edge.

With room the caching allocator keeps what a phase no longer needs, and phases do not share it: checkpoints that live
on split the freed blocks, so the loss cannot use the blocks of a layer, nor the optimizer those of the loss. Reserved
is then the peak plus the buffers of the phases that do not bind. Nothing in this sum is fitted; on 116 public runs it
misses the device figure by 2.6 % in the median (docs/accuracy.md).

Near the limit the allocator gives cached blocks back before it fails, and reserved falls towards allocated.

A profile (vramplan.profile) puts what was measured on a card and stack in the place of what is assumed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..gpu import Gpu
from ..units import MIB, either, largest, share, smallest
from .moment import Moment
from .phases import StepMemory
from .result import Source

if TYPE_CHECKING:
    from ..profile import Profile

CONTEXT_T4_BYTES = 141 * MIB
"""CUDA context and libraries on a T4: device minus reserved, the same in 59 public runs (corpus, fitcheck rows)."""
CONTEXT_BYTES = 500 * MIB
"""Elsewhere, assumed: the design's range is 0.14 to 0.6 GiB by card and driver."""
CONTEXT_RANGE_BYTES = (300 * MIB, 620 * MIB)

NCCL_BYTES = 2**30
NCCL_LOW_BYTES = 256 * MIB
"""Assumed: what NCCL takes on each of several GPUs for channels and kernels, outside the allocator."""

EDGE_LOW, EDGE_HIGH = 1.005, 1.10
"""Reserved over allocated when the allocator is under pressure. Full fine-tuning of Mistral-7B on A100-80 (corpus, fms
rows): one run ended at 1.014 with the context, one of 77.1 GB allocated ran on 85.9 GB, one of 78.5 GB did not."""
GAPS = 4
"""Gradients of checkpoints that live on under FSDP1 (half of `left_behind`) take the blocks of the loss, layer by
layer, and half as much is lost in gaps: assumed; LoRA on 2 and 4 A100 with 2 to 16 GiB of them lost 0.4 to 0.5 of it
(corpus, 56 fms rows)."""
PRESSED_SHARE = 3
"""Where the figure with room would pass the card's size, the measured peak lay on average a third of the way from
the edge to the card's size (median of the 11 A100 runs of that kind)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers:
    """Bytes per GPU, or arrays of them. `edge` figures hold under pressure; the others as the card would show them."""

    allocated_bytes: int
    reserved_bytes: int
    device_bytes: int
    device_interval_bytes: tuple[int, int]
    edge_low_bytes: int
    edge_high_bytes: int
    context_bytes: int
    context_source: Source
    cached_source: Source
    """Of what the allocator keeps beyond the tensors."""


def context_bytes(gpu: Gpu | None, profile: Profile | None = None) -> tuple[int, tuple[int, int], Source]:
    """Memory outside the allocator: best value, range, and where it comes from."""
    if profile is not None and (found := profile.constants.get("context_bytes")) is not None:
        workspace = profile.constants.get("workspace_bytes")
        size = found.value + (workspace.value if workspace else 0)
        error = 2 * (found.standard_error + (workspace.standard_error if workspace else 0))
        return int(size), (int(max(size - error, 0)), int(size + error)), "fitted"
    if gpu is not None and gpu.compute_capability == (7, 5) and gpu.key == "t4":
        return CONTEXT_T4_BYTES, (CONTEXT_T4_BYTES - 2 * MIB, CONTEXT_T4_BYTES + 2 * MIB), "fitted"
    return CONTEXT_BYTES, CONTEXT_RANGE_BYTES, "assumed"


def edge_range(profile: Profile | None = None) -> tuple[float, float]:
    """Reserved over allocated on a full card: from what surely fails above it to what surely runs below."""
    edge = None if profile is None else profile.constants.get("edge_elasticity")
    if profile is None or edge is None:
        return EDGE_LOW, EDGE_HIGH
    spread = profile.quantiles.get("edge")
    low, high = (spread.low, spread.high) if spread else (0.0, 0.0)
    doubt = 2 * edge.standard_error
    return edge.value * (1 + low) - doubt, edge.value * (1 + high) + doubt


def reserved_with_room(step: StepMemory) -> Any:
    """What the allocator holds when nothing presses it: a peak plus the buffers of the other kinds of work.

    max over kinds k of (peak while k runs + buffers of the kinds that do not), kinds: loss, layer, optimizer step;
    beside an optimizer step the checkpoints are buffers too, and what the loop's variable holds then lies in some of
    them. What several GPUs gather lies in the pool of another stream, which only that stream uses again.
    """
    peaks: dict[str, Any] = {"loss": 0, "layer": 0, "optimizer": 0}
    running = [moment for moment in step.moments if moment.phase != "load"]
    gathered: Any = 0
    for moment in running:
        gathered = largest(gathered, moment.shared)
    for moment in running:
        kind = _kind(step, moment)
        peaks[kind] = largest(peaks[kind], moment.bytes - moment.shared + gathered)
    buffers = _buffers(step)
    everything = buffers["loss"] + buffers["layer"] + buffers["optimizer"]
    result: Any = step.allocated
    for kind, peak in peaks.items():
        others = everything - buffers[kind]
        if kind == "optimizer":
            others = others + step.activations - step.left_over
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
        stays = item.fold.weight_grads if step.c.recipe.sharding in ("none", "ddp") else 0  # else sent, and given back
        own = largest(item.fold.forward_peak, item.fold.backward_peak - stays)
        kept = item.input_bytes if step.c.recipe.checkpointing else item.fold.saved_bytes
        layer = largest(layer, largest(own - kept, 0))
    head = step.head
    forward = largest(largest(head.forward_peak, head.returned_peak), head.loss_peak)
    loss = largest(forward, head.backward_peak)
    gaps = step.left_behind // GAPS
    return {
        "loss": largest(loss - step.left_behind // 2, 0) + gaps,
        "layer": layer,
        "optimizer": step.static.optimizer.temporary_bytes,
    }


def tiers(step: StepMemory, gpu: Gpu | None, profile: Profile | None = None) -> Tiers:
    """The three tiers of one step, or of many: counts may be arrays."""
    allocated = step.allocated
    context, (context_low, context_high), source = context_bytes(gpu, profile)
    if step.c.recipe.gpus > 1:
        context, source = context + NCCL_BYTES, "assumed"
        context_low, context_high = context_low + NCCL_LOW_BYTES, context_high + NCCL_BYTES
    edge_low, edge_high = edge_range(profile)
    low = share(allocated, edge_low) + context_low
    high = share(allocated, edge_high) + context_high
    room = reserved_with_room(step)
    elasticity = None if profile is None else profile.constant("reserved_elasticity")
    if elasticity is not None:
        room = allocated + share(room - allocated, elasticity)
    device = room + context
    if gpu is not None:
        edge = (low + high) // 2
        pressed = largest(allocated + context, edge + largest(gpu.capacity_bytes - edge, 0) // PRESSED_SHARE)
        device = either(device > gpu.capacity_bytes, pressed, device)
    return Tiers(
        allocated_bytes=allocated,
        reserved_bytes=device - context,
        device_bytes=device,
        device_interval_bytes=_device_interval(device, profile) or (smallest(low, device), largest(high, device)),
        edge_low_bytes=smallest(low, device),
        edge_high_bytes=high,
        context_bytes=context,
        context_source=source,
        cached_source="assumed" if elasticity is None else "fitted",
    )


def _device_interval(device: Any, profile: Profile | None) -> tuple[Any, Any] | None:
    """device x (1 + quantiles of the residuals of models that the profile's fit had not seen)."""
    residuals = None if profile is None else profile.quantiles.get("device")
    if residuals is None:
        return None
    return share(device, 1 + min(residuals.low, 0.0)), share(device, 1 + max(residuals.high, 0.0))
