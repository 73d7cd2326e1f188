"""What a calibration finds: a profile per card and stack, and what it can be trusted with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..profile import Profile

Figure = Literal["allocated", "reserved", "device", "tokens_per_s"]
FIGURES: tuple[Figure, ...] = ("allocated", "reserved", "device", "tokens_per_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """One figure of one run, predicted without its model; errors are predicted / measured - 1."""

    id: str
    model: str
    unit: str
    """What was left out with it: its model, or its cell where there are too few models."""
    figure: Figure
    uncalibrated: float | None
    in_sample: float
    left_out: float
    """Of the fit that saw nothing of this run's unit."""
    by_cell: float | None
    """Of the fit to the cells that are not held out; None for those that are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """One card and stack."""

    profile: Profile
    runs: int
    residuals: tuple[Residual, ...]
    coverage: Mapping[Figure, tuple[int, int]] = field(default_factory=dict)
    """Figure -> runs inside the interval that the other models' residuals gave, and runs asked."""

    def of(self, figure: Figure) -> tuple[Residual, ...]:
        return tuple(residual for residual in self.residuals if residual.figure == figure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Everything that some files of runs taught."""

    files: tuple[str, ...]
    fits: tuple[Fit, ...]
    too_few: Mapping[str, int]
    """Card and stack with too few runs -> how many."""
    left_out: Mapping[str, int]
    """Why runs were not used -> how many, most first."""
    saved: tuple[str, ...] = ()
    """Files that were written."""
