"""A table over many recipes: names and switches are looped over, batch, length and rank go through numpy at once.

axes or rows -> Group    one combination of everything that is no count, with arrays of counts and their rows
Group        -> figures  of vramplan.estimator and vramplan.speed, the formulas that answer one question
Columns                  plain numpy arrays by name; names are codes into a list
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import nan, prod
from typing import TYPE_CHECKING, Any, get_args

from ..errors import UnsupportedError, VramplanError
from ..estimator.many import COUNTS, evaluate
from ..estimator.phases import StepMemory
from ..estimator.result import Bound, Verdict
from ..estimator.tiers import tiers
from ..recipe import LIMITS, Recipe, ResolvedRecipe
from ..resolve import resolve
from ..speed import rates
from ..units import either
from .grid import NAMES, Axis

if TYPE_CHECKING:
    from ..gpu import Gpu
    from ..model import Model
    from ..profile import Profile
    from ..stack import Stack

VERDICTS: tuple[str, ...] = get_args(Verdict)
BOUNDS: tuple[Bound, ...] = get_args(Bound)
FITS, TIGHT, DOES_NOT_FIT = (VERDICTS.index(name) for name in ("fits", "tight", "does_not_fit"))
ALWAYS = ("model", "gpu", "stack", "method", "rank", "batch", "seq_len", "grad_accum")
"""Knobs that every row shows; the others where they vary."""
BYTES = (
    "allocated_bytes", "reserved_bytes", "device_bytes", "device_low_bytes", "device_high_bytes", "need_bytes",
    "capacity_bytes",
)  # fmt: skip
"""Tiers of an estimate; `need_bytes` is the cautious end that the verdict goes by."""
RATES = ("tokens_per_s_per_gpu", "tokens_per_s_low", "tokens_per_s_high", "step_time_s", "usd_per_million_tokens")
NAMED: Mapping[str, tuple[str, ...]] = {"verdict": VERDICTS, "bound_by": BOUNDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """A column of names: `names[codes[row]]`; code -1 = nothing to say."""

    names: tuple[Any, ...]
    codes: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What the rows of one group share: everything found by name."""

    model: Model
    gpu: Gpu | None
    stack: Stack
    profile: Profile | None
    usd_per_hour: float | None
    """Of one card, at the price of an estimate; None where it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows that differ in counts only."""

    knobs: Mapping[str, Any]
    counts: Mapping[str, Any]
    """batch, seq_len, rank: int64 arrays that broadcast to the shape of `rows`; those that vary."""
    rows: Any
    """Where each of them stands in the table: int64, of any shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """A table by columns, rows in the order asked for."""

    size: int
    knobs: Mapping[str, Any]
    """Knob -> int64 array or Coded."""
    figures: Mapping[str, Any]
    """Bytes as int64, rates as float64, Coded for names; of a row with an error 0, not a number, nothing."""
    errors: Coded
    """Why a row could not be described."""

    @property
    def any_fits(self) -> bool:
        """As in an estimate: something fits, at least with luck, or no card was named."""
        described = self.figures["verdict"].codes[self.errors.codes < 0]
        return bool((described < DOES_NOT_FIT).any())


def need_numpy() -> None:
    """Raises UnsupportedError where numpy is not installed."""
    try:
        import numpy  # noqa: F401
    except ImportError as error:
        raise UnsupportedError("a sweep needs numpy: pip install 'vramplan[sweep]'") from error


def grid_groups(axes: tuple[Axis, ...], base: Mapping[str, Any]) -> tuple[int, Iterator[Group]]:
    """Size of a grid and its groups: the product of all axes, the first varying slowest.

    Full fine-tuning has no rank: of rows that differ in rank alone only the first is there.
    """
    import numpy as np

    shape = [len(axis.values) for axis in axes]
    places = np.arange(prod(shape)).reshape(shape)
    looped = [place for place, axis in enumerate(axes) if axis.knob not in COUNTS]
    counted = [axis for axis in axes if axis.knob in COUNTS]
    open_arrays = np.ix_(*(np.array(axis.values, dtype=np.int64) for axis in counted))
    counts = {axis.knob: values for axis, values in zip(counted, open_arrays, strict=True)}

    def groups() -> Iterator[Group]:
        for choice in product(*(range(shape[place]) for place in looped)):
            index: list[Any] = [slice(None)] * len(axes)
            knobs = dict(base)
            for place, at in zip(looped, choice, strict=True):
                index[place] = at
                knobs[axes[place].knob] = axes[place].values[at]
            group = Group(knobs=knobs, counts=counts, rows=places[tuple(index)])
            yield _of_one_rank(group) if knobs["method"] == "full" and "rank" in counts else group

    return int(places.size), groups()


def _of_one_rank(group: Group) -> Group:
    axis = list(group.counts).index("rank")
    counts = {knob: values.take(0, axis) for knob, values in group.counts.items() if knob != "rank"}
    return Group(knobs=group.knobs, counts=counts, rows=group.rows.take(0, axis))


class Filling:
    """A column in the making: whole numbers, rates, or names as codes."""

    def __init__(self, size: int, *, names: Iterable[Any] | None = None, rate: bool = False) -> None:
        import numpy as np

        self.names: dict[Any, int] | None = None if names is None else {name: n for n, name in enumerate(names)}
        dtype: Any = np.float64 if rate else np.int64 if names is None else np.int32
        self.values = np.full(size, np.nan if rate else 0 if names is None else -1, dtype=dtype)

    def put(self, rows: Any, value: Any) -> None:
        """One value for all `rows`, or an array of numbers for them."""
        self.values[rows] = value if self.names is None else self.names.setdefault(value, len(self.names))

    def done(self, kept: Any) -> Any:
        values = self.values if kept is None else self.values[kept]
        return values if self.names is None else Coded(names=tuple(self.names), codes=values)


class Sweep:
    """Fills the columns of a table, group by group."""

    def __init__(self, size: int, shown: Iterable[str], subject_of: Callable[[Mapping[str, Any]], Subject]) -> None:
        import numpy as np

        knobs = dict.fromkeys((*ALWAYS, *shown))
        self.knobs = {knob: Filling(size) if knob in LIMITS else Filling(size, names=()) for knob in knobs}
        self.figures = {name: Filling(size) for name in BYTES} | {name: Filling(size, rate=True) for name in RATES}
        self.figures |= {name: Filling(size, names=names) for name, names in NAMED.items()}
        self.errors = Filling(size, names=())
        self.filled = np.zeros(size, dtype=bool)
        self.subject_of = subject_of

    def fill(self, group: Group, *, strict: bool) -> None:
        """Evaluate one group; what cannot be described becomes the error of its rows."""
        subject = self.subject_of(group.knobs)
        self.filled[group.rows] = True
        try:
            asked = Recipe(**{knob: value for knob, value in group.knobs.items() if knob not in NAMES})
            recipe = resolve(asked, asked.method, subject.stack, subject.gpu, strict=strict)
            self._evaluate(group, subject, recipe)
            self._show(group, subject, recipe.as_dict())
        except VramplanError as error:
            self._show(group, subject, group.knobs)
            self.errors.put(group.rows, str(error))

    def _evaluate(self, group: Group, subject: Subject, recipe: ResolvedRecipe) -> None:
        import numpy as np

        counts = {knob: values for knob, values in group.counts.items() if knob != "rank" or recipe.has_adapters}
        if group.rows.size == 1:  # plain numbers are ten times as fast as arrays of one
            counts = {knob: values.reshape(()) for knob, values in counts.items()}
        found = {name: np.empty(group.rows.shape, dtype=column.values.dtype) for name, column in self.figures.items()}
        evaluate(subject.model, recipe, subject.stack, subject.gpu, counts, figures_of(subject), found)
        place = _place(group.rows)
        for name, values in found.items():
            self.figures[name].values[place] = values if place is group.rows else values.reshape(-1)

    def _show(self, group: Group, subject: Subject, knobs: Mapping[str, Any]) -> None:
        named = {
            "model": subject.model.id,
            "gpu": subject.gpu.key if subject.gpu else None,
            "stack": subject.stack.name,
            "profile": subject.profile.name if subject.profile else None,
        }
        for knob, column in self.knobs.items():
            if knob in group.counts and not (knob == "rank" and knobs["method"] == "full"):
                column.put(group.rows, group.counts[knob])
            elif (value := named.get(knob, knobs.get(knob))) is not None:
                column.put(group.rows, value)

    def columns(self) -> Columns:
        """The finished table. Raises VramplanError where not a single row could be described."""
        kept = None if self.filled.all() else self.filled
        errors = self.errors.done(kept)
        if len(errors.codes) and (errors.codes >= 0).all():
            raise VramplanError(errors.names[0])
        return Columns(
            size=len(errors.codes),
            knobs={knob: column.done(kept) for knob, column in self.knobs.items()},
            figures={name: column.done(kept) for name, column in self.figures.items()},
            errors=errors,
        )


def _place(rows: Any) -> Any:
    """Neighbouring rows as a slice, which numpy fills several times as fast."""
    first, last = int(rows.flat[0]), int(rows.flat[-1])
    return slice(first, last + 1) if rows.flags.c_contiguous and last - first + 1 == rows.size else rows


def figures_of(subject: Subject) -> Callable[[StepMemory], Mapping[str, Any]]:
    """What gives the figures of a step's rows, names as codes."""
    gpu = subject.gpu
    capacity = gpu.capacity_bytes if gpu else 0

    def figures(step: StepMemory) -> Mapping[str, Any]:
        tier = tiers(step, gpu, subject.profile)
        low, high = tier.device_interval_bytes
        unsure = either(tier.edge_low_bytes <= capacity, TIGHT, DOES_NOT_FIT)
        return {
            "allocated_bytes": tier.allocated_bytes,
            "reserved_bytes": tier.reserved_bytes,
            "device_bytes": tier.device_bytes,
            "device_low_bytes": low,
            "device_high_bytes": high,
            "need_bytes": tier.edge_high_bytes,
            "capacity_bytes": capacity,
            "verdict": either(tier.edge_high_bytes <= capacity, FITS, unsure) if gpu else -1,
            **rates_of(step, subject),
        }

    return figures


def rates_of(step: StepMemory, subject: Subject) -> Mapping[str, Any]:
    """Speed of a step's rows; nothing without a card, or with one whose peaks are not known."""
    found = rates(step, subject.gpu, subject.profile) if subject.gpu else None
    if found is None:
        return dict.fromkeys(RATES, nan) | {"bound_by": -1}
    return {
        "tokens_per_s_per_gpu": found.tokens_per_s,
        "tokens_per_s_low": found.low_tokens_per_s,
        "tokens_per_s_high": found.high_tokens_per_s,
        "step_time_s": found.time.step_s,
        "usd_per_million_tokens": _usd_per_million_tokens(subject, found.tokens_per_s),
        "bound_by": _largest_part(found.time.by_bound),
    }


def _usd_per_million_tokens(subject: Subject, tokens_per_s: Any) -> Any:
    """As `vramplan.cost.rate` has it, in floating point."""
    return nan if subject.usd_per_hour is None else subject.usd_per_hour * 1e6 / (3600 * tokens_per_s)


def _largest_part(parts: Mapping[Bound, Any]) -> Any:
    """Code of what takes longest, the first of equals."""
    code, most = 0, parts[BOUNDS[0]]
    for place, bound in enumerate(BOUNDS[1:], 1):
        larger = parts[bound] > most
        code, most = either(larger, place, code), either(larger, parts[bound], most)
    return code


def sweep_grid(
    axes: tuple[Axis, ...], base: Mapping[str, Any], subject_of: Callable[[Mapping[str, Any]], Subject]
) -> Columns:
    """Every combination of the axes, with `base` for the other knobs (and for model, gpu, stack, profile)."""
    size, groups = grid_groups(axes, base)
    varied = [axis.knob for axis in axes]
    table = Sweep(size, varied, subject_of)
    for group in groups:
        # a format that was asked for as such is refused where it cannot be; else passed over, as in an estimate
        table.fill(group, strict="quant" in varied or "method" not in varied)
    return table.columns()
