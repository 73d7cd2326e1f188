"""What a budget says: plain data that every renderer reads. Money in USD, hours of paid machines, bytes per GPU."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, TypeAlias

from ..cost.bill import CostLine
from ..cost.hire import Hire
from ..cost.work import Work
from ..estimator.result import Estimate, Speed, Verdict
from ..gpu import Gpu
from ..model import Model
from ..recipe import ResolvedRecipe
from .scenario import Day, PlannedJob, Scenario

if TYPE_CHECKING:
    from ..accuracy import Accuracy
    from ..export import ExportedFile

Likelihood: TypeAlias = Literal["yes", "likely", "no"]
"""`yes`: at the cautious end of the range too; `likely`: as expected, but not there; `no`: not even as expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What is expected, and from where to where it may move."""

    value: Decimal
    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How a reader gets a figure again."""

    what: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to run a job: a card, a method, a hire."""

    gpu: Gpu
    recipe: ResolvedRecipe
    verdict: Verdict
    need_bytes: int
    """On the device, at the cautious end."""
    speed: Speed | None
    hire: Hire | None
    usd: Range | None = None
    """Of the whole job; its ends come from the speed's interval and the price's spread. None = no speed or no price."""
    hours: Range | None = None
    on_front: bool = False
    """No other way is both cheaper and quicker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatCell:
    """Bytes on the device at the cautious end for one batch and length."""

    batch: int
    seq_len: int
    need_bytes: int
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class JobBudget:
    """One job of the project, with the way that was chosen for it."""

    plan: PlannedJob
    model: Model
    way: Way | None
    """None = no card that may be rented holds it."""
    estimate: Estimate | None
    work: Work | None
    """Of one full run."""
    lines: tuple[CostLine, ...]
    usd: Range | None
    hours: Range | None
    """Machine hours paid; of all runs, and of all times that the job comes back."""
    start: Day | None
    end: Day | None
    kwh: Decimal | None
    co2_kg: Decimal | None
    ways: tuple[Way, ...]
    heat: tuple[HeatCell, ...]
    notes: tuple[str, ...]
    problem: str | None
    """Why it has no cost."""
    commands: tuple[Command, ...]
    config: ExportedFile | None = None
    """The recipe as a file for TRL; None without PyYAML, or where TRL has no such recipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swing:
    """One assumption moved to its ends, everything else as expected."""

    label: str
    key: str
    """Where the scenario has it; `speed` and `prices` stand for the intervals of all jobs together."""
    low: str
    value: str
    high: str
    usd_at_low: Decimal
    usd_at_high: Decimal
    end_at_low: Day | None
    end_at_high: Day | None
    reason: str
    source: Literal["fitted", "published", "assumed"]

    @property
    def size(self) -> Decimal:
        return abs(self.usd_at_high - self.usd_at_low)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpentBy:
    """Money spent by the end of a day."""

    day: Day
    usd: Range
    with_contingency: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """A number or a statement that somebody took to be so."""

    what: str
    value: str
    reason: str
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOf:
    """Where a published figure comes from."""

    what: str
    source: str
    day: Day | None
    stale: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How the figures of the report came to be."""

    measured: int
    fitted: int
    exact: int
    published: int
    assumed: int
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A project's budget."""

    scenario: Scenario
    jobs: tuple[JobBudget, ...]
    other_lines: tuple[CostLine, ...]
    subtotal: Range
    contingency: Decimal
    total: Range
    """With the contingency."""
    hours: Range
    start: Day
    end: Day | None
    """Of the last job; None where none can be run."""
    end_interval: tuple[Day, Day] | None
    affordable: Likelihood | None
    """None = no budget was named."""
    on_time: Likelihood | None
    swings: tuple[Swing, ...]
    """Largest first."""
    spent: tuple[SpentBy, ...]
    kwh: Decimal | None
    co2_kg: Decimal | None
    assumptions: tuple[Assumption, ...]
    sources: tuple[SourceOf, ...]
    counts: Counts
    notes: tuple[str, ...]
    commands: tuple[Command, ...]
    measured: Accuracy | None = None

    @property
    def lines(self) -> tuple[tuple[str, CostLine], ...]:
        """Every line of the bill with the job it belongs to; the contingency is none of them."""
        of_jobs = ((job.plan.name, line) for job in self.jobs for line in job.lines)
        return (*of_jobs, *(("", line) for line in self.other_lines))

    @property
    def unpriced(self) -> tuple[JobBudget, ...]:
        return tuple(job for job in self.jobs if job.usd is None)

    @property
    def holds(self) -> bool:
        """Every job has a cost, and neither budget nor deadline is broken."""
        return not self.unpriced and self.affordable != "no" and self.on_time != "no"
