"""Prediction intervals without a belief about the shape of errors: quantiles of residuals on models left out.

The jackknife of Barber, Candès, Ramdas and Tibshirani (2021, Predictive inference with the jackknife+, section 1), with
a *model* left out instead of a run: the runs of one model err alike, so a run is judged by a fit that has seen nothing
of its model. The interval lies around the prediction of the whole fit, which a model more or less hardly moves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..profile import Interval

LEVEL = 0.9


def interval(residuals: Sequence[float], models: Sequence[str], level: float = LEVEL) -> Interval | None:
    """From held-out residuals measured / predicted - 1, the interval that holds the next one with probability `level`.

    Of n residuals the k-th smallest, k = floor((n + 1) (1 - level) / 2), and the k-th largest; where n is too small
    for two tails, the size that holds for both. None where n is too small for any: ceil((n + 1) level) > n. The
    guarantee is for runs like these; a model unlike all of them has none.
    """
    n = len(residuals)
    ordered = sorted(residuals)
    tail = math.floor((n + 1) * (1 - level) / 2 + 1e-9)
    if tail >= 1:
        low, high = ordered[tail - 1], ordered[n - tail]
    else:
        rank = math.ceil((n + 1) * level - 1e-9)
        if rank > n:
            return None
        high = sorted(map(abs, residuals))[rank - 1]
        low = -high
    return Interval(level=level, low=max(low, -0.99), high=high, records=n, models=len(set(models)))
