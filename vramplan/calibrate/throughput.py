"""The constants of speed: shares of the card's peaks that products and memory-bound kernels reach, the host's floor.

log T(constants) = log of the measured time of a step, by Gauss-Newton in the logarithms of the constants; each step of
it is a robust regression on the derivatives, so that the last one gives the standard errors. T is the model that
answers everyone (vramplan.speed), not a copy of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..profile import CONSTANTS, Constant, Profile
from ..speed import efficiencies, step_time
from .robust import LARGEST_DOUBT, LEAST_RUNS, Array, collinear, huber
from .sample import Sample

SPEED_CONSTANTS: Mapping[str, tuple[float, float]] = {
    "matmul_efficiency": (0.05, 1.0),
    "memory_efficiency": (0.05, 1.0),
    "launch_s": (1e-6, 1e-3),
}
"""Constant -> what it can be: a share of a peak, and from a kernel's launch alone to a very slow interpreter's."""
ROUNDS = 25
LONGEST_STEP = 0.5
"""Of a logarithm, in one round."""
SETTLED = 1e-5
DIFFERENCE = 1e-4
LEAST_INFLUENCE = 0.02
"""Of a constant on time, logarithm on logarithm, where it matters most: below it no run depends on the constant."""


def seconds(sample: Sample, profile: Profile | None) -> float | None:
    """Predicted time of an optimizer step; None where the card's peaks are not known."""
    if sample.work is None or sample.card is None or sample.asked.gpu is None:
        return None
    return float(step_time(sample.work, sample.card, efficiencies(sample.asked.gpu, profile)).step_s)


def tokens_per_s(sample: Sample, profile: Profile | None) -> float | None:
    """Predicted speed."""
    time_s = seconds(sample, profile)
    return None if time_s is None or sample.work is None else sample.work.micro_batches * sample.work.tokens / time_s


def fit_speed(samples: Sequence[Sample]) -> tuple[dict[str, Constant], dict[str, str]]:
    """Constants that the timed runs tell; the others, with the reason, keep the values of published runs."""
    timed = [s for s in samples if s.ran and s.run.tokens_per_s_per_gpu and s.work is not None and s.card is not None]
    refused: dict[str, str] = {}
    while free := [name for name in SPEED_CONSTANTS if name not in refused]:
        least = max(LEAST_RUNS, 2 * len(free))
        if len(timed) < LEAST_RUNS:
            why = f"{len(timed)} runs were timed, and {LEAST_RUNS} are the least"
            return {}, dict.fromkeys(SPEED_CONSTANTS, why)
        if len(timed) < least:
            refused[free[-1]] = f"{len(timed)} runs were timed, and {least} are the least for {len(free)} constants"
            continue
        constants, worst = _attempt(timed, free)
        if worst is None:
            return constants, refused
        refused |= worst
    return {}, refused


def _attempt(timed: Sequence[Sample], names: Sequence[str]) -> tuple[dict[str, Constant], dict[str, str] | None]:
    """One fit of `names`; the constant to give up, if any, and why."""
    gpu = timed[0].asked.gpu
    assert gpu is not None
    start = efficiencies(gpu)
    theta: Array = np.log([getattr(start, name) for name in names])
    measured = np.log([_measured_s(s) for s in timed])
    errors: Array = np.zeros(len(names))
    for _ in range(ROUNDS):
        now = _log_seconds(timed, names, theta)
        slopes = np.stack([(_log_seconds(timed, names, theta + one) - now) for one in np.eye(len(names)) * DIFFERENCE])
        slopes = slopes.T / DIFFERENCE
        idle = np.abs(slopes).max(axis=0)
        if idle.min() < LEAST_INFLUENCE:
            return {}, {names[int(np.argmin(idle))]: "no run's time depends on it"}
        size = np.sqrt((slopes**2).sum(axis=0))
        twin = collinear(slopes / size)
        if twin is not None:
            return {}, {names[twin]: "the runs do not vary in it: only its sum with another constant can be told"}
        step, errors = huber(slopes / size, measured - now)
        step, errors = step / size, errors / size
        theta = theta + np.clip(step, -LONGEST_STEP, LONGEST_STEP)
        if np.abs(step).max() < SETTLED:
            break
    return _judged(names, theta, errors, len(timed))


def _judged(
    names: Sequence[str], theta: Array, errors: Array, runs: int
) -> tuple[dict[str, Constant], dict[str, str] | None]:
    values = np.exp(theta)
    worst = int(np.argmax(errors))
    for index in (worst, *range(len(names))):
        low, high = SPEED_CONSTANTS[names[index]]
        said = f"{values[index]:.2g}"
        if errors[index] > LARGEST_DOUBT and index == worst:
            return {}, {names[index]: f"{runs} runs leave it at {said} ± {values[index] * errors[index]:.1g}"}
        if not low <= values[index] <= high:
            return {}, {names[index]: f"{runs} runs put it at {said}, which it cannot be: something else is at work"}
    found = {
        name: Constant(value=float(v), standard_error=float(v * e), unit=CONSTANTS[name], records=runs)
        for name, v, e in zip(names, values, errors, strict=True)
    }
    return found, None


def _measured_s(sample: Sample) -> float:
    assert sample.work is not None and sample.run.tokens_per_s_per_gpu
    return float(sample.work.micro_batches * sample.work.tokens / sample.run.tokens_per_s_per_gpu)


def _log_seconds(timed: Sequence[Sample], names: Sequence[str], theta: Array) -> Array:
    constants = {
        name: Constant(value=float(np.exp(t)), standard_error=0.0, unit=CONSTANTS[name], records=0)
        for name, t in zip(names, theta, strict=True)
    }
    profile = replace(NAMELESS, constants=constants)
    return np.log([seconds(sample, profile) or np.nan for sample in timed])


NAMELESS = Profile(name="", gpu_key="", stack="", created="", constants={})
