"""What a device can count: bytes of the allocator, peaks since a reset, use of the whole device."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from ..runner.nvml import Board
from ..tracker import StorageTracker


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Counters of one instant; peaks since the last reset. None = this device does not count that."""

    allocated_bytes: int
    allocated_end_bytes: int
    reserved_bytes: int | None = None
    reserved_end_bytes: int | None = None
    active_bytes: int | None = None
    requested_bytes: int | None = None
    inactive_split_bytes: int | None = None
    device_used_bytes: int | None = None


class Gauge(Protocol):
    """A device's counters."""

    counts_timed_steps: bool
    """Counting costs so little that timed steps may be counted too."""

    def open(self) -> None:
        """Take the device: what this costs is the context."""

    def synchronize(self) -> None:
        """Wait until everything asked for is done."""

    def reset_peaks(self) -> None:
        """Peaks begin anew with what is held now."""

    def read(self) -> Reading: ...

    def following(self) -> AbstractContextManager[Any]:
        """Inside, everything is counted."""

    def retries(self) -> int | None:
        """Times the allocator has returned its cache and tried again."""


class CudaGauge:
    """The caching allocator's own counters, and the driver's for the device. `cuda` is torch.cuda."""

    counts_timed_steps = True

    def __init__(self, cuda: Any, board: Board | None, zeros: Any) -> None:
        self._cuda = cuda
        self._board = board
        self._zeros = zeros
        self.source = "nvml total - free" if board is not None else "cudaMemGetInfo total - free"

    def open(self) -> None:
        self._cuda.init()
        self._zeros(1, device="cuda")

    def synchronize(self) -> None:
        if self._cuda.is_initialized():
            self._cuda.synchronize()

    def reset_peaks(self) -> None:
        if self._cuda.is_initialized():
            self._cuda.reset_peak_memory_stats()

    def read(self) -> Reading:
        stats: Mapping[str, int] = self._cuda.memory_stats() if self._cuda.is_initialized() else {}

        def peak(name: str) -> int:
            return int(stats.get(f"{name}.all.peak", 0))

        return Reading(
            allocated_bytes=peak("allocated_bytes"),
            allocated_end_bytes=int(stats.get("allocated_bytes.all.current", 0)),
            reserved_bytes=peak("reserved_bytes"),
            reserved_end_bytes=int(stats.get("reserved_bytes.all.current", 0)),
            active_bytes=peak("active_bytes"),
            requested_bytes=peak("requested_bytes"),
            inactive_split_bytes=peak("inactive_split_bytes"),
            device_used_bytes=self.device_used_bytes(),
        )

    def device_used_bytes(self) -> int | None:
        """Of the whole device, whoever uses it."""
        if self._board is not None:
            return self._board.used_bytes()
        if not self._cuda.is_initialized():
            return None
        free, total = self._cuda.mem_get_info()
        return int(total - free)

    def following(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def retries(self) -> int | None:
        return int(self._cuda.memory_stats().get("num_alloc_retries", 0))


class CpuGauge:
    """Storages followed by the dry run's tracker: there is no allocator to ask. Following slows a step down, so steps
    that are timed are not followed."""

    counts_timed_steps = False
    source = None

    def __init__(self) -> None:
        self._tracker = StorageTracker()
        self._seen = 0
        self._held = 0
        self._peak = 0

    def open(self) -> None:
        """The CPU is always open."""

    def synchronize(self) -> None:
        """The CPU does one thing at a time."""

    def reset_peaks(self) -> None:
        self._follow()
        self._peak = self._held

    def read(self) -> Reading:
        self._follow()
        return Reading(allocated_bytes=self._peak, allocated_end_bytes=self._held)

    def _follow(self) -> None:
        tracker = self._tracker
        for number in tracker.events[self._seen :]:
            self._held += tracker.blocks[abs(number) - 1].bytes * (1 if number > 0 else -1)
            self._peak = max(self._peak, self._held)
        self._seen = len(tracker.events)

    def following(self) -> AbstractContextManager[Any]:
        return self._tracker.following()

    def retries(self) -> int | None:
        return None
