"""What moves the total: every assumption at its ends, one after the other, with the rest as expected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any

from ..cost.bill import cents
from .bill import Basis, Bill, bill_of
from .result import Range, Swing
from .scenario import Guess, Habits, OtherLine, PlannedJob, Scenario, said_number
from .schedule import end_of, slots

ZERO = Decimal(0)
SAID: dict[str, str] = {
    "tokens": "tokens of an epoch",
    "examples": "examples of an epoch",
    "epochs": "epochs",
    "runs": "full runs",
    "sweep_runs": "shorter runs",
    "sweep_share": "length of shorter runs",
    "times": "times it comes back",
    "idle_share": "idle hours",
    "failed_share": "runs done again",
    "hours_per_day": "hours of work in a day",
    "usd_per_gpu_hour": "price of a GPU hour",
    "quantity": "quantity",
    "unit_price_usd": "unit price",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Costed:
    """A job with what its bill is made of, and the bill; None where it has none."""

    job: PlannedJob
    basis: Basis | None
    bill: Bill | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    usd: Decimal
    end: date | None


class Sensitivity:
    """Moves the assumptions of one project. Only what an assumption touches is reckoned anew."""

    def __init__(self, scenario: Scenario, costed: tuple[Costed, ...]) -> None:
        self.scenario, self.costed = scenario, costed
        self.others = {line.label: other_usd(line) for line in scenario.others}

    def swings(self) -> tuple[Swing, ...]:
        """Largest first; what moves neither money nor the last day is left out."""
        found = [*self._intervals(), *self._guesses()]
        moved = (swing for swing in found if swing.size or swing.end_at_low != swing.end_at_high)
        return tuple(sorted(moved, key=lambda swing: (-swing.size, swing.key)))

    def _outcome(self, costed: tuple[Costed, ...], scenario: Scenario, others: Decimal) -> Outcome:
        usd = sum((one.bill.usd.value for one in costed if one.bill), others)
        hours = ((one.job, one.bill.hours.value if one.bill else None) for one in costed)
        return Outcome(usd=usd, end=end_of(slots(scenario, hours), scenario.start))

    def _with(self, change: Callable[[Costed], Costed], scenario: Scenario | None = None) -> Outcome:
        changed = tuple(change(one) for one in self.costed)
        return self._outcome(changed, scenario or self.scenario, sum(self.others.values(), ZERO))

    def _rebilled(self, one: Costed, *, basis: Basis | None = None, habits: Habits | None = None) -> Costed:
        chosen = basis or one.basis
        if chosen is None:
            return one
        bill = bill_of(one.job, habits or self.scenario.habits, chosen)
        return Costed(job=one.job, basis=chosen, bill=bill)

    def _at(self, change: Callable[[Basis], Basis]) -> Outcome:
        """With what the bill of every job is made of changed."""
        return self._with(lambda one: one if one.basis is None else self._rebilled(one, basis=change(one.basis)))

    def _intervals(self) -> Iterator[Swing]:
        """Speed and prices, of all jobs together: what makes one card slower than predicted does so for all."""
        sources = {one.basis.speed.source for one in self.costed if one.basis}
        if not sources:
            return
        slow, fast = (self._at(partial(_at_speed, end)) for end in (0, 1))
        yield _between(
            slow,
            fast,
            label="speed of the cards",
            key="speed",
            low="slow end",
            value="as predicted",
            high="fast end",
            reason="the interval in which nine of ten measured runs lie",
            source="fitted" if sources == {"fitted"} else "assumed",
        )
        if self.scenario.limits.usd_per_gpu_hour is not None:
            return
        cheap, dear = (self._at(partial(_at_price, end)) for end in (0, 1))
        yield _between(
            cheap,
            dear,
            label="prices of the machines",
            key="prices",
            low="cheapest",
            value="as listed",
            high="next offer",
            reason="the machine in other regions and on other days; dear: the next offer, if this one is gone",
            source="published",
        )

    def _guesses(self) -> Iterator[Swing]:
        for position, one in enumerate(self.costed):
            for name, guess in ranged(one.job):
                ends = [self._job_at(position, name, guess, end) for end in (guess.low, guess.high)]
                yield _swing(f"{one.job.name}: {SAID[name]}", f"job {one.job.name!r}, {name}", guess, ends)
        for name, guess in ranged(self.scenario.habits):
            ends = [self._habit_at(name, guess, end) for end in (guess.low, guess.high)]
            yield _swing(SAID[name], f"habits.{name}", guess, ends)
        price = self.scenario.limits.usd_per_gpu_hour
        if price is not None and price.ranges:
            ends = [self._at(partial(_own_price, end)) for end in (price.low, price.high)]
            yield _swing(SAID["usd_per_gpu_hour"], "limits.usd_per_gpu_hour", price, ends)
        for line in self.scenario.others:
            for name, guess in ranged(line):
                ends = [self._line_at(line, name, guess, end) for end in (guess.low, guess.high)]
                yield _swing(f"{line.label}: {SAID[name]}", f"line {line.label!r}, {name}", guess, ends)

    def _job_at(self, position: int, name: str, guess: Guess, end: Decimal | None) -> Outcome:
        moved = list(self.costed)
        one = moved[position]
        job = replace(one.job, **_moved(name, guess, end))
        moved[position] = self._rebilled(Costed(job=job, basis=one.basis, bill=None))
        return self._outcome(tuple(moved), self.scenario, sum(self.others.values(), ZERO))

    def _habit_at(self, name: str, guess: Guess, end: Decimal | None) -> Outcome:
        habits = replace(self.scenario.habits, **_moved(name, guess, end))
        scenario = replace(self.scenario, habits=habits)
        return self._with(lambda one: self._rebilled(one, habits=habits), scenario)

    def _line_at(self, line: OtherLine, name: str, guess: Guess, end: Decimal | None) -> Outcome:
        others = self.others | {line.label: other_usd(replace(line, **_moved(name, guess, end)))}
        return self._outcome(self.costed, self.scenario, sum(others.values(), ZERO))


def other_usd(line: OtherLine) -> Decimal:
    """A cost that is not computed: quantity x unit_price_usd, rounded to the cent."""
    return cents(line.quantity.value * line.unit_price_usd.value)


def ranged(holder: PlannedJob | Habits | OtherLine) -> Iterator[tuple[str, Guess]]:
    """Its assumptions that have ends."""
    for field in fields(holder):
        value = getattr(holder, field.name)
        if isinstance(value, Guess) and value.ranges:
            yield field.name, value


def combined(expected: Decimal, swings: tuple[Swing, ...]) -> Range:
    """The range of a total whose assumptions move independently of each other.

    low = expected - sqrt(sum of (what each assumption can take off)^2), high with what each can add: ends that are
    reached one at a time are not all reached at once.
    """
    down, up = ZERO, ZERO
    for swing in swings:
        ends = (swing.usd_at_low - expected, swing.usd_at_high - expected)
        down += min(*ends, ZERO) ** 2
        up += max(*ends, ZERO) ** 2
    return Range(value=expected, low=cents(expected - down.sqrt()), high=cents(expected + up.sqrt()))


def _swing(label: str, key: str, guess: Guess, ends: list[Outcome]) -> Swing:
    low, value, high = (said_number(number) for number in (guess.low, guess.value, guess.high))
    return _between(
        *ends, label=label, key=key, low=low, value=value, high=high, reason=guess.reason, source="assumed"
    )  # fmt: skip


def _between(at_low: Outcome, at_high: Outcome, **said: Any) -> Swing:
    return Swing(usd_at_low=at_low.usd, usd_at_high=at_high.usd, end_at_low=at_low.end, end_at_high=at_high.end, **said)


def _moved(name: str, guess: Guess, end: Decimal | None) -> dict[str, Any]:
    assert end is not None  # the guess has ends
    return {name: replace(guess, value=end)}


def _at_speed(end: int, basis: Basis) -> Basis:
    return replace(basis, speed=replace(basis.speed, tokens_per_s_per_gpu=basis.speed.interval[end]))


def _at_price(end: int, basis: Basis) -> Basis:
    return _own_price(basis.hire.spread[end] / basis.hire.instances, basis)


def _own_price(usd_per_hour: Decimal | None, basis: Basis) -> Basis:
    assert usd_per_hour is not None  # the guess has ends
    price = replace(basis.hire.price, usd_per_hour=usd_per_hour)
    return replace(basis, hire=replace(basis.hire, price=price))
