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

    Evaluated in slices that stay in the processor's cache. Raises InvalidValueError for anything but whole numbers.
    """
    import numpy as np

    flat, shape = _flattened(counts)
    size = next(iter(flat.values())).size
    out = np.empty(size, dtype=np.int64)
    for start in range(0, size, SLICE):
        piece: dict[str, Any] = {name: values[start : start + SLICE] for name, values in flat.items()}
        out[start : start + SLICE] = StepMemory(Setting(model, replace(recipe, **piece), stack, gpu)).allocated
    return out.reshape(shape)


def _flattened(counts: dict[str, Any]) -> tuple[dict[str, Any], tuple[int, ...]]:
    """The counts broadcast against each other, as flat int64 arrays, and their common shape."""
    import numpy as np

    if not counts or counts.keys() - {"batch", "seq_len", "rank"}:
        raise InvalidValueError("counts", sorted(counts), "some of batch, seq_len and rank")
    arrays: dict[str, Any] = {}
    for name, given in counts.items():
        try:
            values = np.asarray(given)
        except ValueError:
            values = np.asarray(None)
        if values.dtype.kind not in "iu" or (values.size and not 1 <= values.min() <= values.max() <= LIMITS[name]):
            raise InvalidValueError(name, given, f"whole numbers from 1 to {LIMITS[name]}")
        arrays[name] = values.astype(np.int64)
    try:
        spread = np.broadcast_arrays(*arrays.values())
    except ValueError:
        shapes = {name: values.shape for name, values in arrays.items()}
        raise InvalidValueError("counts", shapes, "arrays of shapes that broadcast") from None
    return {name: values.reshape(-1) for name, values in zip(arrays, spread, strict=True)}, spread[0].shape
