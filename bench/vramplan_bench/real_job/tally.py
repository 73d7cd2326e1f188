"""What a running job is counted by: peaks of its phases, times of its steps, shapes of its batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Any

from vramplan.record import PhaseRecord, StepRecord

WARM_STEPS = 3
"""Not timed: states are made, kernels are chosen, the cache grows."""
LEAST_TIMED = 3
WRITTEN_STEPS = 200
"""Most raw steps in a record, the latest; median and variation are of all."""
EVEN = 0.95
"""A mean micro-batch below this part of the largest: lengths vary, and tokens/s belong to no one length."""
DATA_SHARE = 0.05
"""Waiting for data for more than this part of the time: tokens/s are those of the data, not of the step."""
BETWEEN = ("evaluate", "save")
"""Phases that are no part of a step."""


@dataclass(slots=True)
class Peaks:
    """Largest readings of one phase."""

    allocated_bytes: int = 0
    reserved_bytes: int = 0

    def take(self, allocated: int, reserved: int) -> None:
        self.allocated_bytes = max(self.allocated_bytes, allocated)
        self.reserved_bytes = max(self.reserved_bytes, reserved)


class Tally:
    """Counts of one training. `cuda` is torch.cuda, or None where nothing counts allocations."""

    def __init__(self, cuda: Any, clock: Callable[[], float]) -> None:
        self._cuda = cuda
        self._clock = clock
        self.step = 0
        self.peaks: dict[tuple[str, int], Peaks] = {}
        """(phase, 1 in the first step and 2 in all later ones) -> largest readings."""
        self.durations_s: list[float] = []
        """Of the steps after the warm ones."""
        self.raw: deque[StepRecord] = deque(maxlen=WRITTEN_STEPS)
        self.rows = self.length = 0
        """Of the largest micro-batch."""
        self.chunked = False
        """TRL's loss without whole logits ran."""
        self._mark: float | None = None
        self._data_s = 0.0
        self._tokens = self._micro_batches = 0
        self._timed_tokens = self._timed_micro_batches = 0
        self._in_step = Peaks()

    @property
    def counts_memory(self) -> bool:
        return self._cuda is not None

    def begin_step(self) -> None:
        now = self._clock()
        if self._mark is None:
            self._mark = now
        elif self.step >= WARM_STEPS:
            self._data_s += now - self._mark
        self.step += 1
        self._tokens = self._micro_batches = 0
        self._in_step = Peaks()
        self.reset()

    def begin_micro_batch(self, shape: tuple[int, ...] | None, *, chunked: bool) -> None:
        self._micro_batches += 1
        self.chunked |= chunked
        if shape is not None and len(shape) == 2:
            rows, length = shape
            self._tokens += rows * length
            if rows * length > self.rows * self.length:
                self.rows, self.length = rows, length

    def read(self, phase: str) -> None:
        """The peaks since the last reading belong to `phase`."""
        if self._cuda is None:
            return
        stats = self._cuda.memory_stats()
        allocated, reserved = int(stats["allocated_bytes.all.peak"]), int(stats["reserved_bytes.all.peak"])
        self.peaks.setdefault((phase, min(self.step, 2)), Peaks()).take(allocated, reserved)
        self._in_step.take(allocated, reserved)
        self.reset()

    def reset(self) -> None:
        """Peaks begin anew with what is held now."""
        if self._cuda is not None:
            self._cuda.reset_peak_memory_stats()

    def end_step(self) -> None:
        now = self._clock()
        duration = now - (now if self._mark is None else self._mark)
        self._mark = now
        if self.step > WARM_STEPS:
            self.durations_s.append(duration)
            self._timed_tokens += self._tokens
            self._timed_micro_batches += self._micro_batches
        seen = self._in_step if self.counts_memory else None
        self.raw.append(
            StepRecord(
                step=self.step,
                allocated_bytes=None if seen is None else seen.allocated_bytes,
                reserved_bytes=None if seen is None else seen.reserved_bytes,
                duration_s=duration,
            )
        )

    def pause(self) -> None:
        """What happens now is no part of any step."""
        self._mark = None

    @property
    def measured(self) -> bool:
        return len(self.durations_s) >= LEAST_TIMED

    @property
    def tokens_per_s(self) -> float | None:
        """Padding counts: it is computed like any token."""
        return self._timed_tokens / sum(self.durations_s) if self.measured and self._timed_tokens else None

    @property
    def step_time_s(self) -> float | None:
        return median(self.durations_s) if self.durations_s else None

    @property
    def step_time_cv(self) -> float | None:
        return stdev(self.durations_s) / fmean(self.durations_s) if self.measured else None

    @property
    def flags(self) -> tuple[str, ...]:
        """What makes the speed another than that of full, even batches."""
        whole = self.rows * self.length * self._timed_micro_batches
        varied = ("varied_lengths",) if self._timed_tokens < EVEN * whole else ()
        return varied + (("waits_for_data",) if self._data_s > DATA_SHARE * sum(self.durations_s) > 0 else ())

    @property
    def steady_peaks(self) -> Peaks | None:
        """Of the steps after the first, in which optimizers make their states; of the first where there is no other."""
        own = {key: peaks for key, peaks in self.peaks.items() if key[0] not in BETWEEN}
        later = [peaks for (_, step), peaks in own.items() if step == 2] or list(own.values())
        if not later:
            return None
        return Peaks(max(p.allocated_bytes for p in later), max(p.reserved_bytes for p in later))

    @property
    def phases(self) -> tuple[PhaseRecord, ...]:
        return tuple(
            PhaseRecord(
                name=phase, step=step, allocated_bytes=peaks.allocated_bytes, reserved_bytes=peaks.reserved_bytes
            )
            for (phase, step), peaks in self.peaks.items()
        )
