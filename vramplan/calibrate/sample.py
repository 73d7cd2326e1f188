"""Measured runs as calibration sees them: the described step beside what was measured, card by card, stack by stack."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from ..accuracy.question import Question, question, speed_obstacle
from ..errors import VramplanError
from ..estimator.phases import StepMemory
from ..estimator.tiers import context_bytes, reserved_with_room
from ..runs import BadRow, Run
from ..speed import Peaks, StepWork, peaks, step_work
from ..step.setting import Setting

HOLD_OUT = 5
"""Every fifth cell, by its hash, is held out (as in `Request.held_out`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run whose step is described."""

    run: Run
    asked: Question
    step: StepMemory
    room_bytes: int
    """Reserved where nothing presses (`reserved_with_room`)."""
    work: StepWork | None
    """Of a step; None where the run was not timed."""
    card: Peaks | None
    """None where the card's peaks are not known."""

    @property
    def allocated_bytes(self) -> int:
        """As estimated."""
        return int(self.step.allocated)

    @property
    def spare_bytes(self) -> int:
        """Buffers that phases do not share, by the estimate."""
        return self.room_bytes - self.allocated_bytes

    @property
    def ran(self) -> bool:
        return self.run.outcome in ("ok", "fits")

    @property
    def capacity_bytes(self) -> int:
        assert self.asked.gpu is not None
        return self.asked.gpu.capacity_bytes

    @property
    def pressed(self) -> bool:
        """Whether the allocator had to give blocks back, by the estimate."""
        return self.room_bytes + context_bytes(self.asked.gpu)[0] > self.capacity_bytes

    @property
    def model(self) -> str:
        return self.asked.model.id

    @property
    def held_out(self) -> bool:
        """Chosen by the cell, so that repeats of it stay together and the choice is the same everywhere."""
        cell = self.run.id.partition("#")[0]
        digits = cell if self.run.kind else sha256(cell.encode()).hexdigest()
        return int(digits[:8], 16) % HOLD_OUT == 0


def samples(runs: Iterable[Run | BadRow]) -> tuple[dict[tuple[str, str], list[Sample]], dict[str, int]]:
    """Runs by (card, stack), and why others were left out -> how many."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    left_out: dict[str, int] = {}
    for run in runs:
        found = _sample(run)
        if isinstance(found, str):
            left_out[found] = left_out.get(found, 0) + 1
        else:
            assert found.asked.gpu is not None
            groups.setdefault((found.asked.gpu.key, found.asked.stack.name), []).append(found)
    return groups, left_out


def _sample(run: Run | BadRow) -> Sample | str:
    """The sample, or why the run is none."""
    if isinstance(run, BadRow):
        return run.reason
    if run.outcome == "presumed_oom":
        return "an outcome that was only presumed"
    measured = (run.allocated_bytes, run.reserved_bytes, run.device_bytes, run.tokens_per_s_per_gpu)
    if run.outcome != "oom" and all(figure is None for figure in measured):
        return "nothing was measured"
    if run.kind not in (None, "cuda") or run.gpu is None:
        return "not on a card"
    if run.gpus is not None and run.gpus > 1:
        return "on several GPUs"
    try:
        asked = question(run)
        assert asked.gpu is not None
        step = StepMemory(Setting(asked.model, asked.recipe, asked.stack, asked.gpu))
    except VramplanError as error:
        return str(error)
    return Sample(
        run=run,
        asked=asked,
        step=step,
        room_bytes=int(reserved_with_room(step)),
        work=step_work(step) if run.tokens_per_s_per_gpu and not speed_obstacle(run) else None,
        card=peaks(asked.gpu, "fp16" if step.c.compute_dtype == "fp16" else "bf16"),
    )
