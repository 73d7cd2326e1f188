"""A project as a person plans it: jobs, limits, and the assumptions behind every number, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import TypeAlias

from ..data import Packing
from ..price import Kind
from ..recipe import Method, Recipe

DEFAULT_STACK = "trl"
"""That of every command."""
Day: TypeAlias = date
"""A scenario has a field of the same name as the class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """A number that somebody had to assume. `low` and `high` are its ends where they were given."""

    value: Decimal
    low: Decimal | None = None
    high: Decimal | None = None
    reason: str = ""

    @property
    def ranges(self) -> bool:
        """It has ends that differ from it."""
        return self.low is not None and self.high is not None and self.low < self.high


def said_number(number: Decimal | None) -> str:
    """1,000,000; 0.25"""
    return "" if number is None else f"{number.normalize():,f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may be rented, and what it must keep to. Empty = any; None = no such limit."""

    gpus: tuple[str, ...]
    """Keys of cards, of which each job gets the cheapest that holds it."""
    providers: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ("on_demand",)
    budget_usd: Decimal | None = None
    deadline: Day | None = None
    usd_per_gpu_hour: Guess | None = None
    """A price of one's own, which then stands for every card."""
    machines: int = 1
    """Jobs that run side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How people work with rented machines."""

    idle_share: Guess | None = None
    """Paid hours in which nothing runs, for each hour in which something does. None = not planned for."""
    failed_share: Guess | None = None
    """Runs that are lost and started again, for each run that counts."""
    hours_per_day: Guess | None = None
    """Hours of a day in which runs go on; None = 24."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """One model to be trained, as often as the project needs it."""

    name: str
    model: str
    stack: str
    methods: tuple[Method, ...]
    """Of which the cheapest that fits is taken."""
    recipe: Recipe
    gpus: tuple[str, ...] = ()
    """Cards of this job; empty = those of the limits."""
    profile: str | None = None
    tokens: Guess | None = None
    """Of an epoch; or `examples` with `length`, or `data`."""
    examples: Guess | None = None
    length: int | None = None
    data: str | None = None
    """Path of a data file."""
    tokenizer: str | None = None
    epochs: Guess = field(default_factory=lambda: Guess(value=Decimal(1)))
    packing: Packing = "none"
    group_by_length: bool = False
    runs: Guess = field(default_factory=lambda: Guess(value=Decimal(1)))
    """Full runs."""
    sweep_runs: Guess | None = None
    """Shorter runs that look for settings."""
    sweep_share: Guess | None = None
    """Part of a full run's epochs that each of them trains."""
    evaluation_tokens: int = 0
    evaluate_every_steps: int | None = None
    save_every_steps: int | None = None
    startup_s: int | None = None
    start: Day | None = None
    """Not before this day."""
    every_days: int | None = None
    times: Guess | None = None
    """How often the job comes back, the first time included, every `every_days`."""
    note: str = ""

    @property
    def repeats(self) -> bool:
        return self.every_days is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherLine:
    """A cost that no formula here knows: storage, people, a licence."""

    label: str
    quantity: Guess
    unit: str
    unit_price_usd: Guess
    reason: str
    start: Day | None = None
    """First day on which it is paid; it is spread to the end of the project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """An assumption without a number."""

    text: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A project."""

    name: str
    date: Day
    """The day on which the plan was made: prices age from it."""
    start: Day
    jobs: tuple[PlannedJob, ...]
    limits: Limits
    path: str = ""
    """The file it was read from, as it was named."""
    options: tuple[str, ...] = ()
    """What the command line said beside it."""
    owner: str = ""
    summary: str = ""
    records: tuple[str, ...] = ()
    """Files of measured runs, against which predictions are shown."""
    contingency: Guess | None = None
    """Share of the costs that is set aside."""
    habits: Habits = field(default_factory=Habits)
    grams_co2_per_kwh: Decimal | None = None
    usd_per_kwh: Decimal | None = None
    pue: Decimal | None = None
    others: tuple[OtherLine, ...] = ()
    statements: tuple[Statement, ...] = ()
