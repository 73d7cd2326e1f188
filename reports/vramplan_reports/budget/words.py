"""How a budget is said: money, days, and the sentences of the decision, the same on every page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from vramplan.budget.result import Budget, Likelihood, Range, Way

from ..sheet import Tone

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
KINDS = {"on_demand": "on demand", "spot": "spot", "reserved": "reserved", "own": "own price"}
TONES: dict[Likelihood | None, Tone] = {"yes": "good", "likely": "warn", "no": "bad", None: "plain"}


class Fact(NamedTuple):
    """One of the four answers that a page opens with."""

    title: str
    figure: str
    detail: str
    tone: Tone


def usd(amount: Decimal) -> str:
    """1,234.50"""
    return f"{amount:,.2f}"


def round_usd(amount: Decimal) -> str:
    """1,235; cents only below a hundred."""
    return f"{amount:,.0f}" if abs(amount) >= 100 else f"{amount:,.2f}"


def spread(found: Range) -> str:
    """12 – 49"""
    return f"{round_usd(found.low)} – {round_usd(found.high)}"


def hours(amount: Decimal) -> str:
    """71.9 h"""
    return f"{amount:,.1f} h" if amount < 1000 else f"{amount:,.0f} h"


def day(when: date | None) -> str:
    """8 Dec 2026"""
    return "-" if when is None else f"{when.day} {MONTHS[when.month - 1]} {when.year}"


def days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"


def model(id: str) -> str:
    """Llama-3.1-8B: a hub id without its owner; of a path its last part."""
    return id.rstrip("/").rpartition("/")[2] or id


def card(way: Way) -> str:
    """1 × GeForce RTX 4090"""
    return f"{way.recipe.gpus} × {way.gpu.name.removeprefix('NVIDIA ')}"


def hire(way: Way) -> str:
    """1 × RTX 4090, vast, on demand"""
    if way.hire is None:
        return f"{way.recipe.gpus} × {way.gpu.key}"
    price = way.hire.price
    if price.kind == "own":
        return f"{way.recipe.gpus} × {way.gpu.key}, own price"
    place = "" if price.region in ("", "global") else f" {price.region}"
    return f"{way.recipe.gpus} × {way.gpu.key}, {price.provider}{place}, {KINDS[price.kind]}"


def rentals(budget: Budget) -> tuple[tuple[str, Decimal, Decimal, Decimal], ...]:
    """What is rented -> USD per hour, hours, USD: jobs on the same machines together."""
    found: dict[str, tuple[Decimal, Decimal, Decimal]] = {}
    for job in budget.jobs:
        if job.way and job.way.hire and job.hours and job.usd:
            name = hire(job.way)
            rate, before, spent = found.get(name, (job.way.hire.usd_per_hour, Decimal(0), Decimal(0)))
            found[name] = (rate, before + job.hours.value, spent + job.usd.value)
    return tuple((name, *figures) for name, figures in sorted(found.items(), key=lambda item: -item[1][2]))


def facts(budget: Budget) -> tuple[Fact, ...]:
    """What to rent, what it costs, when it is done, how sure."""
    return (_rent(budget), _cost(budget), _done(budget), _sure(budget))


def _rent(budget: Budget) -> Fact:
    found = rentals(budget)
    if not found:
        return Fact("Rent", "nothing", "No job can be run within the limits.", "bad")
    name, rate, amount, _ = found[0]
    _, _, offer = name.partition(", ")
    figure = next(card(job.way) for job in budget.jobs if job.way and hire(job.way) == name)
    beside = budget.scenario.limits.machines
    side = f", up to {beside} at a time" if beside > 1 else ""
    detail = f"{offer or 'own'}: {usd(rate)} USD an hour for {hours(amount)}{side}."
    if len(found) > 1:
        others = "; ".join(f"{other} for {hours(time)}" for other, _, time, _ in found[1:4])
        detail += f" Also {others}" + (f" and {len(found) - 4} more." if len(found) > 4 else ".")
    return Fact("Rent", figure, detail, "bad" if budget.unpriced else "plain")


def _cost(budget: Budget) -> Fact:
    total, limit = budget.total, budget.scenario.limits.budget_usd
    share = f"{round_usd(budget.contingency)} set aside" if budget.contingency else "nothing set aside"
    detail = f"{round_usd(budget.subtotal.value)} expected (likely {spread(budget.subtotal)}), {share}."
    if limit is not None:
        detail += f" {_against_budget(budget.affordable, limit, total)}"
    return Fact("Cost", f"{round_usd(total.value)} USD", detail, TONES[budget.affordable])


def _against_budget(answer: Likelihood | None, limit: Decimal, total: Range) -> str:
    if answer == "no":
        return f"{round_usd(total.value - limit)} over the budget of {round_usd(limit)}."
    left = f"{round_usd(limit - total.value)} below the budget of {round_usd(limit)}"
    return f"{left}." if answer == "yes" else f"{left}, which the high end of the range would exceed."


def _done(budget: Budget) -> Fact:
    if budget.end is None or budget.end_interval is None:
        return Fact("Done", "-", "Nothing can be scheduled.", "bad")
    early, late = budget.end_interval
    detail = f"From {day(budget.start)}"
    detail += f", likely {day(early)} – {day(late)}." if early != late else "."
    deadline = budget.scenario.limits.deadline
    if deadline is not None:
        gap = (deadline - budget.end).days
        said = {
            "yes": f"{days(gap)} before the deadline of {day(deadline)}.",
            "likely": f"{days(gap)} before the deadline of {day(deadline)}, which the late end would miss.",
            "no": f"{days(-gap)} after the deadline of {day(deadline)}.",
        }
        detail += f" {said[budget.on_time or 'no']}"
    return Fact("Done", day(budget.end), detail, TONES[budget.on_time])


def _sure(budget: Budget) -> Fact:
    """The width of the range in a word, and what it is made of."""
    if not any(job.usd for job in budget.jobs):
        return Fact("How sure", "-", "There is no cost to be sure of.", "bad")
    value = budget.subtotal.value
    up = (budget.subtotal.high - value) / value if value else Decimal(0)
    down = (value - budget.subtotal.low) / value if value else Decimal(0)
    figure = f"+{100 * up:.0f} % / −{100 * down:.0f} %"
    parts = []
    if budget.swings and value:
        parts.append(f"What moves it most: {budget.swings[0].label}.")
    parts += speed_basis(budget)
    return Fact("How sure", figure, " ".join(parts), "plain" if up <= Decimal("0.5") else "warn")


def speed_basis(budget: Budget) -> Iterator[str]:
    kinds = {job.way.speed.source for job in budget.jobs if job.way and job.way.speed}
    if kinds == {"fitted"}:
        yield "Speeds rest on measurements of these cards."
    elif kinds:
        some = "Some speeds" if "fitted" in kinds else "Speeds"
        yield f"{some} are modelled from published runs; a short measurement (vramplan bench run) would narrow them."


def decision(budget: Budget) -> str:
    """The decision in a sentence."""
    if not any(job.usd for job in budget.jobs):
        return "No: none of the jobs can be run within the limits."
    if budget.unpriced:
        names = ", ".join(job.plan.name for job in budget.unpriced)
        return f"Not yet: there is no way within the limits for {names}."
    broken = [what for what, answer in (("budget", budget.affordable), ("deadline", budget.on_time)) if answer == "no"]
    if broken:
        return f"Not as planned: the {' and the '.join(broken)} cannot be kept."
    asked = [answer for answer in (budget.affordable, budget.on_time) if answer]
    if not asked:
        return "Possible: no budget and no deadline were named to hold it against."
    if "likely" in asked:
        return "Yes, as expected; not at the cautious end of the range."
    return "Yes: within the limits, at the cautious end of the range too."


def said_tier(tier: str) -> str:
    """allocated memory; speed"""
    return "speed" if tier == "tokens_per_s" else f"{tier} memory"


def decision_tone(budget: Budget) -> Tone:
    if not budget.holds:
        return "bad"
    return "warn" if "likely" in (budget.affordable, budget.on_time) else "good"


def footer(budget: Budget) -> str:
    """Measured, modelled, assumed, left out."""
    counts = budget.counts
    return (
        f"Figures: {counts.measured} measured, {counts.fitted + counts.exact} modelled ({counts.exact} exact, "
        f"{counts.fitted} fitted), {counts.published} published prices, {counts.assumed} assumed. "
        f"Left out: {', '.join(counts.left_out) or 'nothing'}."
    )
