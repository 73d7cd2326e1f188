"""When jobs run: one after the other on the machines of the project, repeated ones on their days."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from ..cost.bill import cents
from ..errors import VramplanError
from .bill import worth
from .result import Range, SpentBy
from .scenario import OtherLine, PlannedJob, Scenario

HOURS_PER_DAY = 24
MOST_POINTS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """When a job runs, in days from the project's start."""

    start: float
    end: float

    def first(self, origin: date) -> date:
        return day_after(origin, int(self.start))

    def last(self, origin: date) -> date:
        """The day on which it ends."""
        return day_after(origin, int(self.end - 1e-9) if self.end > self.start else int(self.start))


def day_after(origin: date, days: int) -> date:
    """Raises VramplanError where no calendar goes."""
    try:
        return origin + timedelta(days=days)
    except OverflowError:
        said = f"{abs(days):,} days {'after' if days > 0 else 'before'} {origin}"
        raise VramplanError(
            f"the plan goes {said}, beyond the years 1 to 9999: fewer tokens or more machines"
        ) from None


def slots(scenario: Scenario, jobs: Iterable[tuple[PlannedJob, Decimal | None]]) -> tuple[Slot | None, ...]:
    """A slot for every job and its hours; None for one without.

    In the order of the file, each job takes the machine that is free first, and not before its own `start`. A repeated
    job does not wait for a machine: its hours are spread over its days, the last of which ends when one turn is done.
    Days have `hours_per_day` hours of work.
    """
    hours_per_day = float(worth(scenario.habits.hours_per_day, HOURS_PER_DAY))
    free = [0.0] * scenario.limits.machines
    found: list[Slot | None] = []
    for job, hours in jobs:
        if hours is None:
            found.append(None)
            continue
        earliest = float((job.start - scenario.start).days) if job.start and job.start > scenario.start else 0.0
        days = float(hours) / hours_per_day
        if job.every_days is not None:
            turns = float(worth(job.times, 1))
            found.append(Slot(start=earliest, end=earliest + (turns - 1) * job.every_days + days / turns))
            continue
        lane = min(range(len(free)), key=lambda n: free[n])
        begin = max(earliest, free[lane])
        free[lane] = begin + days
        found.append(Slot(start=begin, end=free[lane]))
    return tuple(found)


def end_of(slots: Iterable[Slot | None], origin: date) -> date | None:
    """The last day of the last job."""
    return max((slot.last(origin) for slot in slots if slot), default=None)


def spent(
    scenario: Scenario,
    parts: list[tuple[Slot, Decimal]],
    others: list[tuple[OtherLine, Decimal]],
    total: Range,
    subtotal: Range,
) -> tuple[SpentBy, ...]:
    """Money spent by the end of each day, evenly through every slot; other lines from their start to the end.

    The range widens with the money: at each day it is that of the whole, in proportion. `total` is with contingency.
    """
    if not parts:
        return ()
    last = max(slot.end for slot, _ in parts)
    days = max(int(last - 1e-9) + 1, 1)
    every = -(-days // MOST_POINTS)
    spreads = list(parts)
    for line, usd in others:
        first = float((line.start - scenario.start).days) if line.start and line.start > scenario.start else 0.0
        spreads.append((Slot(start=min(first, days), end=float(days)), usd))
    points = []
    for day in [*range(0, days, every), days]:
        usd = sum((_part(slot, day) * usd for slot, usd in spreads), Decimal(0))
        share = usd / subtotal.value if subtotal.value else Decimal(0)
        low, high = (cents(share * end) for end in (subtotal.low, subtotal.high))
        points.append(
            SpentBy(
                day=day_after(scenario.start, day),
                usd=Range(value=cents(usd), low=low, high=high),
                with_contingency=cents(share * total.value),
            )
        )
    return tuple(points)


def _part(slot: Slot, day: float) -> Decimal:
    """Of the slot's money, what is spent `day` days after the start."""
    if day >= slot.end:
        return Decimal(1)
    return Decimal(max(day - slot.start, 0.0) / (slot.end - slot.start))
