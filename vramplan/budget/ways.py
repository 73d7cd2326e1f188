"""Every way to run a planned job within the limits: cards x methods x kinds of price, each with memory, time, money."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal

from ..catalog import find_gpu, find_model
from ..catalog import prices as catalogue_prices
from ..cost.energy import PowerPlan
from ..cost.hire import Hire, hires
from ..cost.own import named_price
from ..cost.work import download_bytes
from ..data import DataFile
from ..errors import VramplanError
from ..gpu import Gpu
from ..model import Model
from .bill import Basis, bill_of
from .physics import Physics
from .result import Way
from .scenario import PlannedJob, Scenario


class Ways:
    """What the cards and prices of one scenario offer."""

    def __init__(self, scenario: Scenario, physics: Physics) -> None:
        self.scenario, self.physics = scenario, physics
        self.power = PowerPlan(
            pue=None if scenario.pue is None else float(scenario.pue),
            usd_per_kwh=scenario.usd_per_kwh,
            grams_co2_per_kwh=None if scenario.grams_co2_per_kwh is None else float(scenario.grams_co2_per_kwh),
        )
        self._hires: dict[object, tuple[Hire, ...]] = {}
        self.refused: dict[str, list[str]] = {}
        """Job -> ways that cannot be described, with the reason."""

    def of(self, job: PlannedJob, data: DataFile | None) -> tuple[Way, ...]:
        """Those that fit (or nearly), cheapest first; then those that do not, least memory over the card's first."""
        model = find_model(job.model)
        priced = [self.priced(way, job, model, data) for way in self._all(job, model)]
        return _fronted(sorted(priced, key=_rank))

    def _all(self, job: PlannedJob, model: Model) -> Iterator[Way]:
        cards = [find_gpu(key) for key in job.gpus or self.scenario.limits.gpus]
        for method in job.methods:
            for gpu in cards:
                try:
                    one = self.physics.technical(job, model, method, gpu)
                except VramplanError as error:
                    self.refused.setdefault(job.name, []).append(f"{method} on {gpu.key}: {error}")
                    continue
                way = Way(
                    gpu=gpu, recipe=one.recipe, verdict=one.verdict, need_bytes=one.need_bytes, speed=one.speed,
                    hire=None,
                )  # fmt: skip
                offers = self._offers(gpu, int(one.recipe.gpus)) if one.verdict != "does_not_fit" else ()
                yield from (replace(way, hire=offer) for offer in offers)
                if not offers:
                    yield way

    def _offers(self, gpu: Gpu, gpus: int) -> tuple[Hire, ...]:
        """The best hire of every kind of price that is allowed."""
        key = (gpu.key, gpus)
        if key not in self._hires:
            limits, day = self.scenario.limits, self.scenario.date
            if limits.usd_per_gpu_hour is not None:
                price = named_price(limits.usd_per_gpu_hour.value, gpu.key, day)
                found = hires((price,), gpu.key, gpus, kinds=("own",), today=day)
            else:
                listed = tuple(catalogue_prices(gpu.key))
                offers = (
                    hires(
                        listed, gpu.key, gpus, kinds=(kind,), providers=limits.providers, regions=limits.regions,
                        today=day,
                    )
                    for kind in limits.kinds
                )  # fmt: skip
                found = tuple(_with_next(one) for one in offers if one)
            self._hires[key] = found
        return self._hires[key]

    def basis(self, way: Way, job: PlannedJob, model: Model, data: DataFile | None) -> Basis | None:
        """What a bill of this way is made of; None where speed or price is not known."""
        if way.speed is None or way.hire is None:
            return None
        return Basis(
            recipe=way.recipe,
            gpu=way.gpu,
            speed=way.speed,
            hire=way.hire,
            checkpoint=self.physics.checkpoint(job, model, way),
            download_bytes=download_bytes(model),
            data=data,
            power=self.power,
        )

    def priced(self, way: Way, job: PlannedJob, model: Model, data: DataFile | None) -> Way:
        """With time and money of all runs of the job."""
        basis = self.basis(way, job, model, data)
        if basis is None:
            return way
        bill = bill_of(job, self.scenario.habits, basis)
        return replace(way, usd=bill.usd, hours=bill.hours)


def _with_next(offers: tuple[Hire, ...]) -> Hire:
    """The first offer; the dear end of its spread is that of the next one, if this is gone when it is wanted."""
    low, high = offers[0].spread
    return replace(offers[0], spread=(low, max(high, *(offer.usd_per_hour for offer in offers[:2]))))


def _rank(way: Way) -> tuple[int, Decimal, int]:
    """Fits before tight before not; within, priced ones by price, the others by what they need over the card's."""
    order = {"fits": 0, "tight": 1, "does_not_fit": 2}[way.verdict]
    usd = Decimal("Infinity") if way.usd is None else way.usd.value
    return order, usd, way.need_bytes - way.gpu.capacity_bytes


def _fronted(ways: list[Way]) -> tuple[Way, ...]:
    """Marks those to which no other that fits is both cheaper and quicker."""

    def beaten(way: Way) -> bool:
        assert way.usd is not None and way.hours is not None
        return any(
            (other.usd.value, other.hours.value) != (way.usd.value, way.hours.value)
            and other.usd.value <= way.usd.value
            and other.hours.value <= way.hours.value
            for other in ways
            if other.usd is not None and other.hours is not None and other.verdict == "fits"
        )

    return tuple(
        replace(way, on_front=way.verdict == "fits" and way.usd is not None and not beaten(way)) for way in ways
    )


def why_no_way(ways: tuple[Way, ...], smallest: Callable[[], str]) -> str | None:
    """Why a job has no cost; None where it has one."""
    if not ways:
        return "no way to run it can be described"
    best = ways[0]
    if best.verdict == "does_not_fit":
        return f"none of {_named(ways)} holds it; {smallest()}"
    if best.speed is None:
        from ..speed import why_no_speed

        return why_no_speed(best.gpu, int(best.recipe.gpus)) or f"no speed is known for {best.gpu.key}"
    if best.usd is None:
        return f"no price within the limits for {_named(ways)}"
    return None


def _named(ways: tuple[Way, ...]) -> str:
    return ", ".join(dict.fromkeys(way.gpu.key for way in ways))
