"""From the stream of events: peaks of every part of every phase, and what was alive at one of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from .tracker import INSIDE, WORKSPACE, Block, StorageTracker

STEP_PHASES = ("forward", "loss", "backward", "optimizer_step")
PHASES = ("load", *STEP_PHASES)


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of the stream: a phase of a step, and in it a layer (or ''). Layers count from both ends."""

    phase: str
    step: int
    segment: int | str


@dataclass(frozen=True, slots=True)
class Peak:
    """Most bytes held in a part, and the event after which they were."""

    bytes: int
    event: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AliveGroup:
    """Storages alive at the peak that the same operator of equal modules made."""

    group: str
    """weights, adapters, gradients, optimizer, workspace, logits or activations."""
    operator: str
    module: str
    """Module path with layer numbers replaced by `*`."""
    phase: str
    shape: tuple[int, ...]
    dtype: str
    count: int
    bytes: int


def peaks(tracker: StorageTracker) -> dict[Part, Peak]:
    """The peak of every part of the stream, in order of first appearance."""
    found: dict[Part, Peak] = {}
    current = 0
    starts = [*(mark.start for mark in tracker.marks[1:]), len(tracker.events)]
    for mark, end in zip(tracker.marks, starts, strict=True):
        part = Part(mark.phase, mark.step, mark.segment)
        best = found.get(part, Peak(-1, mark.start - 1))
        if current > best.bytes:  # what a part begins with counts as its own
            best = Peak(current, mark.start - 1)
        for event in range(mark.start, end):
            number = tracker.events[event]
            current += tracker.blocks[abs(number) - 1].bytes * (1 if number > 0 else -1)
            if current > best.bytes:
                best = Peak(current, event)
        found[part] = best
    return found


def phase_peaks(parts: Mapping[Part, Peak], step: int) -> dict[str, int]:
    """Peak of every phase of one step."""
    result: dict[str, int] = {}
    for part, peak in parts.items():
        if part.step == step and part.phase in PHASES:
            result[part.phase] = max(result.get(part.phase, 0), peak.bytes)
    return {phase: result[phase] for phase in PHASES if phase in result}


def alive_after(tracker: StorageTracker, event: int) -> list[Block]:
    """Blocks held after an event."""
    alive: dict[int, Block] = {}
    for number in tracker.events[: event + 1]:
        if number > 0:
            alive[number - 1] = tracker.blocks[number - 1]
        else:
            alive.pop(-number - 1)
    return list(alive.values())


def grouped(alive: list[Block], roles: Mapping[int, str], vocabulary: int) -> tuple[AliveGroup, ...]:
    """Blocks of equal origin counted together, largest first.

    `roles` names blocks that live between steps; of the others, what is as wide as the vocabulary is logits.
    """
    groups: dict[tuple[str, str, str, str, tuple[int, ...], str], list[int]] = defaultdict(list)
    for block in alive:
        group = roles.get(block.index) or kind_of(block, vocabulary)
        module = ".".join("*" if part.isdigit() else part for part in block.module.split("."))
        operator = block.operator + (f" in {block.node}" if block.node else "")
        if group in ("weights", "adapters", "optimizer"):
            module = operator = ""
        groups[group, operator, module, block.phase, block.shape, block.dtype].append(block.bytes)
    listed = [
        AliveGroup(
            group=group, operator=operator, module=module, phase=phase, shape=shape, dtype=dtype,
            count=len(sizes), bytes=sum(sizes),
        )
        for (group, operator, module, phase, shape, dtype), sizes in groups.items()
    ]  # fmt: skip
    return tuple(sorted(listed, key=lambda g: -g.bytes))


def kind_of(block: Block, vocabulary: int) -> str:
    """The group of a block that does not live between steps."""
    if block.operator.endswith((WORKSPACE, INSIDE)) or block.phase == "optimizer_step":
        return "workspace"
    return "logits" if block.shape and block.shape[-1] == vocabulary else "activations"
