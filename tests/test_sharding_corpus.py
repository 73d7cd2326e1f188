"""Several GPUs against public runs: per GPU, as measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from vramplan.accuracy import Row, judge, percentile, read_files
from vramplan.runs import Run

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "../shared/corpus" / name for name in ("runs.csv", "throughput.csv")]
pytestmark = pytest.mark.skipif(
    not all(path.exists() for path in FILES), reason="the public runs are not beside the repository"
)
FMS = ("transformers-4.45+foak", "transformers-4.48", "transformers-4.48+foak")


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    runs = [run for run in read_files(map(str, FILES)) if isinstance(run, Run) and (run.gpus or 1) > 1]
    return [row for row in map(judge, runs) if row.status == "ok"]


def errors(rows: list[Row], tier: str) -> list[float]:
    return [
        abs(getattr(row.predicted, tier) / getattr(row.measured, tier) - 1)
        for row in rows
        if getattr(row.measured, tier) and getattr(row.predicted, tier)
    ]


def test_allocated(rows: list[Row]) -> None:
    sizes = errors(rows, "allocated_bytes")
    assert len(sizes) >= 73
    assert percentile(sizes, 0.5) < 0.002
    assert percentile(sizes, 0.9) < 0.012
    assert max(sizes) < 0.075  # SantaCoder with a standard loss, as on one GPU


@pytest.mark.parametrize("stack", FMS)
def test_device(stack: str, rows: list[Row]) -> None:
    sizes = errors([row for row in rows if row.stack == stack], "device_bytes")
    assert len(sizes) >= 12
    assert percentile(sizes, 0.5) < 0.07
    assert max(sizes) < 0.21


def test_reserved(rows: list[Row]) -> None:
    """FSDP1 without reentrant checkpoints (fsdp_qlora) and FSDP2 (torchtitan)."""
    sizes = errors(rows, "reserved_bytes")
    assert len(sizes) >= 7
    assert percentile(sizes, 0.5) < 0.05
    assert max(sizes) < 0.16


def test_speed(rows: list[Row]) -> None:
    sizes = errors([row for row in rows if row.stack in FMS], "tokens_per_s_per_gpu")
    assert len(sizes) >= 72
    assert percentile(sizes, 0.5) < 0.08
    assert percentile(sizes, 0.9) < 0.20
    every = errors(rows, "tokens_per_s_per_gpu")
    assert percentile(every, 0.5) < 0.12
    assert percentile(every, 0.9) < 0.46


def test_verdicts(rows: list[Row]) -> None:
    said = [(row.predicted.fits, row.measured.outcome) for row in rows if row.predicted and row.measured]
    assert said.count(("does_not_fit", "presumed_oom")) >= 9
    assert not any(fits == "does_not_fit" and outcome in ("ok", "fits") for fits, outcome in said)


def test_of_a_stack_whose_memory_nobody_published_no_verdict_is_compared(rows: list[Row]) -> None:
    silent = [row for row in rows if row.stack in ("llm-foundry", "xtuner")]
    assert silent and all(row.predicted is not None and row.predicted.fits is None for row in silent)
