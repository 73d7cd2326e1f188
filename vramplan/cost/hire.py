"""What is rented for a job: whole machines at a dated price. No price, no hire."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from ..price import Kind, Price, current_date
from ..units import ceil_div

GPUS_PER_NODE = 8
"""Cards of the largest machine that is common; a job of more takes several machines anywhere."""
SOLD_BY_THE_GPU = frozenset({"crusoe", "hyperstack", "nebius", "runpod", "verda"})
"""Providers whose rows of prices.csv name a card, not a machine: the price of one card in machines of up to eight.
Assumed: their price lists are by the card; a note of the hire says to ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hire:
    """Machines of one price for a job of `gpus` cards. A machine is paid whole, whatever part of it the job uses."""

    price: Price
    gpus: int
    """Cards that the job uses."""
    stale: bool
    """The price is older than 45 days."""
    spread: tuple[Decimal, Decimal]
    """USD per hour of this hire, cheapest and dearest: the same machine, provider and kind in other regions and at
    other dates."""

    @property
    def instances(self) -> int:
        return int(ceil_div(self.gpus, self.price.count))

    @property
    def idle_gpus(self) -> int:
        """Cards that are paid and not used."""
        return self.instances * self.price.count - self.gpus

    @property
    def usd_per_hour(self) -> Decimal:
        """Of all its machines."""
        return hire_usd_per_hour(self.price.usd_per_hour, self.price.count, self.gpus)

    @property
    def scattered(self) -> bool:
        """More machines than the job needs: their cards are linked by a network, if at all."""
        by_the_gpu = self.price.kind == "own" or (self.price.count == 1 and self.price.provider in SOLD_BY_THE_GPU)
        return not by_the_gpu and self.instances > ceil_div(self.gpus, GPUS_PER_NODE)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know before renting it."""
        price, said = self.price, []
        if self.idle_gpus:
            said.append(f"{price.instance}: {self.instances * price.count} GPUs are paid, {self.gpus} used")
        if self.scattered:
            said.append(f"{self.instances} machines of {price.count} GPU: no fast link between them")
        elif self.instances > 1 and self.gpus <= GPUS_PER_NODE and price.kind != "own":
            said.append(f"{self.instances} x {price.count} GPU: ask {price.provider} for one machine with all of them")
        return (*said, price.note) if price.note else tuple(said)


def hire_usd_per_hour(usd_per_hour: Decimal, count: int, gpus: int) -> Decimal:
    """Price of a job's machines for an hour: ceil(gpus / count) x usd_per_hour.

    `usd_per_hour` of one machine with `count` cards; `gpus` of the job. Clouds rent whole machines: one card of an
    8-GPU machine costs what eight do. Discounts, storage, traffic and tax are not in it.
    """
    return int(ceil_div(gpus, count)) * usd_per_hour


def hires(
    prices: Iterable[Price],
    gpu_key: str,
    gpus: int = 1,
    *,
    kinds: tuple[Kind, ...] = ("on_demand",),
    providers: tuple[str, ...] = (),
    regions: tuple[str, ...] = (),
    today: date | None = None,
) -> tuple[Hire, ...]:
    """Every way to hire `gpus` cards of one kind, best first; empty where none has a price.

    Order: machines that hold the job's cards together (up to eight) before scattered ones, machines of which it uses
    half or more before others, prices of the last 45 days before older ones, then the cheapest for the whole hire, then
    the least idle cards. Of one machine, region and kind only the newest price counts. The first is the default of
    every answer.
    """
    day = today or current_date()
    of_card = [price for price in prices if price.gpu_key == gpu_key and price.kind in kinds]
    chosen = [p for p in _newest(of_card) if _among(p.provider, providers) and _among(p.region, regions)]
    spread = _spread(of_card)

    def hire(price: Price) -> Hire:
        low, high = (hire_usd_per_hour(usd, price.count, gpus) for usd in spread(price))
        return Hire(price=price, gpus=gpus, stale=price.is_stale(day), spread=(low, high))

    return tuple(sorted(map(hire, chosen), key=_rank))


def _rank(hire: Hire) -> tuple[bool, bool, bool, Decimal, int, str]:
    idle, wasted = hire.idle_gpus, hire.idle_gpus > hire.gpus
    return hire.scattered, wasted, hire.stale, hire.usd_per_hour, idle, hire.price.provider


def _among(name: str, names: tuple[str, ...]) -> bool:
    return not names or name in names


def _newest(prices: Iterable[Price]) -> Iterable[Price]:
    """The last price of every machine, region and kind; of two of one day the later in the list (a user's own)."""
    newest: dict[tuple[str, ...], Price] = {}
    for price in prices:
        key = (price.provider, price.region, price.instance, str(price.count), price.kind)
        if key not in newest or newest[key].date <= price.date:
            newest[key] = price
    return newest.values()


def _spread(prices: Iterable[Price]) -> Callable[[Price], tuple[Decimal, Decimal]]:
    found: dict[tuple[str, ...], list[Decimal]] = {}
    for price in prices:
        found.setdefault(_machine(price), []).append(price.usd_per_hour)
    return lambda price: (min(found[_machine(price)]), max(found[_machine(price)]))


def _machine(price: Price) -> tuple[str, ...]:
    return price.provider, price.instance, str(price.count), price.kind
