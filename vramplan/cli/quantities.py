"""Quantities as people type them: 50M tokens, 24h, 1.85 USD. Each has one error, whatever is wrong with it."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import click

from ..errors import InvalidValueError

SCALES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_NUMBER = r"([0-9]{1,30}(?:\.[0-9]{1,20})?)"


def flag(param: click.Parameter | None) -> str:
    """The option as it is typed."""
    return param.opts[0] if param else "value"


class Amount(click.ParamType):  # type: ignore[type-arg]  # generic in new releases of click only
    """A whole number, in full or as 200k, 50M, 1.5B."""

    name = "n"

    def __init__(self, most: int = 10**16) -> None:
        self.most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(_NUMBER + r" ?([kmbgt]?)", str(value).strip().lower(), re.ASCII)
        number = Decimal(match[1]) * SCALES[match[2]] if match else Decimal(0)
        if not (1 <= number <= self.most and number == int(number)):
            said = f"a whole number from 1 to {self.most:,}, like 200k, 50M or 1.5B"
            raise InvalidValueError(flag(param), value, said)
        return int(number)


class Duration(click.ParamType):  # type: ignore[type-arg]  # as above
    """Whole seconds, from 90s, 30min, 24h, 7d; a number without a unit is refused."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(_NUMBER + r" ?(s|min|h|d|w)", str(value).strip().lower(), re.ASCII)
        seconds = Decimal(match[1]) * SECONDS[match[2]] if match else Decimal(-1)
        if not 0 <= seconds <= 10**9:
            raise InvalidValueError(flag(param), value, "a time with its unit, like 90s, 30min, 24h or 7d")
        return int(seconds)


class Number(click.ParamType):  # type: ignore[type-arg]  # as above
    """A decimal number from `least` to `most`, kept as it was typed."""

    name = "x"

    def __init__(self, least: str, most: str, said: str) -> None:
        self.least, self.most, self.said = Decimal(least), Decimal(most), said

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        match = re.fullmatch(_NUMBER, str(value).strip(), re.ASCII)
        number = Decimal(match[1]) if match else Decimal(-1)
        if not self.least <= number <= self.most:
            raise InvalidValueError(flag(param), value, self.said)
        return number
