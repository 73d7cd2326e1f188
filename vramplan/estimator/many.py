"""Many recipes at once, by the formulas that answer one: the counts are numpy arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

from ..errors import InvalidValueError
from ..recipe import LIMITS, ResolvedRecipe
from ..step.setting import Setting
from .phases import StepMemory

if TYPE_CHECKING:
    from ..gpu import Gpu
    from ..model import Model
    from ..stack import Stack

SLICE = 32_768
"""Recipes evaluated at once: 256 KiB an array, so that a slice stays in the processor's cache."""
COUNTS = ("batch", "seq_len", "rank")
"""Knobs that may be arrays."""


def allocated_bytes(model: Model, recipe: ResolvedRecipe, stack: Stack, gpu: Gpu | None = None, **counts: Any) -> Any:
    """Allocated peak for many recipes at once: `batch`, `seq_len`, `rank` may be int64 arrays that broadcast.

    Evaluated in slices that stay in the processor's cache. Raises InvalidValueError for anything but whole numbers.
    """
    import numpy as np

    if not counts or counts.keys() - set(COUNTS):
        raise InvalidValueError("counts", sorted(counts), "some of batch, seq_len and rank")
    arrays = {name: whole_numbers(name, given) for name, given in counts.items()}
    try:
        shape = np.broadcast_shapes(*(values.shape for values in arrays.values()))
    except ValueError:
        shapes = {name: values.shape for name, values in arrays.items()}
        raise InvalidValueError("counts", shapes, "arrays of shapes that broadcast") from None
    out = np.empty(shape, dtype=np.int64)
    evaluate(model, recipe, stack, gpu, arrays, lambda step: {"peak": step.allocated}, {"peak": out})
    return out


def evaluate(
    model: Model, recipe: ResolvedRecipe, stack: Stack, gpu: Gpu | None, counts: Mapping[str, Any],
    figures: Callable[[StepMemory], Mapping[str, Any]], into: Mapping[str, Any],
) -> None:  # fmt: skip
    """Fill the arrays `into` with the `figures` of a step for all counts: int64 arrays that broadcast to their shape.

    What depends on one axis only is worked out once for each of its values, not for each place: axes of their own for
    batch, length and rank take half the time of flat arrays.
    """
    import numpy as np

    shape = next(iter(into.values())).shape
    for place in _pieces(shape):
        piece: dict[str, Any] = {name: _cut(values, place) for name, values in counts.items()}
        for alike, here in _alike(model, piece):
            found = figures(StepMemory(Setting(model, replace(recipe, **alike), stack, gpu)))
            for name, out in into.items():
                out[place] = found[name] if here is None else np.where(here, found[name], out[place])


def _alike(model: Model, piece: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Any]]:
    """The piece in parts that an estimate treats alike, with the places that are of each (None: all). A window that the
    text fills brings another kernel (Setting.slides), and so may several sequences (Setting.several)."""
    attentions = [block.attention for block in model.blocks]
    windows = sorted({a.window for a in attentions if a.window is not None})
    batches = [2] if any(a.kv_heads == 1 or a.layout == "fused" for a in attentions) else []
    for part, here in _by_kind(piece, "seq_len", windows):
        for smaller, there in _by_kind(part, "batch", batches):
            yield smaller, there if here is None else here if there is None else here & there


def _by_kind(piece: dict[str, Any], name: str, edges: list[int]) -> Iterator[tuple[dict[str, Any], Any]]:
    """The piece with counts between the same `edges`; where they are not, one piece for each kind of count."""
    import numpy as np

    counts = piece.get(name)
    kinds = np.searchsorted(np.asarray(edges), 0 if counts is None else counts, side="right")
    if counts is None or kinds.min() == kinds.max():
        yield piece, None
        return
    for kind in np.unique(kinds):
        here = kinds == kind
        yield {**piece, name: np.where(here, counts, counts[here][0])}, here


def _pieces(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Parts of an array of at most SLICE elements each."""
    if not shape:
        yield ()
        return
    first, rest = shape[0], prod(shape[1:])
    step = max(1, SLICE // max(rest, 1))
    for start in range(0, first, step):
        here = slice(start, start + step)
        whole = [(slice(None),) * (len(shape) - 1)]
        yield from ((here, *others) for others in (_pieces(shape[1:]) if rest > SLICE else whole))


def _cut(values: Any, place: tuple[slice, ...]) -> Any:
    """The part of a count that broadcasts to that part of the whole."""
    if not values.ndim:
        return int(values)
    own = place[len(place) - values.ndim :]
    return values[tuple(slice(None) if size == 1 else part for size, part in zip(values.shape, own, strict=True))]


def whole_numbers(name: str, given: Any) -> Any:
    """`given` as an int64 array. Raises InvalidValueError for anything but whole numbers from 1 to the knob's limit."""
    import numpy as np

    try:
        values = np.asarray(given)
    except ValueError:
        values = np.asarray(None)
    if values.dtype.kind not in "iu" or (values.size and not 1 <= values.min() <= values.max() <= LIMITS[name]):
        raise InvalidValueError(name, given, f"whole numbers from 1 to {LIMITS[name]}")
    return values.astype(np.int64)
