"""What the planner says of a cell before it is measured: does it fit, how long will it take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from vramplan import estimate
from vramplan.errors import VramplanError
from vramplan.gpu import Gpu
from vramplan.recipe import Recipe
from vramplan.units import MIB

from .cells import Cell, Prepared

START_S = 7.0
LOAD_S_PER_BILLION = 0.35
"""Imports, and weights made and quantised: a guess for an H100, which finished cells correct."""
STEP_SHARE = 0.35
"""Of the card's dense peak, where the planner has no speed: a first guess, corrected as above."""
DETAIL_STEPS = 4
"""The first, two counted ones and one to see the kernels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """None = the planner cannot say."""

    device_bytes: int | None = None
    fits: bool | None = None
    """False only where it surely does not fit."""
    largest_batch: int | None = None
    step_s: float | None = None
    flops_per_token: float | None = None
    parameters: int | None = None


def forecast(prepared: Prepared, gpu: Gpu) -> Forecast:
    """The estimate of a cell on a card, or on the smaller one that it emulates."""
    return _forecast(prepared.cell, gpu)


@lru_cache(maxsize=4096)
def _forecast(cell: Cell, gpu: Gpu) -> Forecast:
    capacity = cell.settings.get("capacity_bytes")
    card = gpu if capacity is None else replace(gpu, memory_total_mib=capacity // MIB)
    try:
        answer = estimate(cell.model, card, cell.recipe, stack=cell.stack)
    except VramplanError:
        return Forecast()
    one = answer.estimates[0]
    cut = _cut(cell, answer.model.layers) if cell.layers else 1.0
    speed = one.speed
    return Forecast(
        device_bytes=one.memory.device_bytes,
        fits=cell.layers is not None or one.verdict != "does_not_fit",
        largest_batch=None if cell.layers else one.largest_micro_batch,
        step_s=None if speed is None else speed.step_time_s * cut,
        flops_per_token=None if speed is None or cell.layers else speed.flops_per_token,
        parameters=int(one.parameters.total * cut),
    )


def _cut(cell: Cell, layers: int) -> float:
    return min((cell.layers or layers) / layers, 1.0)


def expected_s(prepared: Prepared, gpu: Gpu) -> float:
    """Seconds from start to end of a cell: imports, load, warm-up, window, counted steps."""
    cell, told = prepared.cell, forecast(prepared, gpu)
    billions = (told.parameters or 0) / 1e9
    step = told.step_s if told.step_s is not None else _slow_step_s(cell.recipe, billions, gpu)
    window = min(max(cell.min_steps * step, cell.steady_s), max(cell.longest_s, cell.steady_s) + step)
    return START_S + LOAD_S_PER_BILLION * billions + (DETAIL_STEPS + cell.warm_steps) * step + window


def _slow_step_s(recipe: Recipe, billions: float, gpu: Gpu) -> float:
    tokens = recipe.batch * recipe.seq_len * recipe.grad_accum
    passes = 8 if recipe.method == "full" else 6
    peak = (gpu.bf16_dense_tflops or gpu.fp16_dense_tflops or 100.0) * 1e12
    return 0.1 + passes * billions * 1e9 * tokens / (STEP_SHARE * peak)
