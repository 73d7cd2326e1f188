"""What training costs by the million tokens: the money beside the speed of an estimate."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from ..catalog import prices as catalogue_prices
from ..estimator.result import CostRate, Speed
from ..gpu import Gpu
from ..price import Kind, Price
from .hire import Hire, hires

SIGNIFICANT = Decimal("0.000001")
"""Rates are rounded to a millionth of a dollar."""


def cost_rate(
    speed: Speed,
    gpu: Gpu,
    *,
    gpus: int = 1,
    prices: Iterable[Price] | None = None,
    kinds: tuple[Kind, ...] = ("on_demand",),
    today: date | None = None,
) -> CostRate | None:
    """Cost of `gpus` cards working at `speed`, at the price that `hires` puts first; None where the card has none.

    `prices` defaults to the catalogue's and the user's own. Who asks for many recipes finds the hire once (`hires`)
    and takes `rate_of`.
    """
    of_card = catalogue_prices(gpu.key) if prices is None else prices
    found = hires(of_card, gpu.key, gpus, kinds=kinds, today=today)
    return rate_of(speed, found[0]) if found else None


def rate_of(speed: Speed, hire: Hire) -> CostRate:
    """The rate of one hire: idle cards of its machines are in the price of those that work."""
    slow, fast = speed.interval
    return CostRate(
        usd_per_hour=(hire.usd_per_hour / hire.gpus).quantize(SIGNIFICANT),
        usd_per_million_tokens=usd_per_million_tokens(hire.usd_per_hour, speed.tokens_per_s_per_gpu, hire.gpus),
        interval=(
            usd_per_million_tokens(hire.usd_per_hour, fast, hire.gpus),
            usd_per_million_tokens(hire.usd_per_hour, slow, hire.gpus),
        ),
        price=hire.price,
        stale=hire.stale,
    )


def usd_per_million_tokens(usd_per_hour: Decimal, tokens_per_s_per_gpu: float, gpus: int) -> Decimal:
    """Price of a million processed tokens: usd_per_hour x 10^6 / (3600 x tokens_per_s_per_gpu x gpus).

    `usd_per_hour` of the whole hire, speed per card. Padding counts as tokens: what a job pays for its own tokens is
    that much more.
    """
    tokens_per_hour = Decimal(tokens_per_s_per_gpu) * 3600 * gpus
    return (usd_per_hour * 10**6 / tokens_per_hour).quantize(SIGNIFICANT)
