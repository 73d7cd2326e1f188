"""Linear regression that a few strange runs do not bend, with standard errors, and with the grounds for refusing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]

HUBER = 1.345
"""Residuals beyond this many standard deviations count less: 95 % of least squares' efficiency where all are normal
(Huber 1981, Robust Statistics, section 7)."""
ROUNDS = 60
LEAST_RUNS = 5
"""Fewer runs than this say nothing of their own scatter."""
LARGEST_CONDITION = 1e5
"""Of the scaled columns: beyond it two of them vary together, and only their sum can be told."""
LARGEST_DOUBT = 0.5
"""A standard error of more than this share of the value: the runs cannot tell it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficient:
    """A coefficient with its standard error."""

    value: float
    standard_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """Coefficients by name; those that could not be told, with the reason."""

    found: dict[str, Coefficient]
    refused: dict[str, str]
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What a coefficient multiplies in each run."""

    values: Array
    fixed: float
    """What stands for the coefficient where the runs cannot tell it."""
    low: float = 0.0
    high: float = np.inf
    """What it can be at all; anything else is the work of something that is not described."""
    shown: tuple[float, str] = (1.0, "")
    """Unit in which it is spoken of: its size, and its name."""

    def said(self, value: float) -> str:
        size, unit = self.shown
        return f"{value / size:.3g}{unit}"


def regress(columns: dict[str, Column], y: Array, weights: Array) -> Regression:
    """y = sum of coefficient x column, by Huber's M-estimator on weighted residuals.

    A column whose coefficient the runs cannot tell (too few runs, no variation of its own, an error of more than half
    the value, a value that cannot be) is refused and stands at its fixed value.
    """
    names = list(columns)
    refused: dict[str, str] = {}
    while True:
        free = [name for name in names if name not in refused]
        if not free:
            return Regression(found={}, refused=refused, runs=len(y))
        rest = y - sum((columns[name].values * columns[name].fixed for name in refused), np.zeros_like(y))
        estimates, worst, why = _attempt({name: columns[name] for name in free}, rest, weights)
        if worst is None:
            return Regression(found=estimates, refused=refused, runs=len(y))
        refused[worst] = why


def _attempt(columns: dict[str, Column], y: Array, weights: Array) -> tuple[dict[str, Coefficient], str | None, str]:
    """One fit; the column to give up, if any, and why."""
    names = list(columns)
    runs = int(np.count_nonzero(weights))
    if runs < max(LEAST_RUNS, 2 * len(names)):
        return {}, names[-1], f"too few runs: {runs}, and {max(LEAST_RUNS, 2 * len(names))} are the least"
    x = np.stack([columns[name].values * weights for name in names], axis=1)
    size = np.sqrt((x**2).sum(axis=0))
    if not size.all():
        return {}, names[int(np.argmin(size))], "no run depends on it"
    culprit = collinear(x / size)
    if culprit is not None:
        return {}, names[culprit], "the runs do not vary in it: only its sum with another constant can be told"
    beta, errors = huber(x / size, y * weights)
    values = {
        name: Coefficient(value=float(b / s), standard_error=float(e / s))
        for name, b, e, s in zip(names, beta, errors, size, strict=True)
    }
    doubt = {name: v.standard_error / v.value if v.value > 0 else np.inf for name, v in values.items()}
    worst = max(doubt, key=lambda name: doubt[name])
    if doubt[worst] > LARGEST_DOUBT:
        said = columns[worst].said
        return {}, worst, f"{runs} runs leave it at {said(values[worst].value)} ± {said(values[worst].standard_error)}"
    for name, value in values.items():
        if not columns[name].low <= value.value <= columns[name].high:
            said = columns[name].said
            why = f"{runs} runs put it at {said(value.value)}, which it cannot be: something else is at work"
            return {}, name, why
    return values, None, ""


def collinear(x: Array) -> int | None:
    """The column that the others nearly tell, or None."""
    singular = np.linalg.svd(x, full_matrices=False)
    if singular[1][0] <= LARGEST_CONDITION * singular[1][-1]:
        return None
    return int(np.argmax(np.abs(singular[2][-1])))


def huber(x: Array, y: Array) -> tuple[Array, Array]:
    """Coefficients and their standard errors, by iteratively reweighted least squares from the least absolute
    deviations; the scale is the median absolute residual, taken anew in every round.

    Errors: Huber 1981, section 7.6, equation 6.5, with its correction K for small samples.
    """
    n, p = x.shape
    beta: Array = np.linalg.lstsq(x, y, rcond=None)[0]
    for turn in range(2 * ROUNDS):
        residuals = y - x @ beta
        scale = _scale(residuals, n, p)
        if scale == 0:
            return beta, np.zeros(p)
        sizes = np.abs(residuals) / scale
        # the first rounds: least absolute deviations
        weights = 1 / np.maximum(sizes, 1e-6) if turn < ROUNDS else np.minimum(1.0, HUBER / np.maximum(sizes, 1e-12))
        root = np.sqrt(weights)
        after: Array = np.linalg.lstsq(x * root[:, None], y * root, rcond=None)[0]
        settled = np.allclose(after, beta, rtol=1e-10, atol=0)
        beta = after
        if settled and turn > ROUNDS:
            break
    residuals = y - x @ beta
    scale = _scale(residuals, n, p)
    clipped = np.clip(residuals, -HUBER * scale, HUBER * scale)
    inside = float(np.mean(np.abs(residuals) <= HUBER * scale)) or 1.0
    correction = 1 + p / n * (1 - inside) / inside
    variance = correction**2 * (clipped**2).sum() / (n - p) / inside**2
    errors: Array = np.sqrt(np.diag(np.linalg.inv(x.T @ x)) * variance)
    return beta, errors


def _scale(residuals: Array, n: int, p: int) -> float:
    """Standard deviation from the median absolute residual; the mean one where more than half are exact."""
    sizes = np.abs(residuals)
    size = float(np.median(sizes)) * 1.4826 or float(np.mean(sizes)) * 1.2533
    return size * float(np.sqrt(n / (n - p))) if size > 1e-12 * float(np.max(sizes, initial=0.0)) else 0.0


def location(values: Array) -> Coefficient:
    """Where the bulk of `values` lies."""
    beta, errors = huber(np.ones((len(values), 1)), values)
    return Coefficient(value=float(beta[0]), standard_error=float(errors[0]))
