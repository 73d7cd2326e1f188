"""What a person sees while cells run: a live panel at a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from vramplan.record import Record
from vramplan_reports.figures import gib

from ..protocol import Message
from .cells import Cell, name_of
from .run import Display
from .sampler import Sample

BAR = 30
REFRESHES_PER_S = 8


def line_of(record: Record) -> str:
    """Outcome and the figures that matter, in one line."""
    parts: list[str] = [record.outcome]
    for name, size in (("allocated", record.allocated_bytes), ("reserved", record.reserved_bytes),
                       ("device", record.device_bytes)):  # fmt: skip
        if size is not None:
            parts.append(f"{name} {gib(size, 2)} GiB")
    if record.tokens_per_s is not None:
        parts.append(f"{record.tokens_per_s:,.0f} tokens/s")
    parts += record.flags
    if record.duration_s is not None:
        parts.append(f"{record.duration_s:.0f} s")
    if record.reason:
        parts.append(record.reason[:120])
    return " · ".join(parts)


class Lines:
    """One line for each cell that has ended."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._cells = self._number = 0

    def begin(self, cells: int) -> None:
        self._cells = cells

    def start(self, cell: Cell, expected_s: float | None, left_s: float | None, capacity_bytes: int | None) -> None:
        """Nothing to see yet."""

    def message(self, message: Message) -> None:
        """Only ends are told."""

    def look(self, sample: Sample | None) -> None:
        """As above."""

    def finish(self, cell: Cell, record: Record) -> None:
        self._number += 1
        self._write(f"{self._count()}{name_of(cell)}: {line_of(record)}")

    def pass_over(self, cell: Cell, why: str) -> None:
        self._number += 1
        self._write(f"{self._count()}{name_of(cell)}: passed over, {why}")

    def _count(self) -> str:
        return f"[{self._number}/{self._cells}] " if self._number <= self._cells else "[+] "


class Panel(Lines):
    """The lines, and below them what the running cell does now. `live` is rich's Live."""

    def __init__(self, live: Any, text: Callable[[str], Any] = str) -> None:
        super().__init__(lambda words: live.console.print(words, markup=False, highlight=False))
        self._live, self._text = live, text
        self._cell: Cell | None = None
        self._begin = 0.0
        self._expected: float | None = None
        self._left: float | None = None
        self._capacity: int | None = None
        self._phase, self._rate = "start", ""
        self._used: int | None = None

    def start(self, cell: Cell, expected_s: float | None, left_s: float | None, capacity_bytes: int | None) -> None:
        self._cell, self._expected, self._left, self._capacity = cell, expected_s, left_s, capacity_bytes
        self._begin, self._phase, self._rate, self._used = time.monotonic(), "start", "", None

    def message(self, message: Message) -> None:
        if message.kind == "phase":
            step = message.whole("step")
            self._phase = message.text("name").replace("_", " ") + (f", step {step}" if step else "")
        elif message.kind == "step" and self._cell is not None and message.number("duration_s"):
            recipe = self._cell.recipe
            tokens = recipe.batch * recipe.seq_len * recipe.grad_accum
            self._rate = f"{tokens / (message.number('duration_s') or 1.0):,.0f} tokens/s"

    def look(self, sample: Sample | None) -> None:
        if sample is not None and sample.used_bytes is not None:
            self._used = sample.used_bytes
        self._live.update(self._text(self.text()))

    def text(self) -> str:
        """The lines under the finished cells."""
        if self._cell is None:
            return ""
        passed = time.monotonic() - self._begin
        left = "" if self._expected is None else f" of about {max(self._expected, passed):.0f} s"
        parts = [f"[{self._number + 1}/{self._cells}] {name_of(self._cell)}", f"{self._phase} · {passed:.0f}{left}"]
        if self._used is not None and self._capacity:
            full = min(round(BAR * self._used / self._capacity), BAR)
            bar = "█" * full + "░" * (BAR - full)
            parts.append(f"{bar} {gib(self._used)} of {gib(self._capacity)} GiB")
        parts += [self._rate] if self._rate else []
        if self._left is not None:
            parts.append(f"all in {max(self._left - passed, 0) / 60:.0f} min")
        return f"{parts[0]}\n    " + " · ".join(parts[1:])

    def finish(self, cell: Cell, record: Record) -> None:
        self._cell = None
        super().finish(cell, record)


@contextmanager
def display() -> Iterator[Display]:
    """The panel where a person watches stderr, else lines on it."""
    if not sys.stderr.isatty():
        yield Lines(lambda words: print(words, file=sys.stderr, flush=True))
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live("", console=Console(stderr=True), refresh_per_second=REFRESHES_PER_S, transient=True) as live:
        yield Panel(live, Text)
