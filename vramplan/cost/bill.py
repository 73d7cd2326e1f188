"""The cost of a job: named lines, each a quantity at a price, that add up to the cent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Literal, TypeAlias

from ..errors import InvalidValueError
from ..estimator.result import Speed
from .hire import Hire
from .spot import Spot, spot_overhead
from .work import Work

if TYPE_CHECKING:
    from .energy import Energy

Provenance: TypeAlias = Literal["measured", "fitted", "published", "assumed"]
CENT = Decimal("0.01")
QUANTUM_HOURS = Decimal("0.0001")
"""Hours are rounded to a third of a second before they are priced: what is printed is what is multiplied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """One part of a bill: amount = quantity x unit price, rounded to the cent."""

    label: str
    quantity: Decimal
    unit: str
    unit_price: Decimal | None
    """USD; None for a line that costs nothing of its own."""
    amount: Decimal
    """USD."""
    provenance: Provenance
    """Of the quantity; the price is published, or the user's own."""
    price_date: date | None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Currency:
    """Another currency at a rate that the user states. Amounts inside stay USD."""

    code: str
    per_usd: Decimal

    def __post_init__(self) -> None:
        if not (self.code.isalpha() and self.code.isupper() and len(self.code) == 3):
            raise InvalidValueError("--currency", self.code, "a currency code of three capital letters, like EUR")
        if not (self.per_usd.is_finite() and 0 < self.per_usd <= 10**9):
            raise InvalidValueError("--currency", f"{self.code}={self.per_usd:f}", "a code and what one USD is in it")

    def of(self, usd: Decimal) -> Decimal:
        return cents(usd * self.per_usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """A bill in USD. Storage, traffic, tax and people are not in it."""

    lines: tuple[CostLine, ...]
    total: Decimal
    """The sum of the lines."""
    low: Decimal
    """At the fast end of the speed's interval and the cheapest price of this machine."""
    high: Decimal
    """At the slow end and the dearest."""
    hours: Decimal
    """From renting to the last checkpoint."""
    hours_interval: tuple[Decimal, Decimal]
    hire: Hire
    work: Work
    energy: Energy | None = None
    currency: Currency | None = None
    notes: tuple[str, ...] = ()


def cents(usd: Decimal) -> Decimal:
    """An amount as it is paid: in whole cents, half a cent up."""
    return usd.quantize(CENT, ROUND_HALF_UP)


def cost_of(
    work: Work,
    speed: Speed,
    hire: Hire,
    *,
    spot: Spot | None = None,
    energy: Energy | None = None,
    usd_per_kwh: Decimal | None = None,
    currency: Currency | None = None,
) -> Cost:
    """The bill of `work` at `speed` on `hire`. A spot hire without `spot` gets its stated default allowance."""
    spot = (spot or Spot()) if hire.price.kind == "spot" else None
    slow, fast = speed.interval
    electricity = _electricity(energy, usd_per_kwh)
    lines = (*_lines(work, speed.tokens_per_s_per_gpu, hire, hire.price.usd_per_hour, speed.source, spot), *electricity)
    fewest, most = (_hour_lines(work, tokens_per_s, spot) for tokens_per_s in (fast, slow))
    cheapest, dearest = (usd / hire.instances for usd in hire.spread)
    power = sum((line.amount for line in electricity), Decimal(0))
    return Cost(
        lines=lines,
        total=sum((line.amount for line in lines), Decimal(0)),
        low=_priced(fewest, hire, cheapest) + power,
        high=_priced(most, hire, dearest) + power,
        hours=_total_hours(_hour_lines(work, speed.tokens_per_s_per_gpu, spot)),
        hours_interval=(_total_hours(fewest), _total_hours(most)),
        hire=hire,
        work=work,
        energy=energy,
        currency=currency,
        notes=(*_stale(hire), *hire.notes, *work.notes, *((spot.said,) if spot else ())),
    )


Hours: TypeAlias = tuple[tuple[str, Decimal, str], ...]
"""Label, hours, note."""


def _hour_lines(work: Work, tokens_per_s: float, spot: Spot | None) -> Hours:
    """What the machines are rented for, in the order in which it happens."""
    train, evaluation = work.train_s(tokens_per_s), work.evaluation_s(tokens_per_s)
    found = [("start-up", _hours(work.startup_s), "boot, environment, imports")]
    found.append(("download", _hours(work.download_s), f"{work.download_bytes:,} B of weights"))
    found.append(("training", _hours(train), f"{work.processed_tokens:,} tokens in {work.steps:,} steps"))
    found.append(("evaluation", _hours(evaluation), f"{work.evaluation_passes:,} passes"))
    each = work.checkpoint_bytes + work.checkpoint_state_bytes
    found.append(("checkpoints", _hours(work.checkpoint_s), f"{work.checkpoints:,} x {each:,} B"))
    if spot is not None:
        write_s = work.checkpoint_s / work.checkpoints if work.checkpoints else 0.0
        extra = spot_overhead(spot, write_s) * Decimal(train + evaluation)
        found.append(("interruptions", _hours(extra), "expected: restarts, repeated work, checkpoints"))
    return tuple(line for line in found if line[1])


def _hours(seconds: float | Decimal) -> Decimal:
    return (Decimal(seconds) / 3600).quantize(QUANTUM_HOURS, ROUND_HALF_UP)


def _total_hours(lines: Hours) -> Decimal:
    return sum((hours for _, hours, _ in lines), Decimal(0))


def _amount(hours: Decimal, hire: Hire, usd_per_hour: Decimal) -> Decimal:
    return cents(hours * hire.instances * usd_per_hour)


def _priced(lines: Hours, hire: Hire, usd_per_hour: Decimal) -> Decimal:
    return sum((_amount(hours, hire, usd_per_hour) for _, hours, _ in lines), Decimal(0))


def _lines(
    work: Work, tokens_per_s: float, hire: Hire, usd_per_hour: Decimal, source: str, spot: Spot | None
) -> Iterator[CostLine]:
    machine = hire.price.instance or hire.price.gpu_key
    for label, hours, note in _hour_lines(work, tokens_per_s, spot):
        fitted = source == "fitted" and label in ("training", "evaluation")
        yield CostLine(
            label=label,
            quantity=hours * hire.instances,
            unit=f"h of {machine}",
            unit_price=usd_per_hour,
            amount=_amount(hours, hire, usd_per_hour),
            provenance="fitted" if fitted else "assumed",
            price_date=hire.price.date,
            note=note,
        )


def _electricity(energy: Energy | None, usd_per_kwh: Decimal | None) -> tuple[CostLine, ...]:
    if energy is None or usd_per_kwh is None:
        return ()
    line = CostLine(
        label="electricity",
        quantity=energy.kwh,
        unit="kWh",
        unit_price=usd_per_kwh,
        amount=cents(energy.kwh * usd_per_kwh),
        provenance=energy.provenance,
        price_date=None,
        note=energy.formula,
    )
    return (line,)


def _stale(hire: Hire) -> tuple[str, ...]:
    price = hire.price
    return (f"the price of {price.date.isoformat()} is stale: more than 45 days old",) if hire.stale else ()
