"""Options of the money: which prices count, a price of one's own, allowances, power and currency."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from ..errors import InvalidValueError, VramplanError
from .job_options import with_options
from .options import Name
from .quantities import Amount, Duration, Number

if TYPE_CHECKING:
    from ..cost import Currency, Machine

KINDS = ("on_demand", "spot", "reserved")

_OPTIONS = (
    click.option("--kind", "kinds", type=Name(KINDS), multiple=True, metavar="NAME",
                 help="Kind of price, repeatable: on_demand, spot, reserved.  [default: on_demand]"),
    click.option("--provider", "providers", metavar="NAME", multiple=True, help="Only of this provider; repeatable."),
    click.option("--region", "regions", metavar="NAME", multiple=True, help="Only in this region; repeatable."),
    click.option("--prices", "price_file", metavar="FILE", help="Price file in place of your own."),
    click.option("--price", "usd_per_gpu_hour", type=Number("0", "10000", "USD per GPU and hour, up to 10,000"),
                 help="Your own price: USD per GPU and hour."),
    click.option("--purchase", type=Number("0", "1e9", "USD, up to 1,000,000,000"),
                 help="Your own machine: what it cost, USD."),
    click.option("--purchase-gpus", type=Amount(65_536), default="1", show_default=True, help="GPUs in it."),
    click.option("--purchase-years", type=Number("0.1", "50", "years, from 0.1 to 50"), default="4", show_default=True,
                 help="Years until it is worth nothing."),
    click.option("--utilisation", type=Number("0.01", "1", "a part of the time, 0.01 to 1"), default="0.5",
                 show_default=True, help="Part of that time in which it works."),
    click.option("--spot-interruptions", type=Number("0", "1440", "a number a day, up to 1,440"), default="1",
                 show_default=True, help="Interruptions a day of a spot machine."),
    click.option("--spot-checkpoint", type=Duration(), default="30min", show_default=True,
                 help="Time between checkpoints on spot."),
    click.option("--spot-restart", type=Duration(), default="15min", show_default=True,
                 help="From an interruption to training again."),
    click.option("--joules-per-token", type=Number("0", "1e6", "joules"), help="Measured energy of a token."),
    click.option("--power-price", type=Number("0", "100", "USD per kWh"), help="USD per kWh, for your own hardware."),
    click.option("--pue", type=Number("1", "10", "a number from 1 to 10"),
                 help="Power of the data centre over that of its machines.  [default: 1.2]"),
    click.option("--grid-intensity", type=Number("0", "10000", "grams of CO2 per kWh"), help="Grams of CO2 per kWh."),
    click.option("--currency", metavar="CODE=RATE", help="Show amounts in another currency too: EUR=0.92."),
)  # fmt: skip
_WORDS = (
    "purchase", "purchase_gpus", "purchase_years", "utilisation", "spot_interruptions", "spot_checkpoint",
    "spot_restart", "joules_per_token", "power_price", "pue", "grid_intensity",
)  # fmt: skip


def market_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add every option of the money; the command gets them as one `market`."""

    @wraps(command)
    def with_market(
        *, kinds: tuple[Any, ...], providers: tuple[str, ...], regions: tuple[str, ...], price_file: str | None,
        usd_per_gpu_hour: Decimal | None, currency: str | None, **rest: Any,
    ) -> Any:  # fmt: skip
        from ..cost import Market, PowerPlan, Spot

        words = {word: rest.pop(word) for word in _WORDS}
        if kinds and (usd_per_gpu_hour is not None or words["purchase"] is not None):
            raise VramplanError("--kind chooses among listed prices; leave it out, or your own price")
        market = Market(
            kinds=kinds or ("on_demand",),
            providers=providers,
            regions=regions,
            price_file=price_file,
            usd_per_gpu_hour=usd_per_gpu_hour,
            machine=_machine(words, usd_per_gpu_hour),
            spot=Spot(
                interruptions_per_day=words["spot_interruptions"],
                checkpoint_every_s=words["spot_checkpoint"],
                restart_s=words["spot_restart"],
            ),
            power=PowerPlan(
                joules_per_token=_real(words["joules_per_token"]),
                pue=_real(words["pue"]),
                usd_per_kwh=words["power_price"],
                grams_co2_per_kwh=_real(words["grid_intensity"]),
            ),
            currency=_currency(currency),
        )
        return command(market=market, **rest)

    return with_options(_OPTIONS, with_market)


def _real(number: Decimal | None) -> float | None:
    return None if number is None else float(number)


def _machine(words: dict[str, Any], usd_per_gpu_hour: Decimal | None) -> Machine | None:
    from ..cost import Machine

    if words["purchase"] is None:
        return None
    if usd_per_gpu_hour is not None:
        raise VramplanError("--price and --purchase: only one of them")
    return Machine(
        purchase_usd=words["purchase"],
        gpus=words["purchase_gpus"],
        years=words["purchase_years"],
        utilisation=words["utilisation"],
    )


def _currency(text: str | None) -> Currency | None:
    from ..cost import Currency

    if text is None:
        return None
    code, _, rate = text.partition("=")
    if not rate.replace(".", "", 1).isascii() or not rate.replace(".", "", 1).isdigit():
        raise InvalidValueError("--currency", text, "a code and what one USD is in it, like EUR=0.92")
    return Currency(code=code, per_usd=Decimal(rate))
