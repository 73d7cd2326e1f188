"""What a machine costs: one published price, with everything that says how far to trust it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal, TypeAlias, get_args

from .errors import InvalidValueError

Kind: TypeAlias = Literal["on_demand", "spot", "reserved", "own"]
"""`own`: hardware of one's own, or a price that the user named."""
Day: TypeAlias = date
"""A price has a field of the same name as the class."""
KINDS: tuple[Kind, ...] = get_args(Kind)

STALE_AFTER_DAYS = 45
"""Older prices are marked: spot prices move by the hour, list prices by the quarter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A list or market price in USD. Storage, traffic, tax and discounts are not in it."""

    date: Day
    provider: str
    region: str
    instance: str
    gpu_key: str
    count: int
    """GPUs of the instance."""
    usd_per_hour: Decimal
    """Of the whole instance."""
    kind: Kind
    note: str
    source: str

    @property
    def usd_per_gpu_hour(self) -> Decimal:
        return self.usd_per_hour / self.count

    def age_days(self, today: Day) -> int:
        """0 for a price that was dated ahead."""
        return max((today - self.date).days, 0)

    def is_stale(self, today: Day) -> bool:
        return self.age_days(today) > STALE_AFTER_DAYS


def current_date() -> date:
    """The day from which the age of prices counts: VRAMPLAN_TODAY (for answers that must not change), else today's."""
    named = os.environ.get("VRAMPLAN_TODAY")
    if not named:
        return date.today()
    try:
        return date.fromisoformat(named)
    except ValueError:
        raise InvalidValueError("VRAMPLAN_TODAY", named, "a date like 2026-11-22") from None
