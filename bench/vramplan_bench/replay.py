"""The stream of a dry run, fed to the model of the caching allocator: reserved bytes, slack, out of memory or not."""

from __future__ import annotations

from dataclasses import dataclass

from .allocator import CachingAllocator, Chunk, OutOfMemory
from .expandable import ExpandableAllocator
from .tracker import Block, StorageTracker


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Where a run died."""

    phase: str
    step: int
    operator: str
    module: str
    requested_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What the allocator did with the stream. Peaks are of `step` (the last) alone, as a probe that was reset sees."""

    step: int
    allocated_bytes: int
    """Peak of blocks handed out: tensors, and the ends of blocks too small to split off (max_memory_allocated)."""
    reserved_bytes: int
    """Peak of memory taken from the driver over the whole run (max_memory_reserved)."""
    step_reserved_bytes: int
    fragmentation_bytes: int
    """Reserved and unused at the end of the last step."""
    retries: int
    failure: Failure | None


def replay(
    tracker: StorageTracker,
    *,
    step: int,
    capacity_bytes: int | None = None,
    expandable_segments: bool = False,
    warmup_bytes: int = 0,
    empty_cache_after_load: bool = False,
) -> Replay:
    """Run the events through an allocator that may take `capacity_bytes` from the driver.

    `warmup_bytes`: one block of this size is taken and given back first, as transformers does before it loads
    (modeling_utils.py, caching_allocator_warmup).
    """
    allocator = (ExpandableAllocator if expandable_segments else CachingAllocator)(capacity_bytes)
    marks = iter([*tracker.marks, None])
    upcoming = next(marks)
    held: dict[int, Chunk] = {}
    if warmup_bytes:
        allocator.free(allocator.malloc(warmup_bytes))
    in_load, reached = True, False
    failure: Failure | None = None
    step_reserved = allocated = 0
    for position, event in enumerate(tracker.events):
        while upcoming is not None and upcoming.start <= position:
            if in_load and upcoming.phase != "load":
                in_load = False
                if empty_cache_after_load:
                    allocator.empty_cache()
            if not reached and upcoming.step == step:
                reached = True
                allocator.peak_allocated_bytes = allocator.allocated_bytes
                step_reserved = allocator.reserved_bytes
            upcoming = next(marks)
        block = tracker.blocks[abs(event) - 1]
        if event < 0:
            allocator.free(held.pop(block.index))
            continue
        try:
            held[block.index] = allocator.malloc(block.bytes)
        except OutOfMemory as error:
            failure = _failure(block, error)
            break
        step_reserved = max(step_reserved, allocator.reserved_bytes)
        allocated = allocator.peak_allocated_bytes
    return Replay(
        step=step,
        allocated_bytes=allocated,
        reserved_bytes=allocator.peak_reserved_bytes,
        step_reserved_bytes=step_reserved,
        fragmentation_bytes=allocator.reserved_bytes - allocator.allocated_bytes,
        retries=allocator.retries,
        failure=failure,
    )


def _failure(block: Block, error: OutOfMemory) -> Failure:
    return Failure(
        phase=block.phase,
        step=block.step,
        operator=block.operator,
        module=block.module,
        requested_bytes=error.requested_bytes,
    )
