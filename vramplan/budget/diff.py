"""Two budgets compared: the change in money and time, and which assumption moved it.

The new assumptions are put into the old plan one after the other, in the order of the file; each step's change is that
assumption's. What is left when all of them are in has another cause: prices, jobs, cards, the planner itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any

from ..recipe import Recipe
from .build import budget
from .physics import Physics
from .result import Budget
from .scenario import Day, Guess, PlannedJob, Scenario, said_number
from .sensitivity import SAID


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One thing that is different, and what it does to the total."""

    what: str
    old: str
    new: str
    usd: Decimal
    """Change of the total, contingency included."""
    days: int
    """Change of the last day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobChange:
    """A job before and after; None = it is not there, or has no cost."""

    name: str
    old_usd: Decimal | None
    new_usd: Decimal | None
    old_way: str
    new_way: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """From an old budget to a new one."""

    old: Budget
    new: Budget
    usd: Decimal
    days: int | None
    """None where one of them has no last day."""
    causes: tuple[Cause, ...]
    """Largest first."""
    jobs: tuple[JobChange, ...]

    @property
    def old_end(self) -> Day | None:
        return self.old.end

    @property
    def new_end(self) -> Day | None:
        return self.new.end


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One difference between two scenarios, ready to be put into the old one."""

    what: str
    old: str
    new: str
    scenario: Scenario


def difference(old: Scenario, new: Scenario) -> Difference:
    """What changed from `old` to `new`. Raises VramplanError."""
    physics = Physics()
    before, after = budget(old, physics), budget(new, physics)
    causes = []
    here = before
    for step in _steps(old, new):
        there = after if step.scenario == new else budget(step.scenario, physics)
        causes.append(_cause(step, here, there))
        here = there
    if here is not after:
        last = Step(what="everything else: jobs, models, recipes, limits", old="", new="", scenario=new)
        causes.append(_cause(last, here, after))
    moved = (cause for cause in causes if cause.usd or cause.days)
    return Difference(
        old=before,
        new=after,
        usd=after.total.value - before.total.value,
        days=_days(before, after) if before.end and after.end else None,
        causes=tuple(sorted(moved, key=lambda cause: (-abs(cause.usd), -abs(cause.days)))),
        jobs=tuple(_job_changes(before, after)),
    )


def _cause(step: Step, before: Budget, after: Budget) -> Cause:
    usd = after.total.value - before.total.value
    return Cause(what=step.what, old=step.old, new=step.new, usd=usd, days=_days(before, after))


def _days(before: Budget, after: Budget) -> int:
    return (after.end - before.end).days if before.end and after.end else 0


def _steps(old: Scenario, new: Scenario) -> Iterator[Step]:
    """The old scenario on its way to the new one: each step takes one more assumption of the new."""
    here = replace(old, path=new.path, name=new.name, owner=new.owner, summary=new.summary)
    for change in (*_of_jobs(old, new), *_of_project(old, new)):
        what, before, after, put = change
        there = put(here)
        if there != here:
            yield Step(what=what, old=before, new=after, scenario=there)
            here = there


Change = tuple[str, str, str, Any]
"""What, old, new, and how a scenario gets it."""


def _of_jobs(old: Scenario, new: Scenario) -> Iterator[Change]:
    there = {job.name: job for job in new.jobs}
    for job in old.jobs:
        other = there.get(job.name)
        if other is None:
            continue
        yield from _of_recipe(job, other)
        for field in fields(PlannedJob):
            before, after = getattr(job, field.name), getattr(other, field.name)
            if before != after and field.name != "recipe":
                said = f"{job.name}: {SAID.get(field.name, field.name.replace('_', ' '))}"
                yield said, _said(before), _said(after), _job_setter(job.name, field.name, after)
    for job in old.jobs:
        if job.name not in there:
            yield f"job {job.name} left out", "", "", _job_remover(job.name)
    before_names = {job.name for job in old.jobs}
    for job in new.jobs:
        if job.name not in before_names:
            yield f"job {job.name} added", "", "", _job_adder(job)


def _of_recipe(job: PlannedJob, other: PlannedJob) -> Iterator[Change]:
    """Knob by knob, each put in together with those before it."""
    recipe = job.recipe
    for field in fields(Recipe):
        before, after = getattr(job.recipe, field.name), getattr(other.recipe, field.name)
        if before != after:
            recipe = replace(recipe, **{field.name: after})
            said = f"{job.name}: {field.name.replace('_', ' ')}"
            yield said, _said(before), _said(after), _job_setter(job.name, "recipe", recipe)


def _job_setter(name: str, field: str, value: Any) -> Any:
    def put(scenario: Scenario) -> Scenario:
        jobs = (replace(job, **{field: value}) if job.name == name else job for job in scenario.jobs)
        return replace(scenario, jobs=tuple(jobs))

    return put


def _job_remover(name: str) -> Any:
    def put(scenario: Scenario) -> Scenario:
        left = tuple(job for job in scenario.jobs if job.name != name)
        return replace(scenario, jobs=left) if left else scenario

    return put


def _job_adder(job: PlannedJob) -> Any:
    return lambda scenario: replace(scenario, jobs=(*scenario.jobs, job))


def _of_project(old: Scenario, new: Scenario) -> Iterator[Change]:
    for holder in ("habits", "limits"):
        before, after = getattr(old, holder), getattr(new, holder)
        for field in fields(before):
            one, other = getattr(before, field.name), getattr(after, field.name)
            if one != other:
                said = SAID.get(field.name, field.name.replace("_", " "))
                yield said, _said(one), _said(other), _part_setter(holder, field.name, other)
    for name in ("date", "start", "contingency", "others", "usd_per_kwh", "pue", "grams_co2_per_kwh"):
        one, other = getattr(old, name), getattr(new, name)
        if one != other:
            said = {"date": "day of the plan (prices)", "start": "first day", "others": "other costs"}.get(name, name)
            yield said, _said(one), _said(other), _project_setter(name, other)


def _part_setter(holder: str, field: str, value: Any) -> Any:
    def put(scenario: Scenario) -> Scenario:
        return replace(scenario, **{holder: replace(getattr(scenario, holder), **{field: value})})

    return put


def _project_setter(field: str, value: Any) -> Any:
    return lambda scenario: replace(scenario, **{field: value})


def _said(value: Any) -> str:
    """A value as short as it can be read."""
    if value is None:
        return "-"
    if isinstance(value, Guess):
        return said_number(value.value)
    if isinstance(value, tuple):
        return ", ".join(map(_said, value)) if all(isinstance(one, str) for one in value) else f"{len(value)} of them"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if isinstance(value, str | int | Decimal) or hasattr(value, "isoformat") else "changed"


def _job_changes(before: Budget, after: Budget) -> Iterator[JobChange]:
    old = {job.plan.name: job for job in before.jobs}
    new = {job.plan.name: job for job in after.jobs}
    for name in dict.fromkeys((*old, *new)):
        one, other = old.get(name), new.get(name)
        yield JobChange(
            name=name,
            old_usd=one.usd.value if one and one.usd else None,
            new_usd=other.usd.value if other and other.usd else None,
            old_way=_way(one),
            new_way=_way(other),
        )


def _way(job: Any) -> str:
    if job is None or job.way is None:
        return "-"
    return f"{job.way.recipe.method} on {job.way.gpu.key}"
