"""Many cells, one after another: what is there is passed over, what is new is on disk before the next begins."""

from __future__ import annotations

import fcntl
import os
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Protocol

from vramplan.errors import VramplanError
from vramplan.record import FULL, BadLine, Record, read_records, write_records

from .cells import EXPECTED, Cell, Prepared
from .forecast import expected_s, forecast
from .growth import next_batch
from .lab import Lab, Watcher, identity_of

RATIO_LIMITS = (0.3, 4.0)
"""How far finished cells may correct the forecast of the others."""


class Display(Watcher, Protocol):
    """Shows a person what happens."""

    def begin(self, cells: int) -> None: ...
    def start(self, cell: Cell, expected_s: float | None, left_s: float | None, capacity_bytes: int | None) -> None:
        """`left_s`: of all cells that are still to come, this one included."""

    def finish(self, cell: Cell, record: Record) -> None: ...
    def pass_over(self, cell: Cell, why: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure, and how much trouble to take."""

    cells: tuple[Cell, ...]
    out: Path
    suite: str | None = None
    minutes: float | None = None
    allow_busy: bool = False
    repeats: int | None = None
    """Of every cell; None = each cell's own."""
    online: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What a run of many cells came to."""

    records: tuple[Record, ...]
    surprises: tuple[Record, ...]
    """Those that ended as no cell should (or as a cell with a fault should not)."""
    passed_over: tuple[tuple[Cell, str], ...]
    bad_lines: tuple[BadLine, ...]
    """Lines of the file that hold no record."""
    interrupted: bool


class Runner:
    """Runs a plan on a lab. Records are appended to the plan's file one by one."""

    def __init__(self, plan: Plan, lab: Lab, display: Display) -> None:
        self._plan, self._lab, self._display = plan, lab, display
        self._end = None if plan.minutes is None else time.monotonic() + 60 * plan.minutes
        self._bad: list[BadLine] = []
        self._known: list[Record] = []
        self._records: list[Record] = []
        self._surprises: list[Record] = []
        self._passed: list[tuple[Cell, str]] = []
        self._ratios: list[float] = []
        self._number = 0

    def run(self) -> Outcomes:
        """Raises VramplanError where the device is in use, or where the file cannot be written: records that are in
        it by then stay."""
        with self._alone():
            return self._run()

    def _run(self) -> Outcomes:
        self._known = list(read_records(self._plan.out, self._bad.append))
        self._refuse_busy()
        interrupted = False
        self._display.begin(len(self._plan.cells))
        try:
            with _terminated_like_interrupted():
                for number, cell in enumerate(self._plan.cells, 1):
                    self._number = number
                    self._cell(cell)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self._lab.close()
        return Outcomes(
            records=tuple(self._records),
            surprises=tuple(self._surprises),
            passed_over=tuple(self._passed),
            bad_lines=tuple(self._bad),
            interrupted=interrupted,
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Whether the file can be written is known before anything is measured, and nobody else appends to it: two
        runs would measure the same cells, and each other."""
        out = self._plan.out
        if out.exists() and not out.is_file():
            raise VramplanError(f"{out}: not a regular file")
        try:
            file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise VramplanError(f"{out}: {error.strerror}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise VramplanError(f"{out}: another `vramplan bench run` writes to it; --out names another") from None
        except OSError:  # a file system without locks
            pass
        try:
            yield
        finally:
            os.close(file)

    def _refuse_busy(self) -> None:
        why = None if self._plan.allow_busy else self._lab.occupied()
        if why is not None:
            raise VramplanError(f"{why}: end it, or take --allow-busy, which marks the records")

    def _cell(self, cell: Cell) -> None:
        try:
            prepared = self._lab.prepare(cell, online=self._plan.online)
        except VramplanError as error:
            self._pass_over(cell, str(error))
            return
        if cell.grows:
            self._grow(prepared)
            return
        wanted = self._plan.repeats or cell.repeats
        there = len(self._measured(prepared))
        if there >= wanted:
            self._pass_over(cell, "measured before")
        for repeat in range(there, wanted):
            if self._measure(prepared, repeat) is None:
                return

    def _grow(self, first: Prepared) -> None:
        """Batches until both sides of the limit are known."""
        told = forecast(first, self._lab.gpu).largest_batch if self._lab.gpu is not None else None
        start = told or first.cell.recipe.batch
        tried: dict[int, bool] = {}
        while (batch := next_batch(tried, start)) is not None:
            cell = replace(first.cell, recipe=replace(first.cell.recipe, batch=batch), grows=False)
            prepared = self._lab.prepare(cell, online=self._plan.online)
            record = next(iter(self._measured(prepared)), None) or self._measure(prepared, 0)
            if record is None or record.outcome not in ("ok", *FULL):
                return
            tried[batch] = record.outcome == "ok"

    def _measured(self, prepared: Prepared) -> list[Record]:
        """Results of this cell on this card with these libraries."""
        return [
            record
            for record in (*self._known, *self._records)
            if record.cell_id == prepared.request.cell_id
            and record.outcome in ("ok", *FULL)
            and identity_of(record.machine) == self._lab.identity
        ]

    def _measure(self, prepared: Prepared, repeat: int) -> Record | None:
        """One run, on disk when this returns; None where it was not to be."""
        cell, lab = prepared.cell, self._lab
        expected = expected_s(prepared, lab.gpu) if lab.gpu is not None else None
        left = None if self._end is None else self._end - time.monotonic()
        if left is not None and (left <= 0 or (expected is not None and self._corrected(expected) > left)):
            self._pass_over(cell, "no time left")
            return None
        busy = lab.occupied()
        if busy is not None and not self._plan.allow_busy:
            record = _skipped(prepared, lab, busy, repeat, self._plan.suite)
        else:
            capacity = lab.gpu.capacity_bytes if lab.gpu is not None else None
            soon = None if expected is None else self._corrected(expected)
            self._display.start(cell, soon, None if soon is None else soon + self._later_s(), capacity)
            record = lab.measure(prepared, self._display, repeat=repeat, suite=self._plan.suite, busy=busy is not None)
        write_records(self._plan.out, [record])
        self._note(cell, record, expected)
        if lab.settle():
            lab.close()  # a child that stands by must not be what holds the device
        return record

    def _note(self, cell: Cell, record: Record, expected: float | None) -> None:
        self._records.append(record)
        wanted = EXPECTED if cell.expect is None else (cell.expect,)
        if record.outcome not in wanted:
            self._surprises.append(record)
        if record.outcome == "ok" and expected and record.duration_s:
            self._ratios.append(record.duration_s / expected)
        self._display.finish(cell, record)

    def _later_s(self) -> float:
        """Seconds that the cells behind this one will take; those that cannot be asked for take none."""
        seconds = 0.0
        for cell in self._plan.cells[self._number :]:
            with suppress(VramplanError):
                prepared = self._lab.prepare(cell)
                if self._lab.gpu is not None and not self._measured(prepared):
                    seconds += expected_s(prepared, self._lab.gpu) * (self._plan.repeats or cell.repeats)
        return self._corrected(seconds)

    def _corrected(self, expected: float) -> float:
        low, high = RATIO_LIMITS
        return expected * min(max(statistics.median(self._ratios or [1.0]), low), high)

    def _pass_over(self, cell: Cell, why: str) -> None:
        self._passed.append((cell, why))
        self._display.pass_over(cell, why)


def run_plan(plan: Plan, lab: Lab, display: Display) -> Outcomes:
    """Measure every cell of a plan that is not measured yet."""
    return Runner(plan, lab, display).run()


def _skipped(prepared: Prepared, lab: Lab, why: str, repeat: int, suite: str | None) -> Record:
    absent = dict.fromkeys(("effective", "allocated_bytes", "reserved_bytes", "device_bytes", "tokens_per_s"), why)
    return Record(
        kind=lab.device, created=datetime.now(UTC).isoformat(timespec="seconds"), request=prepared.request,
        effective=None, phases=(), steps=(), allocated_bytes=None, reserved_bytes=None, device_bytes=None,
        tokens_per_s=None, outcome="skipped", reason=why, repeat=repeat, suite=suite, absent=absent,
        machine=lab.machine,
    )  # fmt: skip


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM ends the running child and keeps every record, as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread, to which signals belong
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
