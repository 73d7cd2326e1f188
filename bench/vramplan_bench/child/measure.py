"""One cell, measured: the construction path of the dry run (`session`), on a real device, with real time.

context  warm_library  load  adapters
step 1   every phase counted: optimizers make their states
warm-up  at least three steps, until they take the same time
steady   timed steps, the device synchronised between them, their phases left alone
two more steps, every phase counted: the memory of a full step
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict

import torch
import transformers  # noqa: F401  (imported before the job is known: it takes seconds)

from vramplan.catalog import find_stack
from vramplan.errors import UnsupportedError
from vramplan.recipe import AttentionKernel, ResolvedRecipe
from vramplan.record import StepRecord

from ..answer import quiet_libraries
from ..effective import read_back
from ..job import Job
from ..loading import MakeTensor
from ..loop import loop_of
from ..runner.nvml import Board, open_board
from ..session import Session, open_session
from .failure import watch_refusals
from .faults import inject_on_device
from .gauge import CpuGauge, CudaGauge, Gauge
from .kernels_seen import kernels_seen
from .probe import PhaseProbe, Say

MOST_WARM_STEPS = 10
LONGEST_WARM_S = 5.0
STEADY_WITHIN = 1.05
"""Warm-up ends when the last three steps differ by no more."""
ENERGY_S = 10.0
"""Shorter windows are no measure of energy: the driver's counter moves in steps of tens of milliseconds."""
DETAIL_STEPS = 2


def measure(job: Job, say: Say) -> None:
    """Run the cell and tell everything; an exception ends it."""
    quiet_libraries()
    recipe = ResolvedRecipe(**job.recipe)
    board = open_board() if job.device == "cuda" else None
    gauge = _gauge(job, board)
    probe = PhaseProbe(gauge, say)
    device = _open_device(job, gauge, probe, say)
    with _attention(recipe.attention, job.device):
        with gauge.following(), probe.phase("load"):
            session = open_session(
                job.config, recipe, loop_of(find_stack(recipe.stack)), device=device, make=_weights_on(device),
                probe=probe, layers=job.layers,
            )  # fmt: skip
            gc.collect()
        probe.flush()
        _check_paged(recipe, session, job)
        _counted_step(session, gauge, probe, 1)
        say("effective", **asdict(read_back(session)))
        last = _timed(job, recipe, session, gauge, probe, board, say)
        for step in range(last + 1, last + 1 + DETAIL_STEPS):
            _counted_step(session, gauge, probe, step)
        say("facts", retries=gauge.retries(), attention_kernels=_kernels(session, probe))


def _gauge(job: Job, board: Board | None) -> Gauge:
    return CudaGauge(torch.cuda, board, torch.zeros) if job.device == "cuda" else CpuGauge()


def _open_device(job: Job, gauge: Gauge, probe: PhaseProbe, say: Say) -> torch.device:
    """The context and the matrix library, apart from what the cell needs."""
    if job.device == "cuda" and not torch.cuda.is_available():
        raise UnsupportedError(f"torch {torch.__version__} finds no GPU that it could use")
    torch.manual_seed(0)
    with probe.phase("context"):
        gauge.open()
        inject_on_device(job.fault)
    (context,) = probe.flush()
    taken = None
    if context.device_used_bytes is not None and job.baseline_bytes is not None:
        taken = max(context.device_used_bytes - job.baseline_bytes - (context.reserved_end_bytes or 0), 0)
    machine: dict[str, str] = {}
    capacity = None
    device = torch.device("cuda", 0) if job.device == "cuda" else torch.device("cpu")
    if isinstance(gauge, CudaGauge):
        watch_refusals()
        total = torch.cuda.get_device_properties(0).total_memory
        capacity = job.capacity_bytes or total
        if job.capacity_bytes is not None:
            torch.cuda.set_per_process_memory_fraction(_share(job.capacity_bytes, taken or 0, total))
        machine = {"cuda": str(torch.version.cuda), "device_use": gauge.source}
    with probe.phase("warm_library"):
        _warm_library(device)
    probe.flush()
    say("facts", context_bytes=taken, capacity_bytes=capacity, machine=machine)
    return device


def _share(capacity_bytes: int, context_bytes: int, total_bytes: int) -> float:
    """Of the device's memory, what the allocator may take on a smaller card: the context would lie on that one too."""
    return min(max((capacity_bytes - context_bytes) / total_bytes, 0.0), 1.0)


def _warm_library(device: torch.device) -> None:
    """The matrix library's handle and workspace, and what peft's import opens (bitsandbytes)."""
    import peft  # noqa: F401

    if device.type == "cuda":
        square = torch.randn(256, 256, device=device)
        square @ square


def _weights_on(device: torch.device) -> MakeTensor:
    """Random values made where they are needed. Vectors are norms and biases: ones keep the numbers finite."""

    def make(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        if not dtype.is_floating_point:
            return torch.zeros(shape, dtype=dtype, device=device)
        if len(shape) < 2:
            return torch.ones(shape, dtype=dtype, device=device)
        return torch.empty(shape, dtype=dtype, device=device).normal_(0.0, 0.02)

    return make


@contextmanager
def _attention(kernel: AttentionKernel, device: str) -> Iterator[None]:
    """Allow the kernel that the recipe names, and the written-out one for what it cannot do (grouped heads);
    `sdpa` leaves the choice to torch."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    if device == "cpu" and kernel in ("flash2", "sdpa-mem-efficient"):
        raise UnsupportedError(f"attention {kernel!r} runs on a GPU only")
    allowed = {"sdpa-math": [], "sdpa-mem-efficient": [SDPBackend.EFFICIENT_ATTENTION]}.get(kernel)
    with sdpa_kernel([*allowed, SDPBackend.MATH]) if allowed is not None else nullcontext():
        yield


def _check_paged(recipe: ResolvedRecipe, session: Session, job: Job) -> None:
    """Managed memory beyond what is free can hang a GPU: paged states are measured only where they would fit anyway."""
    if job.device == "cpu" or not recipe.optimizer.startswith("paged"):
        return
    states = 8 * sum(p.numel() for p in session.model.parameters() if p.requires_grad)
    free = torch.cuda.mem_get_info()[0]
    if 1.5 * states > free:
        raise UnsupportedError(f"paged states of up to {states} bytes beside {free} free bytes could hang the GPU")


def _counted_step(session: Session, gauge: Gauge, probe: PhaseProbe, step: int) -> None:
    probe.step = step
    with gauge.following():
        session.runner.run(probe)
    probe.flush()


def _kernels(session: Session, probe: PhaseProbe) -> list[str]:
    """Seen in one step more, which is not measured: looking takes memory."""
    probe.quiet = True
    with kernels_seen() as kernels, suppress(torch.OutOfMemoryError):
        session.runner.run(probe)
    return sorted(kernels)


def _timed(
    job: Job, recipe: ResolvedRecipe, session: Session, gauge: Gauge, probe: PhaseProbe, board: Board | None, say: Say
) -> int:
    """Warm-up and the timed window; the number of the last step."""
    probe.quiet = True
    timer = _Timer(session, gauge, probe, say)
    say("phase", name="warm_up", step=2)
    warm: list[float] = []
    while not _is_warm(warm, job.warm_steps):
        warm.append(timer.step(told=False))
    say("phase", name="steady", step=timer.number + 1)
    energy = board.energy_j() if board is not None else None
    begin, count = time.monotonic(), 0
    while not _is_enough(job, count, time.monotonic() - begin):
        timer.step(told=True)
        count += 1
    end = time.monotonic()
    used, absent = _energy(energy, board, end - begin)
    tokens = count * recipe.grad_accum * int(recipe.batch) * int(recipe.seq_len)
    say("window", begin_s=begin, end_s=end, tokens=tokens, energy_j=used, energy_absent=absent)
    probe.quiet = False
    return timer.number


class _Timer:
    """Runs steps one by one with the device synchronised at both ends."""

    def __init__(self, session: Session, gauge: Gauge, probe: PhaseProbe, say: Say) -> None:
        self.number = 1
        self._session, self._gauge, self._probe, self._say = session, gauge, probe, say

    def step(self, *, told: bool) -> float:
        gauge = self._gauge
        self.number += 1
        gauge.synchronize()
        if gauge.counts_timed_steps:
            gauge.reset_peaks()
        begin = time.perf_counter()
        self._session.runner.run(self._probe)
        gauge.synchronize()
        seconds = time.perf_counter() - begin
        if told:
            reading = gauge.read() if gauge.counts_timed_steps else None
            record = StepRecord(
                step=self.number,
                allocated_bytes=reading.allocated_bytes if reading else None,
                reserved_bytes=reading.reserved_bytes if reading else None,
                duration_s=seconds,
            )
            self._say("step", **asdict(record))
        return seconds


def _is_warm(seconds: list[float], least: int) -> bool:
    if len(seconds) < least:
        return False
    if len(seconds) >= MOST_WARM_STEPS or sum(seconds) > LONGEST_WARM_S:
        return True
    last = seconds[-3:]
    return max(last) <= STEADY_WITHIN * min(last)


def _is_enough(job: Job, steps: int, seconds: float) -> bool:
    """Two steps always; then `min_steps` or `longest_s`, whichever comes first, but not before `steady_s`."""
    if steps < 2 or seconds < job.steady_s:
        return False
    return steps >= job.min_steps or seconds >= max(job.longest_s, job.steady_s)


def _energy(before: float | None, board: Board | None, seconds: float) -> tuple[float | None, str | None]:
    """Joules since `before`, or why there is no such number."""
    after = board.energy_j() if board is not None else None
    if before is None or after is None:
        return None, "the device counts no energy"
    if after <= before:
        return None, "the device's energy counter went back"
    if seconds < ENERGY_S:
        return None, f"the window was shorter than {ENERGY_S:.0f} s"
    return after - before, None
