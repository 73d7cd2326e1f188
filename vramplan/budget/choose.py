"""Which way each job takes: the cheapest that fits, and quicker ones where the deadline asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from .result import Way
from .scenario import PlannedJob, Scenario
from .schedule import end_of, slots

Offers = Sequence[tuple[PlannedJob, tuple[Way, ...]]]


def cheapest(ways: tuple[Way, ...]) -> Way | None:
    """The first of the sorted ways, if it fits."""
    return ways[0] if ways and ways[0].verdict != "does_not_fit" else None


def chosen(plan: Scenario, offers: Offers) -> tuple[Way | None, ...]:
    """A way for every job.

    Begins with the cheapest of each. While the last day lies behind the deadline, the job that saves hours for the
    least money takes its next quicker way on the front. If even that does not keep the deadline, the cheapest stay:
    money that buys no punctuality is not spent.
    """
    first = [cheapest(ways) for _, ways in offers]
    picks = list(first)
    if plan.limits.deadline is None:
        return tuple(picks)
    while not _in_time(plan, offers, picks):
        steps = list(_quicker(offers, picks))
        if not steps:
            return tuple(first)
        _, position, way = min(steps, key=lambda step: (step[0], step[1]))
        picks[position] = way
    return tuple(picks)


def _in_time(plan: Scenario, offers: Offers, picks: list[Way | None]) -> bool:
    jobs = ((job, way.hours.value if way and way.hours else None) for (job, _), way in zip(offers, picks, strict=True))
    end = end_of(slots(plan, jobs), plan.start)
    return end is None or plan.limits.deadline is None or end <= plan.limits.deadline


def _quicker(offers: Offers, picks: list[Way | None]) -> Iterator[tuple[Decimal, int, Way]]:
    """USD for an hour saved, position and way of every possible step. Repeated jobs end by the calendar."""
    for position, ((job, ways), now) in enumerate(zip(offers, picks, strict=True)):
        if job.repeats or now is None or now.hours is None or now.usd is None:
            continue
        for way in ways:
            if way.on_front and way.hours and way.usd and way.hours.value < now.hours.value:
                saved = now.hours.value - way.hours.value
                yield (way.usd.value - now.usd.value) / saved, position, way
