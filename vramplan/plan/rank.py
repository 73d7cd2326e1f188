"""From recipes that fit to offers with a price: the front of time and money, the best of it, and what is nearest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from ..cost.energy import energy_of
from ..cost.hire import Hire
from ..cost.market import Market
from ..cost.spot import Spot, spot_overhead
from ..cost.work import download_bytes, work_of
from ..estimator.notes import notes
from ..estimator.phases import StepMemory
from ..estimator.result import Speed
from ..speed import speed_of
from ..step.setting import Setting
from .question import Found, Question
from .result import Pick, PickKind, Plan
from .wishes import Wishes

SLACK_HOURS, SLACK_USD = 0.0005, 0.10
"""Bills round six lines to 0.0001 h and to a cent: what is this close is decided by the bill itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A recipe on a hire, with time and money to a first approximation: the bill without its roundings."""

    found: Found
    hire: Hire
    hours: float
    usd: float


def offers_of(found: Iterable[Found], market: Market, today: date) -> list[Offer]:
    """Every recipe on every hire of its cards that holds them together."""
    hires: dict[tuple[str, int], list[Hire]] = {}
    offers: list[Offer] = []
    for one in found:
        key = (one.gpu.key, one.gpus)
        if key not in hires:
            known = market.hires(one.gpu, one.gpus, today)
            hires[key] = [hire for hire in known if _is_together(hire, market)]
        offers += (_offer(one, hire, market) for hire in hires[key])
    return offers


def _is_together(hire: Hire, market: Market) -> bool:
    """One card, or cards that more than a network joins; of a machine of one's own there is one."""
    return (hire.gpus == 1 or not hire.scattered) and (market.machine is None or hire.instances == 1)


def _offer(found: Found, hire: Hire, market: Market) -> Offer:
    seconds = found.total_s
    if hire.price.kind == "spot":
        seconds += float(spot_overhead(market.spot or Spot(), found.write_s)) * found.train_s
    hours = seconds / 3600
    usd = hours * float(hire.usd_per_hour)
    if hire.price.kind == "own" and market.power.usd_per_kwh is not None:
        tokens, busy_s = found.processed_tokens, found.train_s
        energy = energy_of(market.power, found.gpu, gpus=found.gpus, processed_tokens=tokens, busy_s=busy_s)
        usd += float(energy.kwh * market.power.usd_per_kwh) if energy else 0.0
    return Offer(found=found, hire=hire, hours=hours, usd=usd)


class Bills:
    """Plans with their bills, each made once; the hires of one recipe share its step."""

    def __init__(self, question: Question, market: Market) -> None:
        self.question, self.market = question, market
        self.known: dict[int, Plan] = {}
        self.steps: dict[int, tuple[Speed, tuple[str, ...]]] = {}

    def plan(self, offer: Offer) -> Plan:
        if id(offer) not in self.known:
            self.known[id(offer)] = self._plan(offer)
        return self.known[id(offer)]

    def _plan(self, offer: Offer) -> Plan:
        found, q = offer.found, self.question
        at, notes_of_step = self._step(found)
        work = work_of(q.job, found.recipe, checkpoint=found.checkpoint, download_bytes=download_bytes(q.model))
        return Plan(
            gpu=found.gpu,
            gpus=found.gpus,
            recipe=found.recipe,
            speed=at,
            cost=self.market.cost(work, at, offer.hire, found.gpu),
            need_bytes=found.need_bytes,
            verdict="fits" if found.need_bytes <= found.gpu.capacity_bytes else "does_not_fit",
            side_by_side=found.gpu.capacity_bytes // found.need_bytes if found.gpus == 1 else 1,
            notes=notes_of_step,
        )

    def _step(self, found: Found) -> tuple[Speed, tuple[str, ...]]:
        if id(found) not in self.steps:
            step = StepMemory(Setting(self.question.model, found.recipe, self.question.stack, found.gpu))
            at = speed_of(step, found.gpu, found.profile)
            assert at is not None  # the search found it
            self.steps[id(found)] = at, notes(step)
        return self.steps[id(found)]


def meets(plan: Plan, wishes: Wishes) -> bool:
    """Expected cost and time are within budget and deadline."""
    return not misses(plan, wishes)


def misses(plan: Plan, wishes: Wishes) -> tuple[str, ...]:
    """The constraints that a plan does not keep."""
    over = wishes.budget_usd is not None and plan.usd > wishes.budget_usd
    late = wishes.deadline_s is not None and plan.hours * 3600 > wishes.deadline_s
    return (*(("budget",) if over else ()), *(("deadline",) if late else ()))


def nearly_best(offers: Sequence[Offer]) -> list[Offer]:
    """Offers that may be on the front: none is surely both cheaper and faster. Cheapest first."""
    kept: list[Offer] = []
    fastest = float("inf")
    by_cost = sorted(offers, key=lambda offer: (offer.usd, offer.hours))
    # what is cheaper by more than the slack and faster by more than the slack rules an offer out
    place = 0
    for offer in by_cost:
        while by_cost[place].usd < offer.usd - SLACK_USD:
            fastest = min(fastest, by_cost[place].hours)
            place += 1
        if offer.hours <= fastest + SLACK_HOURS:
            kept.append(offer)
    return kept


def front_of(plans: Iterable[Plan]) -> tuple[Plan, ...]:
    """Plans of which none is as cheap and as fast as another; cheapest first, of equals the first."""
    kept: list[Plan] = []
    for plan in sorted(plans, key=lambda plan: (plan.usd, plan.hours)):
        if not kept or plan.hours < kept[-1].hours:
            kept.append(plan)
    return tuple(kept)


_MEASURES: dict[PickKind, Callable[[Decimal, Decimal], tuple[Decimal, Decimal]]] = {
    "cheapest": lambda usd, hours: (usd, hours),
    "balanced": lambda usd, hours: (usd * hours, usd),
    "fastest": lambda usd, hours: (hours, usd),
}
"""What a pick is the least of; balanced: halving the time is worth twice the money."""


def picks_of(front: Sequence[Plan], offers: Sequence[Offer], bills: Bills, wishes: Wishes) -> tuple[Pick, ...]:
    """The best of the front in each sense, with the best plan on other cards beside it."""
    if not front:
        return ()
    picks: list[Pick] = []
    for kind, measure in _MEASURES.items():
        plan = min(front, key=lambda plan: measure(plan.usd, plan.hours))
        ranked = sorted(
            (offer for offer in offers if (offer.found.gpu.key, offer.found.gpus) != (plan.gpu.key, plan.gpus)),
            key=lambda offer: measure(Decimal(offer.usd), Decimal(offer.hours)),
        )
        within = (bills.plan(offer) for offer in ranked if _may_meet(offer, wishes))
        runner_up = next((other for other in within if meets(other, wishes)), None)
        picks.append(Pick(kind=kind, plan=plan, runner_up=runner_up))
    return tuple(picks)


def _may_meet(offer: Offer, wishes: Wishes) -> bool:
    """Within budget and deadline, or so near that the bill decides."""
    budget, deadline_s = wishes.budget_usd, wishes.deadline_s
    within = budget is None or offer.usd <= float(budget) + SLACK_USD
    return within and (deadline_s is None or offer.hours <= deadline_s / 3600 + SLACK_HOURS)


def cheapest_by_method(offers: Sequence[Offer], bills: Bills, wishes: Wishes) -> tuple[Plan, ...]:
    """The cheapest plan of every method that meets the wishes."""
    plans: list[Plan] = []
    for method in wishes.methods:
        best: Plan | None = None
        own = (offer for offer in offers if offer.found.recipe.method == method and _may_meet(offer, wishes))
        for offer in sorted(own, key=lambda offer: (offer.usd, offer.hours)):
            if best is not None and offer.usd > float(best.usd) + SLACK_USD:
                break
            plan = bills.plan(offer)
            if meets(plan, wishes) and (best is None or (plan.usd, plan.hours) < (best.usd, best.hours)):
                best = plan
        plans += [best] if best else []
    return tuple(plans)


def excess(offer: Offer, wishes: Wishes) -> float:
    """By which factor an offer misses budget or deadline, whichever it misses more."""
    over = offer.usd / float(wishes.budget_usd) if wishes.budget_usd is not None else 0.0
    late = offer.hours * 3600 / wishes.deadline_s if wishes.deadline_s is not None else 0.0
    return max(over, late)
