"""What a value of a scenario file may be. Each kind reads a value, and says in JSON Schema what it reads.

A kind never raises: what is wrong goes to `Findings` with its path, and the reading goes on, so that one look at a
file finds every mistake in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple, Protocol, TypeAlias

from ..errors import nearest, shortened
from .scenario import Guess

Path: TypeAlias = tuple[str | int, ...]
"""Keys and positions from the top of the file: ("job", 0, "recipe", "batch")."""
Schema: TypeAlias = dict[str, Any]

LONGEST_TEXT = 2_000


class Findings:
    """Mistakes of a file, in the order of their finding."""

    def __init__(self) -> None:
        self.found: list[tuple[Path, str]] = []

    def add(self, path: Path, message: str) -> None:
        self.found.append((path, message))


class Kind(Protocol):
    """A sort of value."""

    def read(self, value: Any, path: Path, findings: Findings) -> Any:
        """The value as the planner has it; None where it is wrong, which `findings` then knows."""

    def schema(self) -> Schema:
        """The same in JSON Schema, draft 2020-12."""


@dataclass(frozen=True, slots=True)
class Text:
    """Words on one line."""

    longest: int = LONGEST_TEXT

    def read(self, value: Any, path: Path, findings: Findings) -> str | None:
        if not isinstance(value, str) or not value.strip():
            _refused(value, path, findings, "a text")
            return None
        if len(value) > self.longest:
            findings.add(path, f"a text of {len(value):,} characters; at most {self.longest:,}")
            return None
        return " ".join(value.split())

    def schema(self) -> Schema:
        return {"type": "string", "minLength": 1, "maxLength": self.longest}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    names: tuple[str, ...]

    def read(self, value: Any, path: Path, findings: Findings) -> str | None:
        if isinstance(value, str) and value in self.names:
            return value
        near = nearest(value, self.names, 1) if isinstance(value, str) else []
        hint = f"; nearest: {near[0]}" if near else ""
        findings.add(path, f"{_shown(value)} is none of {', '.join(self.names)}{hint}")
        return None

    def schema(self) -> Schema:
        return {"enum": list(self.names)}


@dataclass(frozen=True, slots=True)
class Switch:
    """True or false."""

    def read(self, value: Any, path: Path, findings: Findings) -> bool | None:
        if isinstance(value, bool):
            return value
        _refused(value, path, findings, "true or false")
        return None

    def schema(self) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Day:
    """A date: TOML's and YAML's own, or text in ISO 8601."""

    def read(self, value: Any, path: Path, findings: Findings) -> date | None:
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
        try:
            return date.fromisoformat(value)
        except (TypeError, ValueError):
            _refused(value, path, findings, "a day like 2026-11-22")
            return None

    def schema(self) -> Schema:
        return {"type": "string", "format": "date"}


@dataclass(frozen=True, slots=True)
class Number:
    """A number from `low` to `high`; `above` leaves `low` itself out."""

    low: Decimal | int = 0
    high: Decimal | int = 10**9
    whole: bool = False
    above: bool = False
    suffixes: bool = False
    """Also text like 50M, 1.5B, 200k."""

    def read(self, value: Any, path: Path, findings: Findings) -> Decimal | int | None:
        number = _number(value, suffixes=self.suffixes)
        small = number is not None and (number < self.low or (self.above and number == self.low))
        if number is None or small or number > self.high or (self.whole and number != int(number)):
            _refused(value, path, findings, self.said)
            return None
        return int(number) if self.whole else number

    @property
    def said(self) -> str:
        what = "a whole number" if self.whole else "a number"
        start = f"above {self.low:,}" if self.above else f"from {self.low:,}"
        return f"{what} {start} to {self.high:,}" + (" (50M is short for 50,000,000)" if self.suffixes else "")

    def schema(self) -> Schema:
        limits = {"exclusiveMinimum" if self.above else "minimum": _json(self.low), "maximum": _json(self.high)}
        number: Schema = {"type": "integer" if self.whole else "number", **limits}
        return {"anyOf": [number, {"type": "string", "pattern": SUFFIXED}]} if self.suffixes else number


@dataclass(frozen=True, slots=True)
class Guessed:
    """A number, or a table of a value with its ends and the reason for it."""

    number: Number = field(default_factory=Number)

    def read(self, value: Any, path: Path, findings: Findings) -> Guess | None:
        if not isinstance(value, Mapping):
            number = self.number.read(value, path, findings)
            return None if number is None else Guess(value=Decimal(number))
        before = len(findings.found)
        found = Table(_guess_keys(self.number)).read(value, path, findings)
        if len(findings.found) > before:
            return None
        numbers = {key: Decimal(part) for key, part in found.items() if key != "reason"}
        guess = Guess(reason=found["reason"], **numbers)
        if (guess.low is None) != (guess.high is None):
            findings.add(path, "low and high go together")
        elif guess.low is not None and guess.high is not None and not guess.low <= guess.value <= guess.high:
            findings.add(path, f"the value {guess.value:,} does not lie from low {guess.low:,} to high {guess.high:,}")
        return guess

    def schema(self) -> Schema:
        return {"anyOf": [self.number.schema(), Table(_guess_keys(self.number)).schema()]}


@dataclass(frozen=True, slots=True)
class Several:
    """A list, or a single value in its place."""

    kind: Kind
    empty: bool = False

    def read(self, value: Any, path: Path, findings: Findings) -> tuple[Any, ...] | None:
        if not isinstance(value, list):
            item = self.kind.read(value, path, findings)
            return None if item is None else (item,)
        values = value
        if not values and not self.empty:
            findings.add(path, "an empty list")
        items = [self.kind.read(item, (*path, n), findings) for n, item in enumerate(values)]
        return tuple(item for item in items if item is not None)

    def schema(self) -> Schema:
        items = self.kind.schema()
        listed = {"type": "array", "items": items} | ({} if self.empty else {"minItems": 1})
        return {"anyOf": [items, listed]}


class Key(NamedTuple):
    """A key of a table."""

    name: str
    kind: Kind
    help: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Known keys, each once."""

    keys: tuple[Key, ...]

    def read(self, value: Any, path: Path, findings: Findings) -> dict[str, Any]:
        """Values of the keys that are there and right."""
        if not isinstance(value, Mapping):
            _refused(value, path, findings, "a table")
            return {}
        known = {key.name: key for key in self.keys}
        for name in value:
            if name not in known:
                near = nearest(str(name), known, 3)
                hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(known)}"
                findings.add((*path, name), f"unknown key; {hint}")
        for key in self.keys:
            if key.required and key.name not in value:
                findings.add(path, f"{key.name} is missing: {key.help}")
        read = {n: known[n].kind.read(v, (*path, n), findings) for n, v in value.items() if n in known}
        return {name: found for name, found in read.items() if found is not None}

    def schema(self) -> Schema:
        properties = {key.name: {"description": key.help} | key.kind.schema() for key in self.keys}
        required = [key.name for key in self.keys if key.required]
        return {"type": "object", "properties": properties, "additionalProperties": False} | (
            {"required": required} if required else {}
        )


@dataclass(frozen=True, slots=True)
class Rows:
    """An array of tables."""

    table: Table
    least: int = 0
    most: int = 1_000

    def read(self, value: Any, path: Path, findings: Findings) -> tuple[dict[str, Any], ...]:
        if not isinstance(value, list):
            _refused(value, path, findings, f"a list of tables ([[{path[-1]}]] in TOML)")
            return ()
        if not self.least <= len(value) <= self.most:
            findings.add(path, f"{len(value):,} of them; from {self.least} to {self.most:,}")
            return ()
        return tuple(self.table.read(row, (*path, n), findings) for n, row in enumerate(value))

    def schema(self) -> Schema:
        return {"type": "array", "items": self.table.schema(), "minItems": self.least, "maxItems": self.most}


SUFFIXED = r"^[0-9]{1,15}(\.[0-9]{1,9})? ?[kKMBT]?$"
_POWERS = {"k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def _number(value: Any, *, suffixes: bool) -> Decimal | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | Decimal | float):
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        return number if number.is_finite() else None
    if not (suffixes and isinstance(value, str) and re.fullmatch(SUFFIXED, value)):
        return None
    digits, power = (value[:-1], _POWERS[value[-1]]) if value[-1] in _POWERS else (value, 1)
    try:
        return Decimal(digits.strip()) * power
    except InvalidOperation:
        return None


def _guess_keys(number: Number) -> tuple[Key, ...]:
    return (
        Key("value", number, "What is expected.", True),
        Key("low", number, "The least that is likely."),
        Key("high", number, "The most that is likely."),
        Key("reason", Text(), "Why.", True),
    )


def _json(number: Decimal | int) -> int | float:
    return int(number) if number == int(number) else float(number)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 1_000:  # Python writes out no number of thousands of digits
        return "so large a number"
    return shortened(repr(str(value) if isinstance(value, date | Decimal) else value), 60)


def _refused(value: Any, path: Path, findings: Findings, expected: str) -> None:
    findings.add(path, f"{_shown(value)} is not {expected}")
