"""Money of a job: dated prices, whole machines, named lines that add up to the cent. No price, no cost.

Names load when they are first used: an estimate needs the rate only, and pays for nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bill import Cost, CostLine, Currency, Provenance, cost_of
    from .energy import Energy, PowerPlan, energy_of
    from .hire import Hire, hires
    from .job import Job
    from .market import Market
    from .own import Machine, named_price, own_price
    from .rate import cost_rate, rate_of, usd_per_million_tokens
    from .spot import Spot, spot_overhead
    from .work import Work, checkpoint_sizes, download_bytes, work_of

__all__ = [
    "Cost", "CostLine", "Currency", "Energy", "Hire", "Job", "Machine", "Market", "PowerPlan", "Provenance", "Spot",
    "Work", "checkpoint_sizes", "cost_of", "cost_rate", "download_bytes", "energy_of", "hires", "named_price",
    "own_price", "rate_of", "spot_overhead", "usd_per_million_tokens", "work_of",
]  # fmt: skip

_HOME = {
    "bill": ("Cost", "CostLine", "Currency", "Provenance", "cost_of"),
    "energy": ("Energy", "PowerPlan", "energy_of"),
    "hire": ("Hire", "hires"),
    "job": ("Job",),
    "market": ("Market",),
    "own": ("Machine", "named_price", "own_price"),
    "rate": ("cost_rate", "rate_of", "usd_per_million_tokens"),
    "spot": ("Spot", "spot_overhead"),
    "work": ("Work", "checkpoint_sizes", "download_bytes", "work_of"),
}
"""Module -> its public names."""


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOME.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{home}"), name)
