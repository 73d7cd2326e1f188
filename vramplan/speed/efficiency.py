"""How much of a card's peaks training reaches: from a fitted profile, else from published runs.

The published constants are data (`vramplan_profiles/speed.json`), each with its value, error, number of runs and
source; `python profiles/derive_speed.py` makes the fitted ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from ..catalog.files import shipped_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..estimator.result import Source
    from ..gpu import Gpu
    from ..profile import Profile

PROFILE_CONSTANTS = {
    "matmul_efficiency": "matmul_efficiency",
    "memory_efficiency": "memory_efficiency",
    "launch_s": "launch_s",
    "communication_efficiency": "fabric_efficiency",
}
"""Constant of a profile -> field of Efficiencies."""
POWER_EXPONENT = 0.6
"""A chip held back by its power limit lowers its voltage with its clock, so that its rate falls more slowly than the
power: as its 0.6th power (H100 SXM against PCIe, 700 and 350 W: 80 % and 62 % of their peaks)."""

SLOW_HOST = 1.0
"""Launches took 17 to 52 µs on the hosts of the public runs (qwen-1, fms-hf-tuning), where 23 fits most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiencies:
    """Shares of a card's peaks, of 1, and times in seconds."""

    matmul_efficiency: float
    """Of the dense matrix peak, in large products."""
    flash_efficiency: float
    """Of the same peak, in flash attention."""
    mem_efficient_efficiency: float
    """Of the same, or of the fp32 peak, in the memory-efficient kernel."""
    single_efficiency: float
    """Of the fp32 peak of the CUDA cores."""
    tile_waves: float
    """Tiles' time for which a product keeps multiprocessors waiting at its end."""
    memory_efficiency: float
    """Of the bandwidth, in kernels that do little else."""
    dequantization_efficiency: float
    """Of the bandwidth, while quantised matrices are written out."""
    gptq_efficiency: float
    """Of the bandwidth that one pass would take, while GPTQ matrices are unpacked by torch operations."""
    launch_s: float
    """Of the host, a kernel: Python, autograd, launch."""
    fabric_efficiency: float
    """Of NVLink's bandwidth, in collectives."""
    pcie_efficiency: float
    """Of PCIe's, without peer access."""
    low: float
    high: float
    """Nine in ten runs lie between predicted speed x low and x high."""
    slow_host: float
    """Times its own that launching may take beyond that: hosts differ more than cards; 0 where the host is measured."""
    source: Source


@cache
def published() -> Mapping[str, Any]:
    """The constants of speed.json by name."""
    values: dict[str, Any] = json.loads(shipped_text("speed.json"))
    return values


def efficiencies(
    gpu: Gpu, profile: Profile | None = None, constants: Mapping[str, Any] | None = None, *, mixture: bool = False
) -> Efficiencies:
    """Of `gpu`. A profile's own constants come first; its rate of products carries over to the kernels of attention.

    `constants` stand in for those of speed.json. The interval is that of runs of stacks left out of the fit; wider for
    cards that few or no runs are of, and for a `mixture` of experts, of which there is none.
    """
    known = constants or published()

    def value(name: str) -> float:
        return float(known[name]["value"])

    reached = reach(gpu, known)
    flash = value("flash_efficiency") * reached
    if gpu.compute_capability is not None and gpu.compute_capability >= (9, 0):
        flash = min(flash, value("flash_efficiency_hopper"))
    residuals = known["residuals" if gpu.key in known["residuals"]["cards"] else "residuals_other_cards"]
    wider = known["residuals_mixture"] if mixture else {"low": 1.0, "high": 1.0}
    found = Efficiencies(
        matmul_efficiency=value("matmul_efficiency") * reached,
        flash_efficiency=flash,
        mem_efficient_efficiency=value("mem_efficient_efficiency") * reached,
        single_efficiency=value("single_efficiency") * reached,
        tile_waves=value("tile_waves"),
        memory_efficiency=value("memory_efficiency"),
        dequantization_efficiency=value("dequantization_efficiency"),
        gptq_efficiency=value("gptq_efficiency"),
        launch_s=value("launch_s"),
        fabric_efficiency=value("fabric_efficiency"),
        pcie_efficiency=value("pcie_efficiency"),
        low=residuals["low"] * wider["low"],
        high=residuals["high"] * wider["high"],
        slow_host=SLOW_HOST,
        source="assumed",
    )
    return found if profile is None else _fitted(found, profile)


def _fitted(found: Efficiencies, profile: Profile) -> Efficiencies:
    own = {field: value for name, field in PROFILE_CONSTANTS.items() if (value := profile.constant(name)) is not None}
    rate = own.get("matmul_efficiency", found.matmul_efficiency) / found.matmul_efficiency
    moved = own.get("memory_efficiency", found.memory_efficiency) / found.memory_efficiency
    scaled = {
        "flash_efficiency": found.flash_efficiency * rate,
        "mem_efficient_efficiency": found.mem_efficient_efficiency * rate,
        "single_efficiency": found.single_efficiency * rate,
        "dequantization_efficiency": found.dequantization_efficiency * moved,
        "gptq_efficiency": found.gptq_efficiency * moved,
    }
    residual = profile.quantiles.get("tokens_per_s")
    if residual is not None:
        scaled |= {"low": 1 + residual.low, "high": 1 + residual.high, "slow_host": 0.0}
    return replace(found, **scaled, **own, source="fitted" if own else found.source)


def reach(gpu: Gpu, known: Mapping[str, Any] | None = None) -> float:
    """Part of the matrix peak that the power limit lets a card hold: min(1, (W x F / peak)^0.6), with W the board power
    and F the FLOPs a joule of its generation. 1 where power or generation are not known."""
    known = known or published()
    tflops = gpu.bf16_dense_tflops or gpu.fp16_dense_tflops
    if gpu.tdp_w is None or tflops is None:
        return 1.0
    per_joule = known["flops_per_joule"]
    capability = gpu.compute_capability
    keys = (gpu.key, *(() if capability is None else (f"{capability[0]}.{capability[1]}", str(capability[0]))))
    for key in keys:
        if key in per_joule:
            return float(min(1.0, (gpu.tdp_w * per_joule[key]["value"] / (tflops * 1e12)) ** POWER_EXPONENT))
    return 1.0
