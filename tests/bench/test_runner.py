"""Many cells with stub children: records on disk one by one, going on where a run stopped, nothing lost."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vramplan.errors import VramplanError
from vramplan.recipe import Recipe
from vramplan.record import Record, read_records
from vramplan_bench.protocol import Message
from vramplan_bench.runner import lab as labs
from vramplan_bench.runner.cells import Cell
from vramplan_bench.runner.display import Lines, Panel
from vramplan_bench.runner.lab import Lab
from vramplan_bench.runner.nvml import open_board
from vramplan_bench.runner.run import Outcomes, Plan, run_plan
from vramplan_bench.runner.sampler import Sample

from .fake_nvml import MIB, FakeNvml
from .test_runner_process import STUB

CELL = Cell(model="HuggingFaceTB/SmolLM2-135M", recipe=Recipe(method="lora", seq_len=64), layers=2, timeout_s=20)
TWO = (CELL, replace(CELL, recipe=replace(CELL.recipe, batch=2)))


@pytest.fixture(autouse=True)
def quick_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labs, "SETTLE_S", 0.2)


def lab(nvml: FakeNvml | None = None, **more: Any) -> Lab:
    board = open_board(nvml, "0") if nvml is not None else None
    return Lab(device="cpu" if nvml is None else "cuda", board=board, command=STUB, **{"standby": False, **more})


def run(path: Path, cells: tuple[Cell, ...] = TWO, *, at: Lab | None = None, **plan: Any) -> tuple[Outcomes, list[str]]:
    lines: list[str] = []
    outcomes = run_plan(Plan(cells=cells, out=path, **plan), at or lab(), Lines(lines.append))
    return outcomes, lines


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.jsonl"


def test_every_cell_leaves_a_record_and_a_second_run_has_nothing_to_do(path: Path) -> None:
    first, lines = run(path)
    assert [r.outcome for r in first.records] == ["ok", "ok"] and not first.surprises
    assert list(read_records(path)) == list(first.records)
    assert lines[0].startswith("[1/2] SmolLM2-135M lora 2-layers b1 s64: ok · allocated 0.11 GiB")
    again, lines = run(path)
    assert again.records == () and [why for _, why in again.passed_over] == ["measured before"] * 2
    assert lines[1].endswith("passed over, measured before")


def test_other_libraries_are_measured_again(path: Path) -> None:
    run(path)
    other = lab()
    other.machine = {**other.machine, "torch": "1.0"}
    assert len(run(path, at=other)[0].records) == 2


def test_repeats_are_numbered_and_completed(path: Path) -> None:
    run(path, (CELL,))
    more, _ = run(path, (CELL,), repeats=3)
    assert [r.repeat for r in more.records] == [1, 2]
    assert [r.cell_id for r in read_records(path)] == [more.records[0].cell_id] * 3


def test_the_figures_of_a_run(path: Path) -> None:
    nvml = FakeNvml(uses=(500 * MIB,))
    (record,) = run(path, (CELL,), at=lab(nvml))[0].records
    assert (record.kind, record.request.gpu, record.machine["gpu"]) == ("cuda", "h100", "NVIDIA H100 80GB HBM3")
    assert record.allocated_bytes == 110 * MIB, "of full steps; the first made 150 MiB"
    assert record.reserved_bytes == 120 * MIB
    assert record.device_baseline_bytes == 500 * MIB
    assert record.device_bytes == 250 * MIB, "750 MiB in step 1, less the baseline"
    assert (record.context_bytes, record.retries) == (500 * MIB, 0)
    assert record.tokens_per_s == pytest.approx(2048)
    assert (record.step_time_s, record.step_time_cv) == (0.5, 0.0)
    assert record.energy_j_per_token is None and record.absent["energy_j_per_token"] == "the window was short"
    assert record.flags == ("unsteady",), "timed steps and counted ones differ by 10 MiB"
    assert record.price is not None and record.price.date >= "2026"
    assert record.effective is not None and record.effective.attention_kernels == ("flash",)
    for name in ("capacity_bytes", "power_w", "mfu"):
        assert getattr(record, name) is not None or record.absent[name]


def test_a_busy_gpu_is_refused_or_marked(path: Path) -> None:
    with pytest.raises(VramplanError, match="1 other process on the GPU .77.: end it, or take --allow-busy"):
        run(path, at=lab(FakeNvml(pids=(77,))))
    with pytest.raises(VramplanError, match="nobody visible"):
        run(path, at=lab(FakeNvml(uses=(9000 * MIB,))))
    (record,) = run(path, (CELL,), at=lab(FakeNvml(pids=(77,))), allow_busy=True)[0].records
    assert record.busy and record.outcome == "ok"


def test_a_gpu_that_becomes_busy_skips_the_cell(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = lab(FakeNvml())
    answers = iter([None, None, "1 other process on the GPU (5)"])
    monkeypatch.setattr(Lab, "occupied", lambda self: next(answers))
    outcomes, _ = run(path, at=at)
    assert [(r.outcome, r.reason) for r in outcomes.records] == [
        ("ok", None), ("skipped", "1 other process on the GPU (5)"),
    ]  # fmt: skip
    monkeypatch.setattr(Lab, "occupied", lambda self: None)
    assert len(run(path, at=at)[0].records) == 1, "a skipped cell is tried again"


def test_the_next_cell_waits_until_the_device_is_as_before() -> None:
    uses = (500, 9000, 4000, 540)
    nvml = FakeNvml(uses=tuple(use * MIB for use in uses))
    at = lab(nvml)
    slept: list[float] = []
    at.idle_bytes = 500 * MIB
    assert at.settle(slept.append) == 0 and nvml.uses == [540 * MIB] and slept
    stuck = lab(FakeNvml(uses=(500 * MIB, 9000 * MIB)))
    stuck.idle_bytes = 500 * MIB
    assert stuck.settle() == 8500 * MIB, "what does not go is told"
    assert lab().settle() is None


def test_a_batch_is_grown_to_both_sides_of_the_limit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB", "limit:9")
    grown = replace(CELL, grows=True, recipe=replace(CELL.recipe, batch=4))
    outcomes, _ = run(path, (grown,))
    tried = {r.request.recipe["batch"]: r.outcome for r in outcomes.records}
    assert tried == {4: "ok", 5: "ok", 7: "ok", 9: "ok", 12: "oom", 10: "oom"} and not outcomes.surprises
    oom = next(r for r in outcomes.records if r.outcome == "oom")
    assert oom.allocated_bytes is None and "never a peak" in oom.absent["allocated_bytes"]
    assert oom.reason == "backward of step 1: CUDA out of memory. Tried to allocate 1.00 GiB."
    assert run(path, (grown,))[0].records == (), "known sides are not looked for again"


def test_no_cell_begins_that_would_end_too_late(path: Path) -> None:
    outcomes, _ = run(path, at=lab(FakeNvml()), minutes=0.01)
    assert [why for _, why in outcomes.passed_over] == ["no time left"] * 2


def test_what_cannot_be_asked_for_is_passed_over(path: Path) -> None:
    outcomes, _ = run(path, (replace(CELL, model="no-such-model"), CELL))
    assert "unknown model" in outcomes.passed_over[0][1] and len(outcomes.records) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"layers": 31}, "layers: 31 is not a number up to the 30 of"),
        ({"capacity_gib": 4.0}, "a smaller card is emulated on a GPU"),
        ({"recipe": replace(CELL.recipe, gpus=2)}, "the rig measures one GPU, not 2"),
    ],
)
def test_what_this_machine_cannot_measure_is_passed_over(path: Path, change: dict[str, Any], says: str) -> None:
    outcomes, _ = run(path, (replace(CELL, **change),))
    assert not outcomes.records
    assert [why.startswith(says) for _, why in outcomes.passed_over] == [True]


def test_one_runner_at_a_time_writes_to_a_file(path: Path) -> None:
    with open(path, "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(VramplanError, match="another `vramplan bench run` writes to it"):
            run(path)
    assert run(path)[0].records


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_loses_the_running_cell_only(path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    run(path, (CELL,))
    monkeypatch.setenv("STUB", "silent")
    threading.Timer(0.5, lambda: os.kill(os.getpid(), number)).start()
    outcomes, _ = run(path)
    assert outcomes.interrupted and outcomes.records == ()
    assert len(list(read_records(path))) == 1
    monkeypatch.setenv("STUB", "ok")
    assert len(run(path)[0].records) == 1


def test_a_child_that_says_done_and_left_things_out_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = 'import os, sys; os.write(int(sys.argv[1]), b\'{"type": "done"}\\n\')'
    at = Lab(device="cpu", board=None, command=(sys.executable, "-c", code), standby=False)
    outcomes, _ = run(path, (CELL,), at=at)
    assert outcomes.surprises[0].outcome == "error" and "left out" in str(outcomes.surprises[0].reason)
    monkeypatch.setenv("STUB", "half")
    assert "exit code 0 without a result" in str(run(path, (CELL,))[0].records[0].reason)


def test_an_expected_failure_is_no_surprise(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB", "half")
    assert run(path, (replace(CELL, expect="error"),))[0].surprises == ()


def test_the_next_child_stands_by_and_is_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    plain = Lab._start

    def count(self: Lab, *args: Any) -> Any:
        child = plain(self, *args)
        started.append(child.pid)
        return child

    monkeypatch.setattr(Lab, "_start", count)
    at = lab(standby=True)
    run(path, at=at)
    assert len(started) == 3, "one for each cell, and one that stood by when there was no more"
    assert at._next is None


@pytest.mark.parametrize("name", ["missing/records.jsonl", ".", "/dev/full"])
def test_a_file_that_cannot_be_written_is_known_before_anything_is_measured(tmp_path: Path, name: str) -> None:
    with pytest.raises(VramplanError, match="No such file|not a regular file"):
        run(tmp_path / name)


def test_a_full_disk_ends_with_one_line_and_loses_no_earlier_record(path: Path) -> None:
    resource = pytest.importorskip("resource")
    run(path, (CELL,))
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 1000, limits[1]))  # room for a part of the next record
    try:
        with pytest.raises(VramplanError, match="records.jsonl: File too large"):
            run(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert len(run(path)[0].records) == 1


def test_corrupt_lines_are_named_and_passed_over(path: Path) -> None:
    run(path, (CELL,))
    path.write_bytes(b"{torn\n" + path.read_bytes() + b'\xff\xfe\n{"kind": "cuda"')
    outcomes, _ = run(path)
    assert [line.number for line in outcomes.bad_lines] == [1, 3, 4]
    assert len(outcomes.records) == 1, "the good record among them counts"
    bad: list[Any] = []
    assert len(list(read_records(path, bad.append))) == 2
    assert [line.number for line in bad] == [1, 3, 4]


def test_the_panel_tells_cell_phase_memory_and_speed(path: Path) -> None:
    class Live:
        console = type("Console", (), {"print": lambda self, *_, **__: None})()

        def __init__(self) -> None:
            self.shown: list[str] = []

        def update(self, text: str) -> None:
            self.shown.append(text)

    live = Live()
    panel = Panel(live)
    panel.begin(2)
    assert panel.text() == ""
    panel.start(CELL, 12.0, 360.0, 80 * 2**30)
    panel.message(Message("phase", {"name": "warm_up", "step": 2}))
    panel.message(Message("step", {"step": 3, "duration_s": 0.5}))
    panel.look(Sample(at_s=0.0, used_bytes=40 * 2**30, power_w=None, sm_clock_mhz=None, throttle_bits=None))
    assert live.shown[-1].splitlines()[0] == "[1/2] SmolLM2-135M lora 2-layers b1 s64"
    for words in (
        "warm up, step 2",
        "of about 12 s",
        "█" * 15 + "░" * 15,
        "40.0 of 80.0 GiB",
        "128 tokens/s",
        "all in 6 min",
    ):
        assert words in live.shown[-1]


def test_reports_show_records_and_what_was_passed_over(path: Path) -> None:
    from vramplan_bench import records_report
    from vramplan_reports import terminal

    nvml = FakeNvml()
    outcomes, _ = run(path, at=lab(nvml))
    shown = records_report.Records(title="two", records=outcomes.records, passed_over=((CELL, "no time left"),),
                                   interrupted=True)  # fmt: skip
    text = terminal.render(records_report.sheet(shown), width=100, color=False)
    for words in ("SmolLM2-135M", "1x64", "tokens/s", "price of 2026", "1 passed over: no time left", "interrupted",
                  "unsteady: "):  # fmt: skip
        assert words in text
    document = json.loads(json.dumps(records_report.document(shown)))
    assert document["interrupted"] and len(document["records"]) == 2


def test_records_without_a_gpu_say_why_they_lack_its_figures(path: Path) -> None:
    (record,) = run(path, (CELL,))[0].records
    empty = {name for name in Record.__slots__ if getattr(record, name, 0) is None} - {"reason", "suite"}
    assert empty <= set(record.absent) | {"device_baseline_bytes"}
