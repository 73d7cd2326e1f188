"""One device and its children: is it free, run one cell on it, wait until it is as before."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from vramplan.catalog import find_gpu
from vramplan.errors import UnsupportedError, VramplanError
from vramplan.gpu import Gpu
from vramplan.record import Record
from vramplan.units import GIB, MIB

from ..installed import versions
from ..job import Device
from ..protocol import Message
from .cells import Cell, Prepared, prepare
from .nvml import Board
from .process import COMMAND, Child, Ending
from .recording import Run, record_of, window_of
from .sampler import Sample, Sampler

SETTLED_BYTES = 64 * MIB
SETTLE_S = 10.0
SETTLE_LOOK_S = 0.1
UNEXPLAINED_BYTES = GIB
"""More than this in use on an idle device, beside the driver's share, is of someone whom the driver does not name."""
FEWEST_CPUS_FOR_STANDBY = 4


class Watcher(Protocol):
    """Who wants to know what the running cell does."""

    def message(self, message: Message) -> None: ...
    def look(self, sample: Sample | None) -> None: ...


@dataclass(slots=True)
class Lab:
    """The machine on which cells run. `board` None: the CPU, or a GPU whose driver does not tell."""

    device: Device
    board: Board | None
    command: Sequence[str] = COMMAND
    standby: bool = (os.cpu_count() or 1) >= FEWEST_CPUS_FOR_STANDBY
    """The next child imports its libraries while the present one measures."""
    gpu: Gpu | None = None
    machine: Mapping[str, str] = field(default_factory=dict)
    idle_bytes: int | None = None
    _strangers: frozenset[int] = frozenset()
    """Processes that computed on the device before anything was started."""
    _next: Child | None = None

    def __post_init__(self) -> None:
        facts = self.board.facts() if self.board is not None else {}
        self.machine = {**_software(), **facts}
        self.gpu = _card(facts.get("gpu")) if self.device == "cuda" else None
        self.idle_bytes = self.board.used_bytes() if self.board is not None else None
        self._strangers = frozenset((self.board.processes() or ()) if self.board is not None else ())

    @property
    def identity(self) -> tuple[tuple[str, str], ...]:
        """What must be equal for a record to stand for this machine: the card and the libraries."""
        return identity_of(self.machine)

    def prepare(self, cell: Cell, *, online: bool = False) -> Prepared:
        """The cell, resolved for this machine. Raises VramplanError."""
        if self.device == "cpu" and cell.capacity_gib is not None:
            raise UnsupportedError("a smaller card is emulated on a GPU, and the step runs on the CPU")
        return prepare(cell, self.gpu, self.machine.get("gpu"), online=online)

    def occupied(self) -> str | None:
        """Who else uses the device, in words; None where nobody does, or nobody can tell."""
        if self.board is None:
            return None
        others = self.board.processes()
        if others:
            listed = ", ".join(map(str, others[:5]))
            return f"{len(others)} other process{'es' * (len(others) > 1)} on the GPU ({listed})"
        memory = self.board.memory()
        if memory is None:
            return None
        unexplained = memory.used_bytes - (memory.reserved_bytes or 0)
        if unexplained <= UNEXPLAINED_BYTES:
            return None
        return f"{unexplained / GIB:.1f} GiB of the GPU are in use by nobody visible"

    def measure(
        self, prepared: Prepared, watcher: Watcher, *, repeat: int = 0, suite: str | None = None, busy: bool = False
    ) -> Record:
        """Run one cell in a fresh child. The child is ended whatever happens here, Ctrl-C included."""
        baseline = self.board.used_bytes() if self.board is not None else None
        facts = {**self.machine, **self._temperature()}
        created, begin = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
        sampler, messages = Sampler(self.board), list[Message]()

        def heard(message: Message) -> None:
            messages.append(message)
            watcher.message(message)

        ending = self._listen(prepared, baseline, sampler, heard, lambda: watcher.look(sampler.last))
        run = Run(
            prepared=prepared,
            kind=self.device,
            created=created,
            gpu=self.gpu,
            messages=messages,
            ending=ending,
            whole=sampler.between(begin, time.monotonic()),
            steady=sampler.between(*(window_of(messages) or (0.0, -1.0))),
            baseline_bytes=baseline,
            machine=facts,
            repeat=repeat,
            suite=suite,
            busy=busy,
        )
        return record_of(run)

    def _listen(
        self,
        prepared: Prepared,
        baseline: int | None,
        sampler: Sampler,
        heard: Callable[[Message], None],
        look: Callable[[], None],
    ) -> Ending:
        limit = prepared.cell.host_limit_gib
        child = self._child(prepared)
        try:
            sampler.start()
            child.give(prepared.job(self.device, baseline).as_dict())
            self._prepare_next()
            return child.listen(
                heard,
                timeout_s=prepared.cell.timeout_s,
                host_limit_bytes=None if limit is None else int(limit * GIB),
                on_look=look,
            )
        finally:
            child.end()
            sampler.stop()

    def settle(self, sleep: Callable[[float], None] = time.sleep) -> int | None:
        """Wait until the device is as empty as at first, and the child off its list; bytes that stay, None where nobody
        can tell."""
        end = time.monotonic() + SETTLE_S
        while self.board is not None and self.idle_bytes is not None:
            left = max((self.board.used_bytes() or self.idle_bytes) - self.idle_bytes, 0)
            gone = frozenset(self.board.processes() or ()) <= self._strangers
            if (left <= SETTLED_BYTES and gone) or time.monotonic() > end:
                return left if left > SETTLED_BYTES else 0
            sleep(SETTLE_LOOK_S)
        return None

    def close(self) -> None:
        """End the child that stands by."""
        if self._next is not None:
            self._next.end()
            self._next = None

    def _child(self, prepared: Prepared) -> Child:
        """The one that stands by, where the cell needs no settings of its own."""
        cell = prepared.cell
        if self._next is not None and not cell.environment and cell.fault is None:
            child, self._next = self._next, None
            return child
        return self._start([cell.fault] if cell.fault else [], cell.environment)

    def _prepare_next(self) -> None:
        if self.standby and self._next is None:
            self._next = self._start([], {})

    def _start(self, words: list[str], environment: Mapping[str, str]) -> Child:
        settings = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **environment}
        uuid = self.board.uuid() if self.board is not None else None
        if uuid is not None or self.device == "cpu":  # the child's GPU is the one that is watched
            settings["CUDA_VISIBLE_DEVICES"] = uuid or ""
        return Child(self.command, settings, words)

    def _temperature(self) -> dict[str, str]:
        heat = self.board.temperature_c() if self.board is not None else None
        return {} if heat is None else {"temperature_c": str(heat)}


def identity_of(machine: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The parts of a record's `machine` that tell whether it was measured on an equal one."""
    return tuple((name, machine[name]) for name in ("gpu", *sorted(versions())) if name in machine)


def _software() -> dict[str, str]:
    return {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}", **versions()}


def _card(name: str | None) -> Gpu | None:
    """The catalogue's entry; None for a card that it does not have, whose records then carry the driver's name only."""
    if name is None:
        return None
    try:
        return find_gpu(name)
    except VramplanError:
        return None
