"""Where a full card gives up, from runs on both sides of it: a run that ran out of memory is a bound, never a peak."""

from __future__ import annotations

import numpy as np

from .robust import Array, Coefficient

NEAR = 1.3
"""Runs whose card holds more than this many times their tensors say nothing of the edge."""
LEAST_EACH = 2
SIGMAS = np.geomspace(0.0005, 0.08, 24)
STEPS = 600


def edge(ran: Array, failed: Array) -> tuple[Coefficient, float] | str:
    """Reserved over allocated bytes at which the card is full, and its scatter from run to run as a share.

    `ran`, `failed`: (capacity - context) / allocated estimate of runs that ran and that ran out of memory. A run with
    room c runs with probability Phi(ln(c / k) / sigma); k has a flat prior in the logarithm between 1 and the largest c
    seen, sigma one in its logarithm. The answer is the posterior's mean and standard deviation, so that the gap
    between the last run that ran and the first that failed is part of the error. A text says why there is none.
    """
    ran, failed = ran[ran < NEAR], failed[failed < NEAR]
    if len(ran) < LEAST_EACH or len(failed) < LEAST_EACH:
        return (
            f"needs runs on both sides of the limit, {LEAST_EACH} or more each: {len(ran)} ran close to it, "
            f"{len(failed)} ran out of memory"
        )
    k = np.linspace(0.0, np.log(NEAR), STEPS)[:, None, None]
    sigma = SIGMAS[None, :, None]
    likelihood = (_log_phi((np.log(ran) - k) / sigma)).sum(axis=2) + (_log_phi((k - np.log(failed)) / sigma)).sum(
        axis=2
    )
    weight = np.exp(likelihood - likelihood.max())
    weight /= weight.sum()
    ratios = np.exp(k[:, 0, 0])
    mean = float((weight.sum(axis=1) * ratios).sum())
    deviation = float(np.sqrt((weight.sum(axis=1) * (ratios - mean) ** 2).sum()))
    return Coefficient(value=mean, standard_error=deviation), float((weight.sum(axis=0) * SIGMAS).sum())


def _log_phi(z: Array) -> Array:
    """Logarithm of the normal distribution function, by the approximation of its tail where it is tiny
    (Abramowitz and Stegun 26.2.12 and 26.2.17, error below 1e-7)."""
    t = 1 / (1 + 0.2316419 * np.abs(z))
    poly = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    log_tail = -(z**2) / 2 - 0.5 * np.log(2 * np.pi) + np.log(poly)
    upper: Array = np.where(z > 0, np.log1p(-np.exp(np.minimum(log_tail, -1e-9))), log_tail)
    return upper
