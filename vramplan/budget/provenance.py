"""Where the figures of a budget come from: assumptions with reasons, sources with dates, and how many of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import date
from typing import TYPE_CHECKING

from ..cost.bill import CostLine
from ..cost.job import CHECKPOINT_BYTES_PER_S, DOWNLOAD_BYTES_PER_S, STARTUP_S
from .physics import profile_of
from .result import Assumption, Counts, JobBudget, SourceOf
from .scenario import Guess, Habits, OtherLine, PlannedJob, Scenario, said_number
from .sensitivity import SAID

if TYPE_CHECKING:
    from ..accuracy import Accuracy

NEVER_COMPUTED = ("storage", "network traffic", "taxes and discounts", "people's time")
"""Costs that no formula here knows; a line of the scenario may add them."""


def assumptions_of(plan: Scenario) -> tuple[Assumption, ...]:
    """Every number with a reason, in the order of the file, then statements, then what the planner assumes itself."""
    return tuple(_assumptions(plan))


def _assumptions(plan: Scenario) -> Iterator[Assumption]:
    for job in plan.jobs:
        yield from _reasoned(job, f"{job.name}: ", f"job {job.name!r}")
    yield from _reasoned(plan.habits, "", "habits")
    if plan.contingency is not None:
        yield _assumption("contingency, share of the costs", plan.contingency, "contingency")
    if plan.limits.usd_per_gpu_hour is not None:
        yield _assumption("USD for a GPU hour", plan.limits.usd_per_gpu_hour, "limits")
    for line in plan.others:
        where, reason = f"line {line.label!r}", line.reason
        said = f"{said_number(line.quantity.value)} {line.unit} at {said_number(line.unit_price_usd.value)} USD"
        yield Assumption(what=line.label, value=said, reason=reason, where=where)
    for statement in plan.statements:
        yield Assumption(what=statement.text, value="", reason=statement.reason, where="assumption")
    yield from _own(plan)


def _reasoned(holder: PlannedJob | Habits | OtherLine, prefix: str, where: str) -> Iterator[Assumption]:
    for field in fields(holder):
        guess = getattr(holder, field.name)
        if isinstance(guess, Guess) and guess.reason:
            yield _assumption(prefix + SAID[field.name], guess, f"{where}, {field.name}")


def _assumption(what: str, guess: Guess, where: str) -> Assumption:
    ends = f" ({said_number(guess.low)} to {said_number(guess.high)})" if guess.ranges else ""
    return Assumption(what=what, value=said_number(guess.value) + ends, reason=guess.reason, where=where)


def _own(plan: Scenario) -> Iterator[Assumption]:
    """What the planner puts in where the scenario says nothing."""
    rate, writing = DOWNLOAD_BYTES_PER_S // 10**6, CHECKPOINT_BYTES_PER_S // 10**6
    if any(job.startup_s is None for job in plan.jobs):
        yield Assumption(
            what="start of a rented machine", value=f"{STARTUP_S} s", where="vramplan",
            reason="boot, environment, imports; startup_s of a job changes it",
        )  # fmt: skip
    yield Assumption(
        what="download of weights", value=f"{rate} MB/s", reason="a 1 Gbit/s line", where="vramplan"
    )  # fmt: skip
    yield Assumption(
        what="writing of checkpoints", value=f"{writing} MB/s", reason="a network disk of a cloud", where="vramplan"
    )  # fmt: skip
    yield Assumption(
        what="every run rents its machine anew", value="", where="vramplan",
        reason="start and download are paid for each",
    )  # fmt: skip


def sources_of(jobs: tuple[JobBudget, ...]) -> tuple[SourceOf, ...]:
    """Models, cards, prices and speeds of the chosen ways, each once."""
    found: dict[str, SourceOf] = {}
    for job in jobs:
        for source in _sources(job):
            found.setdefault(source.what, source)
    return tuple(found.values())


def _sources(job: JobBudget) -> Iterator[SourceOf]:
    yield SourceOf(what=f"shape of {job.model.id}", source=job.model.source, day=None)
    if job.way is None:
        return
    gpu, hire, speed = job.way.gpu, job.way.hire, job.way.speed
    yield SourceOf(what=f"memory and peaks of {gpu.name}", source=gpu.source, day=None)
    profile = profile_of(job.plan, gpu)
    if profile is not None:
        said = (
            f"{len(profile.record_ids)} measured runs of {', '.join(profile.models) or 'this card'}; {profile.source}"
        )
        day = date.fromisoformat(profile.created)
        yield SourceOf(what=f"memory and speed of {gpu.key}: profile {profile.name}", source=said, day=day)
    if speed is not None and speed.source != "fitted":
        said = "efficiencies of published runs, not measured on this card (vramplan bench run, vramplan calibrate)"
        yield SourceOf(what=f"speed of {gpu.key}", source=said, day=None)
    if hire is not None:
        price = hire.price
        what = f"price of {price.instance or price.gpu_key}, {price.provider} {price.region}, {price.kind}"
        yield SourceOf(what=what, source=price.source, day=price.date, stale=hire.stale)


def counts_of(
    plan: Scenario, jobs: tuple[JobBudget, ...], others: tuple[CostLine, ...], measured: Accuracy | None
) -> Counts:
    """Terms of memory, speeds and quantities by how they came to be; prices are published, runs are measured."""
    kinds = [term.source for job in jobs if job.estimate for term in job.estimate.memory.terms]
    kinds += [job.way.speed.source for job in jobs if job.way and job.way.speed]
    lines = [line.provenance for line in (*(line for job in jobs for line in job.lines), *others)]
    hires = [job.way.hire for job in jobs if job.way and job.way.hire]
    runs = 0 if measured is None else sum(row.status == "ok" for row in measured.rows)
    computed = {"electricity"} if plan.usd_per_kwh is not None else set()
    missing = [cost for cost in NEVER_COMPUTED if not _covered(cost, others)]
    if "electricity" not in computed and any(hire.price.kind == "own" for hire in hires):
        missing.append("electricity of your own machines")
    missing += [f"the job {job.plan.name}: {job.problem}" for job in jobs if job.usd is None]
    return Counts(
        measured=runs + lines.count("measured"),
        fitted=kinds.count("fitted") + lines.count("fitted"),
        exact=kinds.count("exact"),
        published=sum(hire.price.kind != "own" for hire in hires),
        assumed=kinds.count("assumed") + lines.count("assumed") + sum(hire.price.kind == "own" for hire in hires),
        left_out=tuple(missing),
    )


def _covered(cost: str, others: tuple[CostLine, ...]) -> bool:
    """A line of the scenario names it: its first word stands in the label."""
    word = cost.split()[0].split("'")[0]
    return any(word in line.label.lower() for line in others)
