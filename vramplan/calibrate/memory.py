"""The constants of memory: what lies outside the allocator, what it keeps with room, what it needs on a full card."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..estimator.tiers import context_bytes
from ..profile import CONSTANTS, Constant, Interval
from ..units import MIB
from .conformal import LEVEL
from .edge import edge
from .robust import LEAST_RUNS, Array, Coefficient, Column, location, regress
from .sample import Sample

SMALLEST_SPARE = 0.01
"""Where phases share all but this part of their buffers, the run says nothing of how elastic the allocator is."""
LARGEST_ELASTICITY = 2.0
"""Beyond it the cache holds what no phase of this step needs: texts of many lengths, another recipe."""
CONTEXTS_BYTES = (64 * MIB, 1536 * MIB)
"""Contexts with their libraries were seen to take 0.14 to 0.6 GiB; far from that it is something else."""
NORMAL_90 = 1.645
"""Half of the interval that holds 90 % of a normal distribution, in standard deviations."""

Found = tuple[dict[str, Constant], dict[str, str]]


def constant(name: str, estimate: Coefficient, records: int) -> Constant:
    """An estimate under its name, with the unit that goes with it."""
    return Constant(value=estimate.value, standard_error=estimate.standard_error, unit=CONSTANTS[name], records=records)


def fit_memory(samples: Sequence[Sample]) -> tuple[dict[str, Constant], dict[str, str], Interval | None]:
    """Constants, those refused with the reason, and the scatter of the edge."""
    ran = [sample for sample in samples if sample.ran]
    constants, refused = _outside(ran)
    more, others = _elasticity(ran, constants)
    constants |= more
    refused = {name: why for name, why in (refused | others).items() if name not in constants}
    outside = _outside_bytes(samples, constants)
    ratios: Callable[[bool], Array] = lambda ok: np.array(  # noqa: E731
        [(s.capacity_bytes - outside) / s.allocated_bytes for s in samples if s.ran == ok and s.asked.gpu], dtype=float
    )
    found = edge(ratios(True), ratios(False))
    if isinstance(found, str):
        return constants, refused | {"edge_elasticity": found}, None
    value, sigma = found
    constants["edge_elasticity"] = constant("edge_elasticity", value, len(samples))
    half = NORMAL_90 * sigma
    scatter = Interval(level=LEVEL, low=-half, high=half, records=len(samples), models=len({s.model for s in samples}))
    return constants, refused, scatter


def _outside(ran: Sequence[Sample]) -> Found:
    """Context, and what libraries take beyond it, where runs tell reserved and device bytes apart.

    context = median of what the device showed after the context phase; workspace = device - reserved - context at the
    peak. Runs without a context phase tell only their sum, which then stands as the context.
    """
    both = [s.run for s in ran if s.run.reserved_bytes and s.run.device_bytes]
    if len(both) < LEAST_RUNS:
        why = f"{len(both)} runs measured reserved and device bytes, and {LEAST_RUNS} are the least"
        return {}, {"context_bytes": why, "workspace_bytes": why}
    outside = np.array([(run.device_bytes or 0) - (run.reserved_bytes or 0) for run in both], dtype=float)
    alone = np.array([np.nan if run.context_bytes is None else run.context_bytes for run in both], dtype=float)
    known = ~np.isnan(alone)
    if np.count_nonzero(known) < LEAST_RUNS:
        found = constant("context_bytes", location(outside), len(both))
        return {"context_bytes": found}, {"workspace_bytes": "no run measured the context alone: it is part of that"}
    context = location(alone[known])
    constants = {"context_bytes": constant("context_bytes", context, int(np.count_nonzero(known)))}
    rest = location(outside[known] - alone[known])
    if rest.value <= 2 * rest.standard_error:
        return constants, {"workspace_bytes": "the device shows no more than the context beside reserved bytes"}
    return constants | {"workspace_bytes": constant("workspace_bytes", rest, int(np.count_nonzero(known)))}, {}


def _outside_bytes(samples: Sequence[Sample], constants: dict[str, Constant]) -> float:
    if "context_bytes" in constants:
        return sum(constants[name].value for name in ("context_bytes", "workspace_bytes") if name in constants)
    return context_bytes(samples[0].asked.gpu)[0] if samples else 0.0


def _elasticity(ran: Sequence[Sample], constants: dict[str, Constant]) -> Found:
    """reserved - allocated = elasticity x buffers that phases do not share, where nothing pressed the allocator.

    Where only the device was measured, and nothing tells the context, both come from one regression:
    device - allocated = context + elasticity x buffers. Weights: one over the measured size.
    """
    easy = [s for s in ran if not s.pressed and s.spare_bytes > SMALLEST_SPARE * s.allocated_bytes]
    use = [s for s in easy if s.run.reserved_bytes or s.run.device_bytes]
    if len(use) < LEAST_RUNS:
        why = f"{len(use)} runs with room measured what the allocator keeps, and {LEAST_RUNS} are the least"
        return {}, {"reserved_elasticity": why}
    outside = _outside_bytes(ran, constants)
    by_device = np.array([not s.run.reserved_bytes for s in use])
    total = np.array([s.run.reserved_bytes or s.run.device_bytes for s in use], dtype=float)
    held = np.array([s.allocated_bytes for s in use], dtype=float)
    spare = np.array([s.spare_bytes for s in use], dtype=float)
    columns = {"reserved_elasticity": Column(values=spare, fixed=1.0, high=LARGEST_ELASTICITY)}
    y = total - held
    if "context_bytes" in constants or not by_device.all():
        y = y - outside * by_device
    else:
        low, high = CONTEXTS_BYTES
        columns["context_bytes"] = Column(
            values=np.ones_like(y), fixed=outside, low=low, high=high, shown=(MIB, " MiB")
        )
    fit = regress(columns, y, 1 / total)
    return {name: constant(name, value, fit.runs) for name, value in fit.found.items()}, fit.refused
