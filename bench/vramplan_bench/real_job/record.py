"""From what was counted and what the objects tell to a record of the rig's schema."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from vramplan.record import Effective, Outcome, Record

from .readback import effective_of, request_of
from .tally import LEAST_TIMED, WARM_STEPS, Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The live objects of a training."""

    model: Any
    args: Any
    optimizer: Any


def outcome_of(error: BaseException | None, tally: Tally) -> tuple[Outcome, str | None]:
    """How it ended. A job that was stopped after enough steps has been measured all the same."""
    if isinstance(error, Exception):
        from ..child.failure import kind_and_reason

        kind, reason = kind_and_reason(error)
        return ("oom" if kind == "oom" else "oom_driver" if kind == "oom_driver" else "error"), reason
    if tally.measured or (error is None and tally.step):
        return "ok", None
    return "killed", f"stopped in step {tally.step}" if tally.step else "no step ran"


def record_of(
    job: Job, tally: Tally, error: BaseException | None, *, device: Mapping[str, int | None], facts: Mapping[str, str]
) -> Record:
    """`device`: device use before CUDA began (`baseline_bytes`) and the most that was seen since (`used_bytes`)."""
    outcome, reason = outcome_of(error, tally)
    request = request_of(
        job.model, job.args, seq_len=tally.length or None, batch=tally.rows or None, chunked=tally.chunked
    )
    absent = _absent_knobs(request.recipe)
    peaks = tally.steady_peaks
    if peaks is None:
        why = "no step was counted" if tally.counts_memory else "on the CPU nothing counts allocations"
        absent |= {"allocated_bytes": why, "reserved_bytes": why}
    if tally.tokens_per_s is None:
        timed = len(tally.durations_s)
        absent["tokens_per_s"] = f"{timed} steps after {WARM_STEPS} to warm up; {LEAST_TIMED} are the least"
    effective = _effective(job, absent)
    return Record(
        kind="cuda" if tally.counts_memory else "cpu",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        request=request,
        effective=effective,
        phases=tally.phases,
        steps=tuple(tally.raw),
        allocated_bytes=None if peaks is None else peaks.allocated_bytes,
        reserved_bytes=None if peaks is None else peaks.reserved_bytes,
        device_bytes=_device_bytes(device, tally, absent),
        tokens_per_s=tally.tokens_per_s,
        outcome=outcome,
        reason=reason,
        device_baseline_bytes=device["baseline_bytes"],
        step_time_s=tally.step_time_s,
        step_time_cv=tally.step_time_cv,
        flags=("real_job", *(("interrupted",) if error is not None else ()), *tally.flags),
        absent=absent,
        machine={"python": platform.python_version(), "system": platform.system(), **facts},
    )


def _absent_knobs(recipe: Mapping[str, Any]) -> dict[str, str]:
    knobs = ["seq_len"]
    if recipe["method"] not in ("full", "unknown"):
        knobs += ["rank", "targets", "adapter_dtype", "lora_dropout"]
    return {f"request.recipe.{k}": "neither the model nor the arguments tell it" for k in knobs if k not in recipe}


def _effective(job: Job, absent: dict[str, str]) -> Effective | None:
    try:
        return effective_of(job.model, job.optimizer)
    except Exception as error:  # a model of another make must not cost its owner the record
        absent["effective"] = f"not readable: {type(error).__name__}: {error}"[:200]
        return None


def _device_bytes(device: Mapping[str, int | None], tally: Tally, absent: dict[str, str]) -> int | None:
    used, baseline = device["used_bytes"], device["baseline_bytes"]
    if used is not None and baseline is not None:
        return used - baseline
    if not tally.counts_memory:
        absent["device_bytes"] = "on the CPU"
    elif used is None:
        absent["device_bytes"] = "no NVML"
    else:
        absent["device_bytes"] = "the recorder was made after CUDA began: what others use is not known"
    return None
