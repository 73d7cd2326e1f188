"""From work to time: each kind of work at its share of the card's peak, the host beside the card, links beside both.

products             max(FLOPs and lost tiles over the matrix rate, bytes over the memory rate), each
attention            FLOPs over the kernel's rate
kernels, optimizer, dequantization                  bytes over the memory rate
launches             kernels x the host's time for one, while the card works on those before
communication        bytes over the link's rate, while the card works where a fabric joins the cards
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from ..estimator.result import Bound

if TYPE_CHECKING:
    from .card import Peaks
    from .efficiency import Efficiencies
    from .work import StepWork, Work

BOUNDS: tuple[Bound, ...] = get_args(Bound)
OVERLAP = 4
"""Card and host work side by side, and the slower one sets the pace; (a^4 + b^4)^(1/4) is that maximum with a soft
corner, since layers differ (1.19 times where both take as long)."""

CACHE_GAIN = 2.0
"""Of a cache that holds all. From 19 runs on an L40S (PEFT's comparison: full, LoRA on the MLP, LoRA on q and v, of one
unknown length): with 2 all agree on 250 tokens a sequence, with 1 LoRA's would be longer than its batch."""


PARTS: dict[str, Bound] = {
    "products": "matrix",
    "attention": "matrix",
    "kernels": "memory",
    "optimizer": "memory",
    "dequantization": "dequantization",
    "launches": "launches",
    "communication": "communication",
}
"""What a step consists of, and what bounds it."""


class StepTime:
    """Seconds of one optimizer step. Numbers or arrays of them."""

    __slots__ = ("parts", "step_s")

    def __init__(self, parts: dict[str, Any]) -> None:
        self.parts = parts
        """By the names of PARTS."""
        total: Any = 0.0
        for seconds in parts.values():
            total = total + seconds
        self.step_s = total

    @property
    def by_bound(self) -> dict[Bound, Any]:
        """By what the time goes into."""
        found: dict[Bound, Any] = dict.fromkeys(BOUNDS, 0.0)
        for part, seconds in self.parts.items():
            found[PARTS[part]] = found[PARTS[part]] + seconds
        return found


def step_time(work: StepWork, peaks: Peaks, e: Efficiencies, link: tuple[float, bool] | None = None) -> StepTime:
    """Time of one optimizer step. `link` (`card.link_bytes_per_s`) matters for several cards only.

    T = A x joined(card, host) + optimizer, with A micro-batches. What the host adds to the card's time is `launches`.
    """
    memory_rate = peaks.memory_bytes_per_s * e.memory_efficiency
    written_out = e.gptq_efficiency if work.unpacks_plainly else e.dequantization_efficiency
    products: Any = 0.0
    attention: Any = 0.0
    kernels = work.extra.moved_bytes / memory_rate
    for one, count in work.passes:
        products = products + count * products_s(one, peaks, e)
        attention = attention + count * attention_s(one, peaks, e)
        kernels = kernels + count * kernels_s(one, peaks, e)
    dequantization = work.dequantized_bytes / (peaks.memory_bytes_per_s * written_out)
    card = products + attention + kernels + dequantization
    launches = joined(card, work.kernels * e.launch_s) - card
    optimizer = work.once.bytes / memory_rate
    optimizer_launches = joined(optimizer, work.once.kernels * e.launch_s) - optimizer
    times = work.micro_batches
    sending = 0.0 if link is None else communication_s(work, e, link, times * (card + launches))
    return StepTime({
        "products": times * products,
        "attention": times * attention,
        "kernels": times * kernels,
        "optimizer": optimizer,
        "dequantization": times * dequantization,
        "launches": times * launches + optimizer_launches,
        "communication": sending,
    })  # fmt: skip


def joined(card_s: Any, host_s: Any) -> Any:
    """Two that work side by side: (a^4 + b^4)^(1/4)."""
    return (card_s**OVERLAP + host_s**OVERLAP) ** (1 / OVERLAP)


def communication_s(work: StepWork, e: Efficiencies, link: tuple[float, bool], beside_s: Any) -> Any:
    """What sending adds: hidden behind the layers' work on a fabric, not over PCIe, where the host copies."""
    rate, fabric = link
    if fabric:
        return joined(beside_s, work.sent_bytes / (rate * e.fabric_efficiency)) - beside_s
    return work.sent_bytes / (rate * e.pcie_efficiency)


def products_s(work: Work, peaks: Peaks, e: Efficiencies) -> Any:
    """Matrix products of one pass: each takes the longer of its arithmetic and its traffic.

    Arithmetic: (F + w P t) / rate. Beside its F FLOPs, the P multiprocessors of the card wait for the time of w tiles
    of t FLOPs until the last is done.
    """
    single = fp32_peak(peaks) * e.single_efficiency
    rate = peaks.matrix_flops_per_s * e.matmul_efficiency
    memory_rate = peaks.memory_bytes_per_s * e.memory_efficiency
    waiting = e.tile_waves * peaks.multiprocessors
    seconds: Any = 0.0
    for product in work.products.values():
        arithmetic = (product.flops + waiting * product.tile_flops) / (single if product.single else rate)
        seconds = seconds + product.count * longer(arithmetic, product.bytes / memory_rate)
    return seconds


def attention_s(work: Work, peaks: Peaks, e: Efficiencies) -> Any:
    """Fused attention kernels of one pass: FLOPs over the kernel's share of the peak of its dtype."""
    kernel = e.flash_efficiency if work.attention_flash else e.mem_efficient_efficiency
    peak = fp32_peak(peaks) if work.attention_single else peaks.matrix_flops_per_s
    return work.attention_flops / (peak * kernel)


def kernels_s(work: Work, peaks: Peaks, e: Efficiencies) -> Any:
    """Kernels of one pass that do little but move bytes: bytes over the memory rate, and over 1 + (G - 1) C / (C + b)
    where a cache of C bytes holds part of the b that a kernel moves on average."""
    moved = work.moved_bytes
    held = peaks.cache_bytes / (peaks.cache_bytes + moved / work.kernels)
    return moved / (peaks.memory_bytes_per_s * e.memory_efficiency * (1 + (CACHE_GAIN - 1) * held))


def fp32_peak(peaks: Peaks) -> Any:
    """Of the CUDA cores; the matrix peak where the table does not tell."""
    return peaks.matrix_flops_per_s if peaks.single_flops_per_s is None else peaks.single_flops_per_s


def longer(a: Any, b: Any) -> Any:
    """Elementwise maximum of two times."""
    if isinstance(a, float) and isinstance(b, float):
        return a if a >= b else b
    import numpy as np

    return np.maximum(a, b)
