"""What a machine costs: one published price, with everything that says how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["on_demand", "spot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A list or market price in USD. Storage, traffic, tax and discounts are not in it."""

    date: date
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
