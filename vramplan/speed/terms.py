"""The time of one step, part by part, with the numbers in the formulas (whole numbers only)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..estimator.result import SpeedTerm
from .time import PARTS

if TYPE_CHECKING:
    from ..gpu import Gpu
    from . import Rates


def speed_terms(rates: Rates, gpu: Gpu) -> tuple[SpeedTerm, ...]:
    """Parts that take time, in the order of PARTS."""
    formulas = dict(_formulas(rates, gpu))
    return tuple(
        SpeedTerm(
            name=part,
            bound=PARTS[part],
            duration_s=float(rates.time.parts[part]),
            source=rates.efficiencies.source,
            formula=formulas[part],
        )
        for part in PARTS
        if rates.time.parts[part]
    )


def _formulas(rates: Rates, gpu: Gpu) -> Iterator[tuple[str, str]]:
    work, peaks, e = rates.work, rates.peaks, rates.efficiencies
    attention = work.micro_batches * sum(count * one.attention_flops for one, count in work.passes)
    times = f"{work.micro_batches} x " if work.micro_batches > 1 else ""
    matrix = f"{peaks.matrix_flops_per_s / 1e12:,.4g} TFLOP/s"
    memory = f"{peaks.memory_bytes_per_s / 1e9:,.0f} GB/s"
    single = sum(p.count * p.flops * count for one, count in work.passes for p in one.products.values() if p.single)
    in_single = f", {_tera(work.micro_batches * single)} of it in fp32 without matrix units" if single else ""
    yield (
        "products",
        (
            f"{_tera(work.flops - attention)} / ({matrix} x {e.matmul_efficiency:.2f}){in_single}; "
            "tiles that end late; narrow ones by their bytes"
        ),
    )
    flash = any(one.attention_flash for one, _ in work.passes)
    share = e.flash_efficiency if flash else e.mem_efficient_efficiency
    yield "attention", f"{_tera(attention)} / (peak x {share:.2f}), {'flash' if flash else 'memory-efficient'} kernel"
    slow = work.micro_batches * work.moved_bytes / (peaks.memory_bytes_per_s * e.memory_efficiency)
    gain = slow / rates.time.parts["kernels"]
    cached = f" x {gain:.2f}), partly out of the cache" if gain > 1.005 else ")"
    yield "kernels", f"{times}{_giga(work.moved_bytes)} / ({memory} x {e.memory_efficiency:.2f}{cached}"
    yield "optimizer", f"{_giga(work.once.bytes)} / ({memory} x {e.memory_efficiency:.2f}), once a step"
    share = e.gptq_efficiency if work.unpacks_plainly else e.dequantization_efficiency
    yield "dequantization", f"{times}{_giga(work.dequantized_bytes)} / ({memory} x {share:.2f})"
    yield "launches", f"{times}{work.kernels:,.0f} kernels x {e.launch_s * 1e6:.1f} µs, beside the card's own work"
    yield "communication", f"{_giga(work.sent_bytes)} between cards, {gpu.interconnect}"


def _tera(flops: float) -> str:
    return f"{flops / 1e12:,.4g} TFLOP"


def _giga(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:,.4g} GB"
