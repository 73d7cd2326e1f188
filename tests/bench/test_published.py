"""Dry runs of published runs: which are repeated, what is compared, and that a step nobody can build is a row."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from vramplan.runs import Run
from vramplan_bench.published import Row, published, tell

COLUMNS = (
    "id", "model", "gpu", "gpus", "method", "rank", "targets", "weights_dtype", "autocast", "micro_batch", "seq_len",
    "checkpointing", "attention", "loss", "stack", "outcome", "allocated_bytes", "reserved_bytes",
)  # fmt: skip
LORA = (
    "fitcheck-s15-16,HuggingFaceTB/SmolLM2-135M,t4,1,lora,32,attention,fp16,none,2,512,true,sdpa-mem-efficient,standard"
)


def runs(tmp_path: Path) -> list[Run]:
    path = tmp_path / "runs.csv"
    rows = (
        f"{LORA},transformers-5,ok,1076963049,1122060206",
        f"{LORA.replace('-16', '-17').replace('lora', 'dora')},transformers-5,ok,1076963049,",
        f"{LORA.replace('-16', '-18')},transformers-5,oom,,",
        f"{LORA.replace('-16', '-19')},litgpt,ok,1076963049,",
    )
    path.write_text("\n".join((",".join(COLUMNS), *rows)) + "\n")
    return published([str(path)], "transformers-5")


def test_runs_of_the_stack_with_a_peak_are_repeated(tmp_path: Path) -> None:
    assert [run.id for run in runs(tmp_path)] == ["fitcheck-s15-16", "fitcheck-s15-17"]


def test_a_published_run_is_met(tmp_path: Path) -> None:
    """SmolLM2-135M on a T4 (shared/corpus): blocks within 0.4 %, reserved within 5 %; tensors alone are less."""
    row = tell(runs(tmp_path)[0])
    assert row.miss("allocated") == pytest.approx(0, abs=0.004)
    assert row.miss("reserved") == pytest.approx(0, abs=0.05)
    assert row.tensors_bytes < row.allocated_bytes < row.reserved_bytes


def test_what_cannot_be_described_is_a_row_with_its_reason(tmp_path: Path) -> None:
    row = tell(runs(tmp_path)[1])
    assert "dora" in row.error and row.miss("allocated") is None


def test_what_was_not_published_is_not_compared() -> None:
    row = Row(id="a", model="b", case="c", measured_allocated_bytes=100, allocated_bytes=101, reserved_bytes=200)
    assert row.miss("reserved") is None
    assert row.miss("allocated") == pytest.approx(0.01)
