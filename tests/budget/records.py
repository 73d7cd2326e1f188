"""Measured runs with round numbers."""

from __future__ import annotations

from typing import Any

from vramplan.record import Effective, PhaseRecord, Record, Request
from vramplan.units import GIB

RECIPE = {"method": "qlora", "stack": "trl", "batch": 4, "seq_len": 2048, "rank": 16, "gpus": 1, "grad_accum": 1,
          "sharding": "none"}  # fmt: skip


def record(
    gpu: str = "h100",
    *,
    model: str = "meta-llama/Llama-3.1-8B",
    tokens_per_s: float | None = 2000.0,
    repeat: int = 0,
    **more: Any,
) -> Record:
    recipe = RECIPE | more.pop("recipe", {})
    outcome = more.pop("outcome", "ok")
    effective = Effective(
        elements_by_dtype={}, parameters=1, trainable=1, quantized=1, trainable_dtypes=("bf16",), attention="sdpa",
        checkpointing=True, optimizer="AdamW", optimizer_state_dtypes={}, adapter_targets=(),
        versions={"torch": "2.13.0"},
    )  # fmt: skip
    return Record(
        kind="cuda", created="2026-10-12T08:00:00Z", effective=effective, steps=(), outcome=outcome,
        request=Request(model=model, layers=32, gpu=gpu, recipe=recipe),
        phases=tuple(PhaseRecord(name="forward", step=n, allocated_bytes=(8 + n) * GIB) for n in (1, 2)),
        allocated_bytes=10 * GIB, reserved_bytes=11 * GIB, device_bytes=12 * GIB, tokens_per_s=tokens_per_s,
        repeat=repeat, absent={"tokens_per_s": "not timed"},
        **({"machine": {"gpu": "NVIDIA H100 80GB HBM3", "driver": "570.1"}} | more),
    )  # fmt: skip
