"""Prices that are nobody's list price: named by the user, or worked out from hardware of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from ..errors import InvalidValueError
from ..price import Price

HOURS_PER_YEAR = Decimal("8766")
"""365.25 days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine that was bought."""

    purchase_usd: Decimal
    gpus: int
    years: Decimal
    """Until it is worth nothing."""
    utilisation: Decimal
    """Part of that time in which it works, above 0 to 1."""

    def __post_init__(self) -> None:
        if not 0 < self.utilisation <= 1:
            raise InvalidValueError("utilisation", str(self.utilisation), "a part of the time, above 0 to 1")
        if not (self.years > 0 and self.purchase_usd >= 0 and self.gpus >= 1):
            raise InvalidValueError("purchase", str(self.purchase_usd), "a price of some GPUs over some years")


def amortised_usd_per_hour(machine: Machine) -> Decimal:
    """Purchase price by the hour of work: purchase / (years x 8,766 h x utilisation), for the whole machine.

    Straight-line, nothing left at the end; interest, space and people are not in it, electricity is a line of its own.
    """
    return machine.purchase_usd / (machine.years * HOURS_PER_YEAR * machine.utilisation)


def own_price(machine: Machine, gpu_key: str, today: date) -> Price:
    """The amortised price of one's own machine."""
    busy = f"working {100 * machine.utilisation:.0f} % of the time"
    note = f"{machine.purchase_usd:,f} USD over {machine.years:f} years, {busy}"
    return _price(gpu_key, amortised_usd_per_hour(machine), machine.gpus, today, note, "amortisation")


def named_price(usd_per_gpu_hour: Decimal, gpu_key: str, today: date) -> Price:
    """A price per GPU and hour that the user named (reserved, negotiated, in-house)."""
    if not (usd_per_gpu_hour.is_finite() and 0 <= usd_per_gpu_hour <= 10_000):
        raise InvalidValueError("--price", str(usd_per_gpu_hour), "USD per GPU and hour, from 0 to 10,000")
    return _price(gpu_key, usd_per_gpu_hour, 1, today, "named by the user", "--price")


def _price(gpu_key: str, usd: Decimal, count: int, today: date, note: str, source: str) -> Price:
    return Price(
        date=today, provider="own", region="", instance=gpu_key, gpu_key=gpu_key, count=count, usd_per_hour=usd,
        kind="own", note=note, source=source,
    )  # fmt: skip
