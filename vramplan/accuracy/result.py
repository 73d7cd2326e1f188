"""What a comparison says: plain data that every renderer reads. Bytes per GPU; errors are predicted / measured - 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from ..estimator.result import Verdict
from ..runs import Outcome

Status = Literal["ok", "unsupported", "error"]
"""`unsupported`: the run cannot be described, and nothing was guessed; `error`: the row cannot be read."""
Tier = Literal["allocated", "reserved", "device", "tokens_per_s"]
TIERS: tuple[Tier, ...] = get_args(Tier)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """The estimate of one run."""

    allocated_bytes: int
    reserved_bytes: int
    device_bytes: int
    fits: Verdict | None
    """None where the card is unknown."""
    tokens_per_s_per_gpu: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the source says. None = not published."""

    allocated_bytes: int | None
    reserved_bytes: int | None
    device_bytes: int | None
    tokens_per_s_per_gpu: float | None
    outcome: Outcome

    @property
    def ran(self) -> bool:
        return self.outcome in ("ok", "fits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run: predicted, or why not."""

    id: str
    where: str
    """File and line."""
    status: Status
    reason: str | None = None
    stack: str = ""
    method: str = ""
    model: str = ""
    gpu: str = ""
    fitted: bool | None = None
    """Whether the profile was fitted to this very run; None = no profile spoke for it."""
    gpus: int | None = None
    assumed: Mapping[str, str] = field(default_factory=dict)
    """Knobs that the row leaves open -> the stack's default that stands in."""
    speed_reason: str | None = None
    """Why the row's speed is not set beside a predicted one."""
    predicted: Predicted | None = None
    measured: Measured | None = None
    """None for a row that cannot be read."""

    def error(self, tier: Tier) -> float | None:
        """Relative error of a tier, negative where too little was predicted; None where there is nothing to compare.

        A run that failed has no peak: what was read before it failed is not compared.
        """
        if self.predicted is None or self.measured is None or not self.measured.ran:
            return None
        figure = "tokens_per_s_per_gpu" if tier == "tokens_per_s" else f"{tier}_bytes"
        measured: float | None = getattr(self.measured, figure)
        predicted: float | None = getattr(self.predicted, figure)
        return None if measured is None or predicted is None else predicted / measured - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Relative errors of some runs."""

    count: int
    median: float
    """Of absolute errors, like `percentile_90`."""
    percentile_90: float
    worst: float
    """The largest error, with its sign."""
    worst_under: float
    """The most that was predicted too little, as a negative number; 0 where nothing was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierAccuracy:
    """One tier, over all runs and over those of one card, stack, method or model."""

    tier: Tier
    overall: Spread
    by_card: Mapping[str, Spread]
    by_stack: Mapping[str, Spread]
    by_method: Mapping[str, Spread]
    by_model: Mapping[str, Spread]
    by_sample: Mapping[str, Spread]
    """`in sample`: the profile was fitted to these runs; `held out`: it was not; empty without a profile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """Verdicts against outcomes, over rows with both."""

    counts: Mapping[tuple[Outcome, Verdict], int]
    missed_ooms: tuple[str, ...]
    """Ids of runs that ran out of memory and were said to fit."""
    missed_presumed_ooms: tuple[str, ...]
    false_alarms: tuple[str, ...]
    """Ids of runs that ran and were said not to fit."""

    def of(self, *outcomes: Outcome) -> int:
        """Rows with one of these outcomes."""
        return sum(count for (outcome, _), count in self.counts.items() if outcome in outcomes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """All rows of some files, and what they say together."""

    files: tuple[str, ...]
    profile: str | None = None
    """Whose constants were used, where they apply."""
    rows: tuple[Row, ...]
    tiers: tuple[TierAccuracy, ...]
    """Only those that some answered row was measured in."""
    verdicts: Verdicts
    answered: int
    single_gpu: int
    """Rows of one GPU, answered or not."""
    single_gpu_answered: int
    reasons: Mapping[str, int]
    """Why rows are unsupported -> how many, most first."""
