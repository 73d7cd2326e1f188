"""Many recipes at once, by the formulas that answer one: the counts are numpy arrays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import InvalidValueError
from ..recipe import LIMITS, ResolvedRecipe
from ..step.setting import Setting
from .phases import StepMemory

if TYPE_CHECKING:
    from ..gpu import Gpu
    from ..model import Model
    from ..stack import Stack

SLICE = 16_384
"""Recipes evaluated at once: 128 KiB an array, so that a slice stays in the processor's cache."""


def allocated_bytes(model: Model, recipe: ResolvedRecipe, stack: Stack, gpu: Gpu | None = None, **counts: Any) -> Any:
    """Allocated peak for many recipes at once: `batch`, `seq_len`, `rank` may be int64 arrays that broadcast.

    Evaluated in slices that stay in the processor's cache.
    """
    import numpy as np

    unknown = counts.keys() - {"batch", "seq_len", "rank"}
    if unknown:
        raise InvalidValueError("counts", sorted(unknown), "batch, seq_len or rank")
    arrays = dict(
        zip(counts, np.broadcast_arrays(*(np.asarray(v, dtype=np.int64) for v in counts.values())), strict=True)
    )
    for name, values in arrays.items():
        if values.size and (values.min() < 1 or values.max() > LIMITS[name]):
            raise InvalidValueError(name, "an array", f"whole numbers from 1 to {LIMITS[name]}")
    shape = next(iter(arrays.values())).shape
    flat = {name: values.reshape(-1) for name, values in arrays.items()}
    size = next(iter(flat.values())).size
    out = np.empty(size, dtype=np.int64)
    for start in range(0, size, SLICE):
        piece: dict[str, Any] = {name: values[start : start + SLICE] for name, values in flat.items()}
        out[start : start + SLICE] = StepMemory(Setting(model, replace(recipe, **piece), stack, gpu)).allocated
    return out.reshape(shape)
