"""Electricity of a job, and what it emits where the grid's intensity is given."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ..errors import InvalidValueError
from ..gpu import Gpu
from .bill import Provenance

TDP_LOAD = 0.8
"""Assumed part of its TDP that a card draws in training, where joules per token were not measured."""
PUE = 1.2
"""Assumed: power of the data centre over that of its machines (hyperscale sites name 1.1, the average of Uptime
Institute's surveys is above 1.5)."""
JOULES_PER_KWH = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerPlan:
    """What is known of the electricity. None = not given."""

    joules_per_token: float | None = None
    """Measured, of the cards alone."""
    pue: float | None = None
    usd_per_kwh: Decimal | None = None
    """Only hardware of one's own pays it beside the hire."""
    grams_co2_per_kwh: float | None = None

    def __post_init__(self) -> None:
        if not (self.pue is None or 1 <= self.pue <= 10):
            raise InvalidValueError("--pue", self.pue, "a number from 1 to 10")
        if not (self.grams_co2_per_kwh is None or 0 <= self.grams_co2_per_kwh <= 10_000):
            raise InvalidValueError("--grid-intensity", self.grams_co2_per_kwh, "grams of CO2 per kWh")
        if not (self.usd_per_kwh is None or 0 <= self.usd_per_kwh <= 100):
            raise InvalidValueError("--power-price", str(self.usd_per_kwh), "USD per kWh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Of the whole job."""

    energy_j: float
    provenance: Provenance
    formula: str
    co2_g: float | None
    """None where no grid intensity was given."""

    @property
    def kwh(self) -> Decimal:
        return (Decimal(self.energy_j) / JOULES_PER_KWH).quantize(Decimal("0.001"))


def energy_of(plan: PowerPlan, gpu: Gpu, *, gpus: int, processed_tokens: int, busy_s: float) -> Energy | None:
    """Energy of a job; None where neither joules per token nor a TDP is known."""
    pue = PUE if plan.pue is None else plan.pue
    said = f"PUE {pue:g}" + (" (assumed)" if plan.pue is None else "")
    provenance: Provenance = "assumed"
    if plan.joules_per_token is not None:
        used = measured_energy_j(processed_tokens, plan.joules_per_token, pue)
        provenance = "measured"
        formula = f"{processed_tokens:,} tokens x {plan.joules_per_token:g} J, {said}"
    elif gpu.tdp_w is not None:
        used = assumed_energy_j(gpus, gpu.tdp_w, busy_s, pue)
        formula = f"{gpus} x {gpu.tdp_w} W x {TDP_LOAD:g} (assumed load) x {busy_s / 3600:,.2f} h, {said}"
    else:
        return None
    co2 = None if plan.grams_co2_per_kwh is None else used / JOULES_PER_KWH * plan.grams_co2_per_kwh
    return Energy(energy_j=used, provenance=provenance, formula=formula, co2_g=co2)


def measured_energy_j(processed_tokens: int, joules_per_token: float, pue: float) -> float:
    """Energy from a measurement: processed_tokens x joules_per_token x pue. Cards only; hosts are in no measurement."""
    return processed_tokens * joules_per_token * pue


def assumed_energy_j(gpus: int, tdp_w: int, busy_s: float, pue: float) -> float:
    """Energy from the data sheet: gpus x tdp_w x 0.8 x busy_s x pue. The load is assumed; hosts are not in it."""
    return gpus * tdp_w * TDP_LOAD * busy_s * pue
