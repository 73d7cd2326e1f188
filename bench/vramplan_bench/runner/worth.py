"""What a measured speed is worth: the share of the card's peak, and dollars per million tokens."""

from __future__ import annotations

from vramplan.catalog import prices
from vramplan.cost import hires, usd_per_million_tokens
from vramplan.gpu import Gpu
from vramplan.record import PricedRun

from .cells import Prepared
from .forecast import forecast


def achieved_mfu(prepared: Prepared, gpu: Gpu | None, tokens_per_s: float | None) -> float | None:
    """tokens_per_s x FLOPs per token / dense peak, recomputation counted as the planner counts it; None without a
    sourced peak, or for a model that the planner cannot describe."""
    if gpu is None or tokens_per_s is None or gpu.bf16_dense_tflops is None:
        return None
    flops = forecast(prepared, gpu).flops_per_token
    return tokens_per_s * flops / (gpu.bf16_dense_tflops * 1e12) if flops else None


def priced(gpu: Gpu | None, tokens_per_s: float | None) -> PricedRun | None:
    """By the price that the planner would take; None without one."""
    if gpu is None or not tokens_per_s:
        return None
    found = hires(prices(gpu.key), gpu.key)
    if not found:
        return None
    hire = found[0]
    return PricedRun(
        usd_per_million_tokens=usd_per_million_tokens(hire.usd_per_hour, tokens_per_s, hire.gpus),
        usd_per_hour=hire.usd_per_hour / hire.gpus,
        date=hire.price.date.isoformat(),
        provider=hire.price.provider,
        region=hire.price.region,
        instance=hire.price.instance,
        kind=hire.price.kind,
    )
