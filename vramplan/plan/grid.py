"""Grids of recipes: `batch=1,2,4`, `seq_len=512:8192:512`, `method=lora,qlora`; every combination is a row.

1,2,4           these values
512:8192:512    from, to and including, step
512:65536:x2    from, to and including, factor
all-linear,q_proj+v_proj    targets: module names of one choice are joined by +
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..errors import InvalidValueError, UnknownNameError, VramplanError
from ..recipe import CHOICES, LIMITS, Recipe

NAMES = ("model", "gpu", "stack", "profile")
"""What can be varied beside the knobs of a recipe."""
KNOBS = (*NAMES, *(field.name for field in fields(Recipe)))
SWITCHES: dict[str, bool] = {
    "on": True, "true": True, "yes": True, "off": False, "false": False, "no": False,
}  # fmt: skip
SWITCHED = ("kbit_prep", "checkpointing")
MOST_POINTS = 10_000_000
"""More would not fit into the memory of an ordinary machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One knob and its values, in order, each once."""

    knob: str
    values: tuple[Any, ...]


def parse_axis(text: str) -> Axis:
    """`KNOB=VALUES` as typed. Raises VramplanError."""
    knob, equals, values = text.partition("=")
    if not equals or not values.strip():
        raise InvalidValueError("--vary", text, "KNOB=VALUES, as in batch=1,2,4 or seq_len=512:8192:512")
    return axis(knob, values)


def axis(knob: str, values: Any) -> Axis:
    """The axis of a knob, from text, values or one value. Raises VramplanError for what the knob does not take."""
    name = knob.strip().replace("-", "_")
    if name not in KNOBS:
        raise UnknownNameError("knob", knob.strip(), KNOBS, hint="one of " + ", ".join(KNOBS))
    several = values if isinstance(values, Iterable) else (values,)
    given = _parsed(name, values) if isinstance(values, str) else [_plain(value) for value in several]
    if not given:
        raise InvalidValueError(name, values, "a list with something in it")
    for value in given:
        _check(name, value)
    return Axis(knob=name, values=tuple(dict.fromkeys(given)))


def _check(knob: str, value: Any) -> None:
    if knob in LIMITS:
        if not (type(value) is int and 1 <= value <= LIMITS[knob]):
            raise InvalidValueError(knob, value, f"a whole number from 1 to {LIMITS[knob]:,}")
    elif knob not in NAMES:
        Recipe(**{knob: value})  # says what is wrong


def _plain(value: Any) -> Any:
    """numpy's numbers and truths as Python's."""
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0 else value


def _parsed(knob: str, text: str) -> list[Any]:
    parts = [part.strip() for part in text.split(",")]
    if knob in LIMITS:
        return [number for part in parts for number in _numbers(knob, part)]
    return [_value(knob, part) for part in parts]


def _value(knob: str, text: str) -> Any:
    if knob in SWITCHED:
        if text.casefold() not in SWITCHES:
            raise InvalidValueError(knob, text, "on or off")
        return SWITCHES[text.casefold()]
    if knob == "lora_dropout":
        try:
            return float(text)
        except ValueError:
            raise InvalidValueError(knob, text, "a probability from 0 to below 1") from None
    if knob == "targets":
        return text.replace("+", ",")
    if knob in CHOICES and text not in CHOICES[knob]:
        raise UnknownNameError(knob.replace("_", " "), text, CHOICES[knob], hint="one of " + ", ".join(CHOICES[knob]))
    return text


def _numbers(knob: str, text: str) -> list[int]:
    """One number, or a range of them."""
    first, *rest = text.split(":")
    if len(rest) not in (0, 2):
        raise InvalidValueError(knob, text, "a number, FROM:TO:STEP or FROM:TO:xFACTOR")
    low = _whole(knob, first)
    if not rest:
        return [low]
    high, by = _whole(knob, rest[0]), rest[1]
    if low > high:
        raise InvalidValueError(knob, text, "a range that rises")
    if not by.startswith("x"):
        steps = range(low, high + 1, _whole(knob, by))
        _check_size(len(steps))
        return list(steps)
    factor = _whole(knob, by[1:])
    if factor < 2:
        raise InvalidValueError(knob, text, "a range with a factor of 2 or more")
    numbers = [low]
    while numbers[-1] * factor <= high:
        numbers.append(numbers[-1] * factor)
    return numbers


def _whole(knob: str, text: str) -> int:
    text = text.strip()
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 30 else 0
    if not 1 <= number <= LIMITS[knob]:
        raise InvalidValueError(knob, text, f"a whole number from 1 to {LIMITS[knob]:,}")
    return number


def axes(vary: Iterable[str] | Mapping[str, str | Sequence[Any]]) -> tuple[Axis, ...]:
    """The axes of a grid, from `KNOB=VALUES` texts or from a mapping. Raises VramplanError, also where too large."""
    found = [axis(*item) for item in vary.items()] if isinstance(vary, Mapping) else [parse_axis(text) for text in vary]
    knobs = [one.knob for one in found]
    if twice := [knob for knob in knobs if knobs.count(knob) > 1]:
        raise VramplanError(f"--vary names {twice[0]} twice; give all its values at once")
    size = 1
    for one in found:
        size *= len(one.values)
    _check_size(size)
    return tuple(found)


def _check_size(points: int) -> None:
    if points > MOST_POINTS:
        raise VramplanError(f"a grid of {points:,} points; at most {MOST_POINTS:,} at a time")
