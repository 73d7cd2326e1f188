"""The bill of a planned job on one hire: runs, searches, runs done again, idle hours; each line can be checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal

from ..cost.bill import Cost, CostLine, cents, cost_of
from ..cost.energy import PowerPlan, energy_of
from ..cost.hire import Hire
from ..cost.job import Job
from ..cost.work import Work, work_of
from ..data import DataFile
from ..estimator.result import Speed
from ..gpu import Gpu
from ..recipe import ResolvedRecipe
from .result import Range
from .scenario import Guess, Habits, PlannedJob

QUANTUM = Decimal("0.0001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What a bill is made of, once card, method and hire are chosen."""

    recipe: ResolvedRecipe
    gpu: Gpu
    speed: Speed
    hire: Hire
    checkpoint: tuple[int, int]
    """Bytes of weights and of optimizer state in a checkpoint."""
    download_bytes: int
    data: DataFile | None
    power: PowerPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Of a job with all its runs."""

    lines: tuple[CostLine, ...]
    usd: Range
    hours: Range
    work: Work
    """Of one full run."""
    kwh: Decimal | None
    co2_kg: Decimal | None
    notes: tuple[str, ...]


def worth(guess: Guess | None, otherwise: int = 0) -> Decimal:
    """What is expected; `otherwise` where the scenario says nothing."""
    return Decimal(otherwise) if guess is None else guess.value


def bill_of(job: PlannedJob, habits: Habits, basis: Basis) -> Bill:
    """Lines of all runs of `job`. Every run rents its machine anew.

    full runs x times, shorter runs x times, then runs done again (failed_share of both), then idle hours (idle_share
    of all before). Amounts are quantity x unit price, rounded to the cent. Raises VramplanError.
    """
    times = worth(job.times, 1)
    full_count, sweep_count = worth(job.runs) * times, worth(job.sweep_runs) * times
    full = _cost(job, basis, job.epochs.value)
    parts = [(full, full_count)]
    lines = list(_run_lines(full, full_count))
    if sweep_count and job.sweep_share is not None:
        share = job.sweep_share.value
        sweep = _cost(job, basis, job.epochs.value * share)
        parts.append((sweep, sweep_count))
        runs = f"{sweep_count:f} runs of {100 * share:.0f} % of a full one"
        lines.append(_joined("shorter runs", sweep, sweep_count, runs))
    lines += _around(lines, habits)
    factor = (1 + worth(habits.failed_share)) * (1 + worth(habits.idle_share))
    usd = sum((line.amount for line in lines), Decimal(0))
    hours = [sum((_hours(cost)[n] * count for cost, count in parts), Decimal(0)) * factor for n in range(3)]
    kwh, co2_kg = _energy(parts, basis, 1 + worth(habits.failed_share))
    power = _electricity(kwh, basis)
    lines += power
    usd += sum((line.amount for line in power), Decimal(0))
    return Bill(
        lines=tuple(lines),
        usd=Range(
            value=usd,
            low=min(usd, cents(sum((cost.low * count for cost, count in parts), Decimal(0)) * factor)),
            high=max(usd, cents(sum((cost.high * count for cost, count in parts), Decimal(0)) * factor)),
        ),
        hours=Range(value=_rounded(hours[0]), low=_rounded(hours[1]), high=_rounded(hours[2])),
        work=full.work,
        kwh=kwh,
        co2_kg=co2_kg,
        notes=full.notes,
    )


def _cost(job: PlannedJob, basis: Basis, epochs: Decimal) -> Cost:
    asked = Job(
        tokens=None if job.tokens is None else int(job.tokens.value),
        examples=None if job.examples is None else int(job.examples.value),
        length=job.length,
        data=basis.data,
        epochs=epochs,
        packing=job.packing,
        group_by_length=job.group_by_length,
        evaluation_tokens=job.evaluation_tokens,
        evaluate_every_steps=job.evaluate_every_steps,
        save_every_steps=job.save_every_steps,
        startup_s=job.startup_s,
    )
    work = work_of(asked, basis.recipe, checkpoint=basis.checkpoint, download_bytes=basis.download_bytes)
    return cost_of(work, basis.speed, basis.hire)


def _hours(cost: Cost) -> tuple[Decimal, Decimal, Decimal]:
    return cost.hours, *cost.hours_interval


def _run_lines(cost: Cost, count: Decimal) -> Iterator[CostLine]:
    """The lines of one run, as often as it is made."""
    for line in cost.lines:
        quantity = _rounded(line.quantity * count)
        note = f"{count:f} runs of {line.quantity.normalize():f} h: {line.note}" if count != 1 else line.note
        yield _repriced(replace(line, note=note), quantity)


def _joined(label: str, cost: Cost, count: Decimal, note: str) -> CostLine:
    """All hours of a run as one line."""
    hours = sum((line.quantity for line in cost.lines), Decimal(0))
    training = next((line for line in cost.lines if line.label == "training"), cost.lines[0])
    return _repriced(replace(training, label=label, note=note), _rounded(hours * count))


def _around(lines: list[CostLine], habits: Habits) -> Iterator[CostLine]:
    """What habits add: runs done again, idle hours."""
    hours = sum((line.quantity for line in lines), Decimal(0))
    again = worth(habits.failed_share)
    if again:
        yield _assumed("runs done again", lines[0], hours * again, f"{100 * again:.0f} % of {_rounded(hours):f} h")
    all_hours, idle = hours * (1 + again), worth(habits.idle_share)
    if idle:
        yield _assumed("idle hours", lines[0], all_hours * idle, f"{100 * idle:.0f} % of {_rounded(all_hours):f} h")


def _assumed(label: str, like: CostLine, quantity: Decimal, note: str) -> CostLine:
    return _repriced(replace(like, label=label, provenance="assumed", note=note), _rounded(quantity))


def _repriced(line: CostLine, quantity: Decimal) -> CostLine:
    assert line.unit_price is not None  # hires have a price
    return replace(line, quantity=quantity, amount=cents(quantity * line.unit_price))


def _electricity(kwh: Decimal | None, basis: Basis) -> list[CostLine]:
    """A line of its own for who pays it beside the machine: a hire includes it."""
    price = basis.power.usd_per_kwh
    if kwh is None or price is None or basis.hire.price.kind != "own":
        return []
    return [
        CostLine(
            label="electricity", quantity=kwh, unit="kWh", unit_price=price, amount=cents(kwh * price),
            provenance="assumed", price_date=None, note="from the card's power, see energy",
        )
    ]  # fmt: skip


def _energy(parts: list[tuple[Cost, Decimal]], basis: Basis, factor: Decimal) -> tuple[Decimal | None, Decimal | None]:
    """kWh and kg of CO2 of all runs."""
    kwh, co2_g = Decimal(0), Decimal(0)
    for cost, count in parts:
        busy_s = cost.work.train_s(basis.speed.tokens_per_s_per_gpu)
        busy_s += cost.work.evaluation_s(basis.speed.tokens_per_s_per_gpu)
        found = energy_of(
            basis.power, basis.gpu, gpus=int(basis.recipe.gpus), processed_tokens=cost.work.processed_tokens,
            busy_s=busy_s,
        )  # fmt: skip
        if found is None:
            return None, None
        kwh += found.kwh * count
        co2_g += Decimal(found.co2_g or 0.0) * count
    known = basis.power.grams_co2_per_kwh is not None
    return _rounded(kwh * factor), _rounded(co2_g * factor / 1000) if known else None


def _rounded(number: Decimal) -> Decimal:
    return number.quantize(QUANTUM, ROUND_HALF_UP)
