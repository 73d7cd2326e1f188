"""From a scenario to its budget."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

from ..catalog import find_model
from ..cost.bill import CostLine, cents
from ..data import DataFile
from ..errors import VramplanError
from ..estimator.search import smallest_cards
from ..gpu import Gpu
from ..model import Model
from .bill import bill_of, worth
from .choose import chosen
from .commands import job_commands, project_commands
from .physics import Physics
from .provenance import assumptions_of, counts_of, sources_of
from .result import Budget, JobBudget, Likelihood, Range, Swing, Way
from .scenario import PlannedJob, Scenario
from .scenario_file import read_scenario
from .schedule import Slot, day_after, end_of, slots, spent
from .sensitivity import Costed, Sensitivity, combined, other_usd
from .ways import Ways, why_no_way

if TYPE_CHECKING:
    from ..accuracy import Accuracy
    from ..export import ExportedFile

ZERO = Decimal(0)


def budget(scenario: Scenario | str | os.PathLike[str], physics: Physics | None = None) -> Budget:
    """The budget of a scenario, or of the file that holds one.

    Each job gets the cheapest way that fits within the limits; a job that none holds, or without a price, stays in the
    result with the reason and no cost. `physics` of another budget saves finding the same out again. Raises
    VramplanError (ScenarioError with every mistake of the file).
    """
    plan = scenario if isinstance(scenario, Scenario) else read_scenario(scenario)
    ways = Ways(plan, physics or Physics())
    data = [ways.physics.data(job) for job in plan.jobs]
    offers = [(job, ways.of(job, file)) for job, file in zip(plan.jobs, data, strict=True)]
    picks = chosen(plan, offers)
    jobs = [_job(plan, *offer, pick, ways, file) for offer, pick, file in zip(offers, picks, data, strict=True)]
    return _summed(plan, [one for one, _ in jobs], tuple(costed for _, costed in jobs))


def _job(
    plan: Scenario, job: PlannedJob, found: tuple[Way, ...], best: Way | None, ways: Ways, data: DataFile | None
) -> tuple[JobBudget, Costed]:
    model = find_model(job.model)
    problem = why_no_way(found, lambda: _would_hold(job, model, ways, found))
    estimate = None if best is None else ways.physics.estimate(job, model, best)
    basis = None if best is None else ways.basis(best, job, model, data)
    bill = None if basis is None else bill_of(job, plan.habits, basis)
    notes = [*(estimate.notes if estimate else ()), *(bill.notes if bill else ()), *ways.refused.get(job.name, ())]
    notes[:0] = _remarks(best, found)
    result = JobBudget(
        plan=job,
        model=model,
        way=best,
        estimate=estimate,
        work=None if bill is None else bill.work,
        lines=() if bill is None else bill.lines,
        usd=None if bill is None else bill.usd,
        hours=None if bill is None else bill.hours,
        start=None,
        end=None,
        kwh=None if bill is None else bill.kwh,
        co2_kg=None if bill is None else bill.co2_kg,
        ways=found,
        heat=() if best is None else ways.physics.heat(job, model, best),
        notes=tuple(dict.fromkeys(notes)),
        problem=problem,
        commands=() if best is None else job_commands(plan, job, best),
        config=None if best is None else _config(job, model, best),
    )
    return result, Costed(job=job, basis=basis, bill=bill)


def _remarks(way: Way | None, found: tuple[Way, ...]) -> Iterator[str]:
    if way is None:
        return
    if way.verdict == "tight":
        yield "the card's limit lies inside the memory interval: it may run out of memory"
    first = found[0]
    if way is not first and way.usd and first.usd:
        more = way.usd.value - first.usd.value
        yield f"{way.gpu.key} for the deadline: {more:,.2f} USD more than {first.gpu.key}, the cheapest that fits"


def _config(job: PlannedJob, model: Model, way: Way) -> ExportedFile | None:
    try:
        from ..export import Schedule, export

        return export("trl", model, way.recipe, job=Schedule(epochs=float(job.epochs.value)))
    except (ImportError, VramplanError):
        return None


def _would_hold(job: PlannedJob, model: Model, ways: Ways, found: tuple[Way, ...]) -> str:
    """The smallest cards that hold the leanest way."""
    from ..catalog import gpus

    method = found[0].recipe.method

    def fits(gpu: Gpu) -> bool:
        try:
            return ways.physics.technical(job, model, method, gpu).verdict == "fits"
        except VramplanError:
            return False

    cards = smallest_cards((card for card in gpus() if card.cuda), fits)
    names = ", ".join(card.key for card in cards)
    return f"{method} would fit on {names}" if names else f"no card of the catalogue holds it with {method}"


def _summed(plan: Scenario, jobs: list[JobBudget], costed: tuple[Costed, ...]) -> Budget:
    timed = slots(plan, ((job.plan, job.hours.value if job.hours else None) for job in jobs))
    scheduled = tuple(_placed(job, slot, plan.start) for job, slot in zip(jobs, timed, strict=True))
    others = tuple(_other_line(plan, position) for position in range(len(plan.others)))
    expected = sum((job.usd.value for job in jobs if job.usd), ZERO) + sum((line.amount for line in others), ZERO)
    swings = Sensitivity(plan, costed).swings()
    subtotal = combined(expected, swings)
    share = worth(plan.contingency)
    contingency = cents(expected * share)
    total = Range(
        value=expected + contingency, low=cents(subtotal.low * (1 + share)), high=cents(subtotal.high * (1 + share))
    )
    end = end_of(timed, plan.start)
    interval = _end_interval(end, swings)
    parts = [(slot, job.usd.value) for job, slot in zip(jobs, timed, strict=True) if slot and job.usd]
    measured = _measured(plan)
    return Budget(
        scenario=plan,
        jobs=scheduled,
        other_lines=others,
        subtotal=subtotal,
        contingency=contingency,
        total=total,
        hours=_sum_of(job.hours for job in jobs),
        start=plan.start,
        end=end,
        end_interval=interval,
        affordable=_affordable(plan, total, subtotal),
        on_time=_on_time(plan, end, interval),
        swings=swings,
        spent=spent(plan, parts, [(line, other_usd(line)) for line in plan.others], total, subtotal),
        kwh=_added([job.kwh for job in jobs]),
        co2_kg=_added([job.co2_kg for job in jobs]),
        assumptions=assumptions_of(plan),
        sources=sources_of(scheduled),
        counts=counts_of(plan, scheduled, others, measured),
        notes=_notes(plan, scheduled),
        commands=project_commands(plan),
        measured=measured,
    )


def _placed(job: JobBudget, slot: Slot | None, origin: date) -> JobBudget:
    return job if slot is None else replace(job, start=slot.first(origin), end=slot.last(origin))


def _other_line(plan: Scenario, position: int) -> CostLine:
    line = plan.others[position]
    return CostLine(
        label=line.label,
        quantity=line.quantity.value,
        unit=line.unit,
        unit_price=line.unit_price_usd.value,
        amount=other_usd(line),
        provenance="assumed",
        price_date=None,
        note=line.reason,
    )


def _sum_of(ranges: Iterable[Range | None]) -> Range:
    low, value, high = ZERO, ZERO, ZERO
    for one in ranges:
        if one is not None:
            low, value, high = low + one.low, value + one.value, high + one.high
    return Range(value=value, low=low, high=high)


def _added(numbers: list[Decimal | None]) -> Decimal | None:
    """The sum; None where one of them is not known."""
    known = [number for number in numbers if number is not None]
    return sum(known, ZERO) if known and len(known) == len(numbers) else None


def _affordable(plan: Scenario, total: Range, subtotal: Range) -> Likelihood | None:
    """The budget against the expected total with contingency, and against the cautious end without it."""
    limit = plan.limits.budget_usd
    if limit is None:
        return None
    if total.value > limit:
        return "no"
    return "yes" if max(total.value, subtotal.high) <= limit else "likely"


def _end_interval(end: date | None, swings: tuple[Swing, ...]) -> tuple[date, date] | None:
    """As `combined`, in days."""
    if end is None:
        return None
    down, up = 0, 0
    for swing in swings:
        moved = [(day - end).days for day in (swing.end_at_low, swing.end_at_high) if day is not None]
        down += min(*moved, 0) ** 2 if moved else 0
        up += max(*moved, 0) ** 2 if moved else 0
    return day_after(end, -round(down**0.5)), day_after(end, -int(-(up**0.5) // 1))


def _on_time(plan: Scenario, end: date | None, interval: tuple[date, date] | None) -> Likelihood | None:
    deadline = plan.limits.deadline
    if deadline is None or end is None or interval is None:
        return None
    if end > deadline:
        return "no"
    return "yes" if interval[1] <= deadline else "likely"


def _notes(plan: Scenario, jobs: tuple[JobBudget, ...]) -> tuple[str, ...]:
    said = []
    if unpriced := [job.plan.name for job in jobs if job.usd is None]:
        said.append(f"no cost for {', '.join(unpriced)}: the total is without them")
    if stale := sorted({job.way.gpu.key for job in jobs if job.way and job.way.hire and job.way.hire.stale}):
        said.append(f"prices of {', '.join(stale)} were more than 45 days old on the day of the plan")
    ahead = {
        job.way.hire.price.date for job in jobs if job.way and job.way.hire and job.way.hire.price.date > plan.date
    }
    if ahead:
        said.append(f"prices of {max(ahead)} are younger than the plan of {plan.date}")
    return tuple(said)


def _measured(plan: Scenario) -> Accuracy | None:
    if not plan.records:
        return None
    from ..accuracy import accuracy

    return accuracy(plan.records)
