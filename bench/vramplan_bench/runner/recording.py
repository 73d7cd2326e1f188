"""What a child said, how it ended and what the sampler saw, as one record. No number is invented: what is missing is
null and its reason stands in `absent`."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from vramplan.errors import VramplanError
from vramplan.from_json import build_part
from vramplan.gpu import Gpu
from vramplan.record import Effective, Kind, Outcome, PhaseRecord, Record, StepRecord

from ..protocol import Message
from .cells import Prepared
from .endings import judge
from .process import Ending
from .sampler import Summary
from .worth import achieved_mfu, priced

UNSTEADY_BYTES = 2 * 2**20
UNSTABLE_TIME = 0.03
ENERGY_AGREES = 0.10
POWER_SOURCE = "nvmlDeviceGetPowerUsage every 50 ms"
Part = TypeVar("Part", PhaseRecord, StepRecord)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a cell as its parent saw it."""

    prepared: Prepared
    kind: Kind
    created: str
    gpu: Gpu | None
    messages: Sequence[Message]
    ending: Ending
    whole: Summary
    """Samples of the whole run."""
    steady: Summary
    """Samples of the timed window."""
    baseline_bytes: int | None
    machine: Mapping[str, str]
    repeat: int = 0
    suite: str | None = None
    busy: bool = False


def record_of(run: Run) -> Record:
    """The record of a run."""
    outcome, reason = judge(run.messages, run.ending)
    phases = tuple(_parts(PhaseRecord, run.messages, "phase_end"))
    steps = tuple(_parts(StepRecord, run.messages, "step"))
    effective = _effective(run.messages)
    if outcome == "ok" and (effective is None or not phases or not steps):
        outcome, reason = "error", "end: it said that all went well, and left out what it measured"
    facts = _facts(run.messages)
    values = dict.fromkeys(_FIGURES) if outcome != "ok" else _figures(run, phases, steps)
    values["context_bytes"] = facts["context_bytes"]
    values["capacity_bytes"] = facts["capacity_bytes"]
    values["retries"] = facts["retries"]
    absent = _absent(values, run, outcome)
    if effective is None:
        absent["effective"] = "the run ended before it could be read"
    return Record(
        kind=run.kind,
        created=run.created,
        request=run.prepared.request,
        effective=effective,
        phases=phases,
        steps=steps,
        outcome=outcome,
        reason=reason,
        device_baseline_bytes=run.baseline_bytes,
        throttle_reasons=run.steady.throttle_reasons,
        repeat=run.repeat,
        suite=run.suite,
        busy=run.busy,
        flags=tuple(_flags(run, values, phases, steps)),
        duration_s=round(run.ending.seconds, 3),
        absent=absent,
        machine={**run.machine, **facts["machine"]},
        **values,
    )


_FIGURES = (
    "allocated_bytes", "reserved_bytes", "device_bytes", "tokens_per_s", "step_time_s", "step_time_cv",
    "energy_j_per_token", "power_w", "power_source", "mfu", "retries", "sm_clock_mhz", "price",
)  # fmt: skip


def _figures(run: Run, phases: Sequence[PhaseRecord], steps: Sequence[StepRecord]) -> dict[str, Any]:
    """Everything that a run which came to its end tells."""
    parts: tuple[PhaseRecord | StepRecord, ...] = (*phases, *steps)
    counted = [part for part in parts if part.step != 1]  # in step 1 optimizers make their states
    durations = [step.duration_s for step in steps if step.duration_s is not None]
    window = next((m for m in run.messages if m.kind == "window"), None)
    seconds, tokens, energy = _window(window)
    speed = tokens / seconds if tokens and seconds else None
    used = [phase.device_used_bytes for phase in phases] + [run.whole.used_peak_bytes]
    device = _most(used)
    power = run.steady.power_w
    return {
        "allocated_bytes": _most(part.allocated_bytes for part in counted),
        "reserved_bytes": _most(part.reserved_bytes for part in counted),
        "device_bytes": None if device is None or run.baseline_bytes is None else device - run.baseline_bytes,
        "tokens_per_s": speed,
        "step_time_s": statistics.median(durations) if durations else None,
        "step_time_cv": statistics.stdev(durations) / statistics.fmean(durations) if len(durations) > 1 else None,
        "energy_j_per_token": energy / tokens if energy is not None and tokens else None,
        "power_w": power,
        "power_source": POWER_SOURCE if power is not None else None,
        "mfu": achieved_mfu(run.prepared, run.gpu, speed),
        "retries": None,
        "sm_clock_mhz": run.steady.sm_clock_mhz,
        "price": priced(run.gpu, speed),
    }


def window_of(messages: Sequence[Message]) -> tuple[float, float] | None:
    """Begin and end of the timed steps, by time.monotonic(); None where they never came."""
    window = next((m for m in messages if m.kind == "window"), None)
    begin, end = (window.number("begin_s"), window.number("end_s")) if window else (None, None)
    return None if begin is None or end is None else (begin, end)


def _window(window: Message | None) -> tuple[float | None, float | None, float | None]:
    """Seconds, tokens and joules."""
    if window is None:
        return None, None, None
    begin, end = window.number("begin_s"), window.number("end_s")
    seconds = end - begin if begin is not None and end is not None and end > begin else None
    return seconds, window.number("tokens"), window.number("energy_j")


def _flags(
    run: Run, values: Mapping[str, Any], phases: Sequence[PhaseRecord], steps: Sequence[StepRecord]
) -> Iterator[str]:
    by_step: dict[int, int] = {}
    parts: tuple[PhaseRecord | StepRecord, ...] = (*phases, *steps)
    for part in parts:
        if part.step > 1 and part.allocated_bytes is not None:
            by_step[part.step] = max(by_step.get(part.step, 0), part.allocated_bytes)
    if by_step and max(by_step.values()) - min(by_step.values()) > UNSTEADY_BYTES:
        yield "unsteady"
    if (values["step_time_cv"] or 0.0) > UNSTABLE_TIME:
        yield "unstable_time"
    if values["retries"]:
        yield "retries"
    seconds, _, energy = _window(next((m for m in run.messages if m.kind == "window"), None))
    if energy is not None and seconds and values["power_w"]:
        power = energy / seconds
        if abs(power - values["power_w"]) > ENERGY_AGREES * power:
            yield "energy_disagrees"
    if run.ending.garbage:
        yield "garbage"


def _absent(values: Mapping[str, Any], run: Run, outcome: Outcome) -> dict[str, str]:
    """Field -> why it is null."""
    early = "an OOM is a lower bound, never a peak" if outcome.startswith("oom") else f"the run ended early: {outcome}"
    on_cpu = "the CPU has no allocator of CUDA, no device and no driver"
    why = dict.fromkeys(values, early if outcome != "ok" else "the driver did not tell")
    if run.kind == "cpu":
        gone = ("reserved_bytes", "device_bytes", "context_bytes", "capacity_bytes", "retries", "power_w",
                "power_source", "sm_clock_mhz", "energy_j_per_token")  # fmt: skip
        why |= dict.fromkeys(gone, on_cpu)
    elif outcome == "ok":
        window = next((m for m in run.messages if m.kind == "window"), None)
        why["energy_j_per_token"] = (window.text("energy_absent") if window else "") or "the device counts no energy"
    if outcome == "ok":
        why["mfu"] = "no dense peak of this card with a source" if run.kind == "cuda" else on_cpu
        why["price"] = "no price of this card" if run.kind == "cuda" else "nobody rents this machine by a list"
    return {name: why[name] for name, value in values.items() if value is None}


def _parts(kind: type[Part], messages: Sequence[Message], said: str) -> Iterator[Part]:
    """Messages of a kind as records; what does not hold one is passed over."""
    for message in messages:
        if message.kind == said:
            try:
                yield build_part(kind, dict(message.values), said)
            except VramplanError:
                continue


def _effective(messages: Sequence[Message]) -> Effective | None:
    said = next((m for m in messages if m.kind == "effective"), None)
    if said is None:
        return None
    try:
        effective: Effective = build_part(Effective, dict(said.values), "effective")
    except VramplanError:
        return None
    kernels = next((m.values["attention_kernels"] for m in messages if "attention_kernels" in m.values
                    and m.kind == "facts"), ())  # fmt: skip
    return replace(effective, attention_kernels=tuple(map(str, kernels))) if isinstance(kernels, list) else effective


def _facts(messages: Sequence[Message]) -> dict[str, Any]:
    found: dict[str, Any] = {"context_bytes": None, "capacity_bytes": None, "retries": None, "machine": {}}
    for message in messages:
        if message.kind == "facts":
            for name in ("context_bytes", "capacity_bytes", "retries"):
                found[name] = message.whole(name) if message.whole(name) is not None else found[name]
            machine = message.values.get("machine")
            if isinstance(machine, dict):
                found["machine"] = {str(key): str(value) for key, value in machine.items()}
    return found


def _most(values: Any) -> int | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None
