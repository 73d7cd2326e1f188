"""Listens to a step: at every border between phases the device is synchronised, read, and its peaks are reset.

A phase inside another (the loss, inside the forward) takes its time and its peaks out of the outer one's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Protocol

from vramplan.record import PhaseRecord

from .gauge import Gauge, Reading

_PEAKS = ("allocated_bytes", "reserved_bytes", "active_bytes", "requested_bytes", "inactive_split_bytes")
_ENDS = ("allocated_end_bytes", "reserved_end_bytes", "device_used_bytes")


class Say(Protocol):
    """Tells the parent (protocol)."""

    def __call__(self, kind: str, /, **values: Any) -> None: ...


@dataclass(slots=True)
class Tally:
    """A phase of a step while it is counted; of several micro-batches together."""

    name: str
    step: int
    reading: Reading | None = None
    duration_s: float = 0.0

    def add(self, reading: Reading, duration_s: float) -> None:
        """One more stretch of the phase: peaks are the larger ones, the end is the later one."""
        self.duration_s += duration_s
        if self.reading is None:
            self.reading = reading
            return
        values = {name: getattr(reading, name) for name in _ENDS}
        for name in _PEAKS:
            before, now = getattr(self.reading, name), getattr(reading, name)
            values[name] = now if before is None else max(before, now or 0)
        self.reading = Reading(**values)

    def record(self) -> PhaseRecord:
        assert self.reading is not None
        counted = {field.name: getattr(self.reading, field.name) for field in fields(Reading)}
        return PhaseRecord(name=self.name, step=self.step, duration_s=self.duration_s, **counted)


class PhaseProbe:
    """The probe of `loop` and `session`. `step` is the step that comes; `quiet` lets phases pass uncounted."""

    def __init__(self, gauge: Gauge, say: Say, clock: Callable[[], float] = time.perf_counter) -> None:
        self.step = 0
        self.quiet = False
        self._gauge = gauge
        self._say = say
        self._clock = clock
        self._open: list[Tally] = []
        self._closed: dict[tuple[str, int], Tally] = {}
        self._since = 0.0

    @contextmanager
    def phase(self, phase: str) -> Iterator[None]:
        """Count what the block does. After an exception nothing is counted any more: the device may be beyond it."""
        if self.quiet:
            yield
            return
        self._enter(phase)
        yield
        self._leave()

    def set_segment(self, segment: int | str) -> None:
        """Of all parts of phases only one is counted apart: adapters and preparation, behind the load."""
        if not self.quiet and segment == "adapters" and self._open:
            self._leave()
            self._enter("adapters")

    def flush(self) -> tuple[PhaseRecord, ...]:
        """Tell the parent of all phases that have ended since the last time."""
        records = tuple(tally.record() for tally in self._closed.values() if tally.reading is not None)
        self._closed.clear()
        for record in records:
            self._say("phase_end", **{field.name: getattr(record, field.name) for field in fields(record)})
        return records

    def _enter(self, phase: str) -> None:
        self._turn()
        self._say("phase", name=phase, step=self.step)
        self._open.append(self._closed.setdefault((phase, self.step), Tally(phase, self.step)))

    def _leave(self) -> None:
        self._turn()
        self._open.pop()

    def _turn(self) -> None:
        """What has passed belongs to the innermost open phase."""
        self._gauge.synchronize()
        if self._open:
            self._open[-1].add(self._gauge.read(), self._clock() - self._since)
        self._gauge.reset_peaks()
        self._since = self._clock()
