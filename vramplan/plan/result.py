"""What a search for a plan answers: plain data that every renderer reads. Bytes per GPU, money in USD."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from ..cost import Cost, Job, Market
from ..estimator.result import Speed, Verdict
from ..gpu import Gpu
from ..model import Model
from ..recipe import ResolvedRecipe
from .wishes import Wishes

PickKind = Literal["cheapest", "balanced", "fastest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One way to do the job: cards hired from somebody, the recipe that ends it first on them, its time and cost."""

    gpu: Gpu
    gpus: int
    recipe: ResolvedRecipe
    speed: Speed
    cost: Cost
    """With hours, ranges, the hire and its price."""
    need_bytes: int
    """On each card, at the cautious end."""
    verdict: Verdict
    side_by_side: int
    """Such jobs that one card holds at a time; each then has less of its speed."""
    notes: tuple[str, ...]

    @property
    def usd(self) -> Decimal:
        return self.cost.total

    @property
    def hours(self) -> Decimal:
        return self.cost.hours


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """A plan that is best in one sense, and the best one with other cards: what it is measured against."""

    kind: PickKind
    plan: Plan
    runner_up: Plan | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """One constraint that, relaxed, lets a plan through; the others stay."""

    constraint: str
    """As it is typed: --budget, --deadline, --kind …"""
    asked: str
    needed: str
    excess: float | None
    """needed / asked - 1, of an amount."""
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Plans:
    """The answer: what to rent for a job, or why nothing will do."""

    model: Model
    stack: str
    job: Job
    wishes: Wishes
    market: Market
    cards: int
    """Kinds of card that have a price and were looked at."""
    fitting: int
    """Ways of training that fit: card, number of cards, method."""
    offers: int
    """Those, times the offers of providers."""
    picks: tuple[Pick, ...]
    """The cheapest, the balanced (least cost x time) and the fastest; empty where nothing meets the wishes."""
    front: tuple[Plan, ...]
    """Plans of which none is both cheaper and faster, cheapest first; those that meet the wishes."""
    by_method: tuple[Plan, ...]
    """The cheapest of each method."""
    nearest: Plan | None
    """Where nothing meets the wishes: the plan that misses budget and deadline by the least factor."""
    relaxations: tuple[Relaxation, ...]
    left_out: tuple[str, ...] = ()
    """Cards that were asked for and cannot be planned with, and why."""

    @property
    def found(self) -> bool:
        return bool(self.picks)
