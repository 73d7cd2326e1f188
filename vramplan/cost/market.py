"""The terms on which a person would rent: kinds, providers, regions, a price of one's own, allowances."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from ..catalog import prices as catalogue_prices
from ..errors import VramplanError
from ..estimator.result import Speed
from ..gpu import Gpu
from ..price import Kind, Price, current_date
from .bill import Cost, Currency, cost_of
from .energy import PowerPlan, energy_of
from .hire import Hire, hires
from .own import Machine, named_price, own_price
from .spot import Spot
from .work import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What may be hired. With a price or a machine of one's own, nothing else is asked for."""

    kinds: tuple[Kind, ...] = ("on_demand",)
    providers: tuple[str, ...] = ()
    """Empty = any."""
    regions: tuple[str, ...] = ()
    price_file: str | None = None
    """Read in place of the user's own file."""
    usd_per_gpu_hour: Decimal | None = None
    machine: Machine | None = None
    spot: Spot | None = None
    power: PowerPlan = field(default_factory=PowerPlan)
    currency: Currency | None = None

    def __post_init__(self) -> None:
        listed = {"--provider": self.providers, "--region": self.regions, "--prices": self.price_file}
        if self.is_own and (named := [flag for flag, value in listed.items() if value]):
            raise VramplanError(f"{named[0]} chooses among listed prices; leave it out, or your own price")

    @property
    def is_own(self) -> bool:
        """A price or a machine of one's own, so that no other price counts."""
        return self.usd_per_gpu_hour is not None or self.machine is not None

    def prices(self, gpu: Gpu, today: date | None = None) -> tuple[Price, ...]:
        day = today or current_date()
        if self.machine is not None:
            return (own_price(self.machine, gpu.key, day),)
        if self.usd_per_gpu_hour is not None:
            return (named_price(self.usd_per_gpu_hour, gpu.key, day),)
        return tuple(catalogue_prices(gpu.key, self.price_file))

    def hires(self, gpu: Gpu, gpus: int = 1, today: date | None = None) -> tuple[Hire, ...]:
        """Every way to hire `gpus` of these cards, best first (`hires`); empty without a price."""
        found = self.prices(gpu, today)
        if self.is_own:
            return hires(found, gpu.key, gpus, kinds=("own",), today=today)
        return hires(
            found, gpu.key, gpus, kinds=self.kinds, providers=self.providers, regions=self.regions, today=today
        )

    def cost(self, work: Work, speed: Speed, hire: Hire, gpu: Gpu) -> Cost:
        """The bill on these terms. Electricity is a line only beside hardware of one's own: a hire includes it."""
        busy_s = work.train_s(speed.tokens_per_s_per_gpu) + work.evaluation_s(speed.tokens_per_s_per_gpu)
        return cost_of(
            work,
            speed,
            hire,
            spot=self.spot,
            energy=energy_of(self.power, gpu, gpus=hire.gpus, processed_tokens=work.processed_tokens, busy_s=busy_s),
            usd_per_kwh=self.power.usd_per_kwh if hire.price.kind == "own" else None,
            currency=self.currency,
        )
