"""Device use, power and clocks while a child runs, read in the parent every 50 ms."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from .nvml import Board, throttle_names

EVERY_S = 0.05
LATE_S = 1.0
"""The driver's power reading looks back a second: samples from the first second of a window are older than it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look. None = the driver did not tell."""

    at_s: float
    used_bytes: int | None
    power_w: float | None
    sm_clock_mhz: int | None
    throttle_bits: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What samples of a stretch of time say. Without samples every figure is None."""

    samples: int
    used_peak_bytes: int | None
    power_w: float | None
    sm_clock_mhz: float | None
    throttle_reasons: tuple[str, ...]


class Sampler(threading.Thread):
    """Samples until it is stopped; without a board it has nothing to do."""

    def __init__(self, board: Board | None) -> None:
        super().__init__(daemon=True)
        self._board = board
        self._samples: list[Sample] = []
        self._stop_asked = threading.Event()

    def run(self) -> None:
        board = self._board
        while board is not None and not self._stop_asked.wait(EVERY_S):
            self._samples.append(
                Sample(
                    at_s=time.monotonic(),
                    used_bytes=board.used_bytes(),
                    power_w=board.power_w(),
                    sm_clock_mhz=board.sm_clock_mhz(),
                    throttle_bits=board.throttle_bits(),
                )
            )

    def stop(self) -> None:
        """Ends the thread."""
        self._stop_asked.set()
        if self.ident is not None:
            self.join(5)

    @property
    def last(self) -> Sample | None:
        return self._samples[-1] if self._samples else None

    def between(self, begin_s: float, end_s: float) -> Summary:
        """Samples of a stretch of time.monotonic()."""
        return summary([s for s in list(self._samples) if begin_s <= s.at_s <= end_s], begin_s)


def summary(samples: list[Sample], begin_s: float) -> Summary:
    """Peaks of all samples; means of those late enough to belong to the stretch."""
    late = [s for s in samples if s.at_s >= begin_s + LATE_S]
    bits = 0
    for sample in late:
        bits |= sample.throttle_bits or 0
    return Summary(
        samples=len(samples),
        used_peak_bytes=max((s.used_bytes for s in samples if s.used_bytes is not None), default=None),
        power_w=_mean(late, lambda s: s.power_w),
        sm_clock_mhz=_mean(late, lambda s: s.sm_clock_mhz),
        throttle_reasons=throttle_names(bits),
    )


def _mean(samples: list[Sample], of: Callable[[Sample], float | None]) -> float | None:
    values = [value for value in map(of, samples) if value is not None]
    return statistics.fmean(values) if values else None
