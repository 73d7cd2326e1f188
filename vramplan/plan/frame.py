"""Sweeps as pandas tables, and tables of recipes into sweeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import InvalidValueError, UnknownNameError, UnsupportedError, VramplanError
from ..estimator.many import COUNTS, whole_numbers
from ..recipe import LIMITS
from .grid import KNOBS
from .sweep import Coded, Columns, Group, Subject, Sweep

if TYPE_CHECKING:
    import pandas


def pandas_or_refuse() -> Any:
    """The pandas module. Raises UnsupportedError where it is not installed."""
    try:
        import pandas
    except ImportError as error:
        raise UnsupportedError("a sweep needs pandas: pip install 'vramplan[sweep]'") from error
    return pandas


def frame_of(columns: Columns) -> pandas.DataFrame:
    """A row per recipe; names are categories. Raises UnsupportedError without pandas."""
    pd = pandas_or_refuse()
    failed, cardless = columns.errors.codes >= 0, columns.knobs["gpu"].codes < 0
    data = {name: _series(pd, values) for name, values in columns.knobs.items()}
    for name, values in columns.figures.items():
        data[name] = _series(pd, values, failed | cardless if name == "capacity_bytes" else failed)
    data["error"] = _series(pd, columns.errors)
    return pd.DataFrame(data, copy=False)


def _series(pd: Any, values: Any, missing: Any = None) -> Any:
    if isinstance(values, Coded):
        return pd.Categorical.from_codes(values.codes, categories=list(values.names))
    if values.dtype.kind == "i" and missing is not None and missing.any():
        return pd.arrays.IntegerArray(values, missing)
    return values


def sweep_frame(
    frame: pandas.DataFrame, base: Mapping[str, Any], subject_of: Callable[[Mapping[str, Any]], Subject]
) -> pandas.DataFrame:
    """`frame` with the figures of each of its rows beside it, in its order and with its index.

    Its columns are knobs (method, batch, gpu …); `base` says the others. Raises VramplanError for a column that is no
    knob and for a count that is none.
    """
    for name in frame.columns:
        if name not in KNOBS:
            raise UnknownNameError("column", str(name), KNOBS, hint="every column is a knob")
    if not frame.columns.is_unique:
        raise VramplanError(f"column {frame.columns[frame.columns.duplicated()][0]!r} stands twice")
    if not len(frame):
        raise VramplanError("a table without rows")
    table = Sweep(len(frame), (str(name) for name in frame.columns), subject_of)
    for group in _groups(frame, base):
        table.fill(group, strict=True)
    found = frame_of(table.columns()).set_index(frame.index)
    return found.assign(**{name: frame[name] for name in frame.columns if name in ("model", "gpu", "stack", "profile")})


def _groups(frame: pandas.DataFrame, base: Mapping[str, Any]) -> Iterator[Group]:
    import numpy as np

    counts = {str(name): whole_numbers(str(name), frame[name].to_numpy()) for name in frame.columns if name in COUNTS}
    named = [name for name in frame.columns if name not in COUNTS]
    if not named:
        yield Group(knobs=base, counts=counts, rows=np.arange(len(frame)))
        return
    by_place = frame[named].reset_index(drop=True)
    for values, rows in by_place.groupby(named, sort=False, dropna=False, observed=True).indices.items():
        found = dict(zip(named, values if isinstance(values, tuple) else (values,), strict=True))
        knobs = {**base, **{str(name): _knob(str(name), value) for name, value in found.items()}}
        yield Group(knobs=knobs, counts={name: array[rows] for name, array in counts.items()}, rows=rows)


def _knob(name: str, value: Any) -> Any:
    """A cell as a knob: an empty one leaves the knob to the stack."""
    if value != value or value is None:  # NaN
        if name in ("model", "method", *LIMITS):
            raise InvalidValueError(name, value, "left out in some rows: give it in all")
        return None
    return value.item() if type(value).__module__ == "numpy" else value
