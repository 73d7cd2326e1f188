"""Phases counted on a device of the tests' own: `torch.cuda` and the driver stand in, the arithmetic is real."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from vramplan_bench.runner.nvml import open_board

from .fake_nvml import MIB, FakeNvml


class FakeCuda:
    """Counters that a test moves."""

    def __init__(self) -> None:
        self.opened = False
        self.current = self.peak = self.synchronized = 0

    def init(self) -> None:
        self.opened = True

    def is_initialized(self) -> bool:
        return self.opened

    def synchronize(self) -> None:
        self.synchronized += 1

    def reset_peak_memory_stats(self) -> None:
        self.peak = self.current

    def take(self, size: int) -> None:
        self.current += size
        self.peak = max(self.peak, self.current)

    def memory_stats(self) -> dict[str, int]:
        return {
            "allocated_bytes.all.peak": self.peak, "allocated_bytes.all.current": self.current,
            "reserved_bytes.all.peak": 2 * self.peak, "reserved_bytes.all.current": 2 * self.current,
            "active_bytes.all.peak": self.peak, "requested_bytes.all.peak": self.peak - 1,
            "inactive_split_bytes.all.peak": 7, "num_alloc_retries": 3,
        }  # fmt: skip

    def mem_get_info(self) -> tuple[int, int]:
        return 300, 1000


class Heard:
    """What the parent would hear, and a clock that moves by a second at every look."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.now = 0.0

    def say(self, kind: str, /, **values: Any) -> None:
        self.said.append((kind, values))

    def clock(self) -> float:
        self.now += 1.0
        return self.now


def probe_on(cuda: FakeCuda) -> tuple[Any, Heard]:
    from vramplan_bench.child.gauge import CudaGauge
    from vramplan_bench.child.probe import PhaseProbe

    heard = Heard()
    gauge = CudaGauge(cuda, open_board(FakeNvml(), "0"), lambda *_, **__: cuda.take(512))
    return PhaseProbe(gauge, heard.say, heard.clock), heard


def test_a_nested_phase_takes_its_peak_and_its_time_out_of_the_outer_one() -> None:
    cuda = FakeCuda()
    cuda.init()
    probe, heard = probe_on(cuda)
    probe.step = 3
    with probe.phase("forward"):
        cuda.take(100)
        with probe.phase("loss"):
            cuda.take(900)
            cuda.take(-950)
        cuda.take(20)
    forward, loss = probe.flush()
    assert (forward.name, forward.step, forward.allocated_bytes, forward.allocated_end_bytes) == ("forward", 3, 100, 70)
    assert (loss.name, loss.allocated_bytes, loss.allocated_end_bytes, loss.reserved_bytes) == ("loss", 1000, 50, 2000)
    assert (forward.duration_s, loss.duration_s) == (2.0, 1.0), "two stretches, and one"
    assert (loss.requested_bytes, loss.inactive_split_bytes, loss.device_used_bytes) == (999, 7, 500 * MIB)
    assert cuda.synchronized == 4, "at every border"
    assert [kind for kind, _ in heard.said] == ["phase", "phase", "phase_end", "phase_end"]


def test_micro_batches_of_a_step_are_counted_together() -> None:
    cuda = FakeCuda()
    probe, _ = probe_on(cuda)
    cuda.init()
    for size in (100, 300, 200):
        with probe.phase("forward"):
            cuda.take(size)
            cuda.take(-size)
    (forward,) = probe.flush()
    assert (forward.allocated_bytes, forward.duration_s) == (300, 3.0)
    assert probe.flush() == ()


def test_adapters_are_counted_apart_from_the_load() -> None:
    cuda = FakeCuda()
    cuda.init()
    probe, _ = probe_on(cuda)
    with probe.phase("load"):
        cuda.take(100)
        probe.set_segment("adapters")
        cuda.take(10)
    load, adapters = probe.flush()
    assert (load.name, load.allocated_bytes, adapters.name, adapters.allocated_bytes) == ("load", 100, "adapters", 110)


def test_a_quiet_probe_touches_nothing() -> None:
    cuda = FakeCuda()
    cuda.init()
    probe, heard = probe_on(cuda)
    probe.quiet = True
    with probe.phase("forward"):
        probe.set_segment("adapters")
    assert (cuda.synchronized, heard.said, probe.flush()) == (0, [], ())


def test_after_an_exception_nothing_is_counted() -> None:
    cuda = FakeCuda()
    cuda.init()
    probe, _ = probe_on(cuda)
    with pytest.raises(ValueError), probe.phase("forward"):
        raise ValueError
    assert cuda.synchronized == 1, "the device may be beyond it"
    assert probe.flush() == ()


def test_the_context_is_what_the_device_shows_before_the_allocator_has_anything() -> None:
    cuda = FakeCuda()
    probe, _ = probe_on(cuda)
    with probe.phase("context"):
        assert cuda.synchronized == 0, "waiting for a device would open it"
        cuda.init()
        cuda.take(512)
    (context,) = probe.flush()
    assert (context.device_used_bytes, context.reserved_end_bytes) == (500 * MIB, 1024)


def test_without_a_driver_the_device_is_asked_through_cuda() -> None:
    from vramplan_bench.child.gauge import CudaGauge

    cuda = FakeCuda()
    gauge = CudaGauge(cuda, None, lambda *_, **__: cuda.take(512))
    assert gauge.device_used_bytes() is None
    gauge.open()
    assert (gauge.read().device_used_bytes, gauge.retries(), gauge.read().allocated_end_bytes) == (700, 3, 512)
    assert "cudaMemGetInfo" in gauge.source
    with gauge.following() as nothing:
        assert nothing is None and isinstance(gauge.following(), nullcontext)


def test_the_cpu_gauge_counts_storages() -> None:
    import torch

    from vramplan_bench.child.gauge import CpuGauge

    gauge = CpuGauge()
    with gauge.following():
        kept = torch.empty(1024)
        torch.empty(4096)
    reading = gauge.read()
    assert (reading.allocated_bytes, reading.allocated_end_bytes) == (1024 * 4 + 4096 * 4, 4096)
    gauge.reset_peaks()
    assert gauge.read().allocated_bytes == kept.nbytes


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("oom", "oom"),
        (RuntimeError("CUDA error: out of memory"), "oom_driver"),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), "oom_driver"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: out of memory"), "error"),
        (ValueError("anything"), "error"),
        ("unsupported", "skipped"),
    ],
)
def test_exceptions_of_libraries_become_outcomes(error: Any, kind: str) -> None:
    import torch

    from vramplan.errors import UnsupportedError
    from vramplan_bench.child.failure import kind_and_reason

    made = {"oom": torch.OutOfMemoryError("full"), "unsupported": UnsupportedError("not built")}.get(str(error), error)
    assert kind_and_reason(made)[0] == kind


@pytest.mark.parametrize(
    ("seconds", "least", "warm"),
    [([1.0, 1.0], 3, False), ([9.0, 1.0, 1.0, 1.04], 3, True), ([2.0, 1.0, 1.5], 3, False),
     ([1.0] * 2 + [2.0] * 2, 4, True), ([0.1, 0.2] * 5, 3, True)],
)  # fmt: skip
def test_warm_up_ends_when_steps_take_the_same_time(seconds: list[float], least: int, warm: bool) -> None:
    from vramplan_bench.child.measure import _is_warm

    assert _is_warm(seconds, least) == warm


@pytest.mark.parametrize(
    ("steps", "seconds", "steady", "enough"),
    [(1, 99.0, 0.0, False), (2, 10.0, 0.0, True), (4, 9.0, 0.0, False), (5, 1.0, 0.0, True), (50, 9.0, 10.5, False),
     (50, 10.6, 10.5, True), (2, 10.2, 10.5, False)],
)  # fmt: skip
def test_how_long_is_measured(steps: int, seconds: float, steady: float, enough: bool) -> None:
    from vramplan_bench.child.measure import _is_enough
    from vramplan_bench.job import Job

    job = Job(config={}, layers=1, recipe={}, device="cpu", steady_s=steady)
    assert _is_enough(job, steps, seconds) == enough


@pytest.mark.parametrize(
    ("counter", "seconds", "expected"),
    [
        ((20_000_000,), 12.0, (10_000.0, None)),
        ((5_000_000,), 12.0, (None, "the device's energy counter went back")),
        ((20_000_000,), 2.0, (None, "the window was shorter than 10 s")),
        (None, 12.0, (None, "the device counts no energy")),
    ],
)
def test_energy_needs_a_counter_that_goes_forward_and_a_long_window(
    counter: tuple[int, ...] | None, seconds: float, expected: tuple[float | None, str | None]
) -> None:
    from vramplan_bench.child.measure import _energy

    refuse = ("nvmlDeviceGetTotalEnergyConsumption",) if counter is None else ()
    board = open_board(FakeNvml(energy=counter or (1,), refuse=refuse), "0")
    assert _energy(10_000.0, board, seconds) == expected


def test_a_smaller_card_holds_the_context_too(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from vramplan_bench.child import measure
    from vramplan_bench.job import Job

    shares: list[float] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80_000 * MIB))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    monkeypatch.setattr(measure, "_warm_library", lambda device: None)
    probe, heard = probe_on(FakeCuda())
    job = Job(config={}, layers=1, recipe={}, device="cuda", baseline_bytes=100 * MIB, capacity_bytes=16_400 * MIB)
    device = measure._open_device(job, probe._gauge, probe, heard.say)
    kind, facts = heard.said[-1]
    assert (kind, device.type) == ("facts", "cuda")
    assert facts["context_bytes"] == 400 * MIB - 1024, "500 MiB shown, less 100 before and the allocator's 1,024 bytes"
    assert shares == [pytest.approx(0.2, rel=1e-6)], "16,000 of 80,000 MiB"
    assert facts["capacity_bytes"] == 16_400 * MIB and facts["machine"]["device_use"] == "nvml total - free"
    assert [values["name"] for said, values in heard.said if said == "phase_end"] == ["context", "warm_library"]


def test_without_a_gpu_that_torch_can_use_the_cell_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from vramplan.errors import UnsupportedError
    from vramplan_bench.child import measure
    from vramplan_bench.job import Job

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    probe, heard = probe_on(FakeCuda())
    with pytest.raises(UnsupportedError, match="finds no GPU"):
        measure._open_device(Job(config={}, layers=1, recipe={}, device="cuda"), probe._gauge, probe, heard.say)


@pytest.mark.parametrize(("trainable", "refused"), [(10, False), (100, True)])
def test_paged_states_are_measured_only_where_they_would_fit_anyway(
    monkeypatch: pytest.MonkeyPatch, trainable: int, refused: bool
) -> None:
    import torch

    from vramplan.catalog import find_stack
    from vramplan.errors import UnsupportedError
    from vramplan.recipe import Recipe
    from vramplan.resolve import resolve
    from vramplan_bench.child import measure
    from vramplan_bench.job import Job

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1000, 2000))
    session: Any = SimpleNamespace(model=torch.nn.Linear(trainable, 1, bias=False))
    recipe = resolve(Recipe(method="lora", optimizer="paged_adamw_32bit"), "lora", find_stack("hf-trainer"))
    job = Job(config={}, layers=1, recipe={}, device="cuda")
    with pytest.raises(UnsupportedError, match="could hang the GPU") if refused else nullcontext():
        measure._check_paged(recipe, session, job)
