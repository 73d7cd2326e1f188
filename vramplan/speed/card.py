"""What a card can do: peaks of the fact table, and what follows from them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..gpu import Gpu

FMA_PER_CLOCK: dict[tuple[int, int], int] = {
    (7, 0): 512, (7, 5): 512, (8, 0): 1024, (8, 6): 512, (8, 9): 512, (9, 0): 2048, (10, 0): 4096, (10, 3): 4096,
    (12, 0): 512,
}  # fmt: skip
"""16-bit multiply-adds of a multiprocessor's matrix units in a clock, sums in fp32, at full rate (NVIDIA's papers on
Volta, Turing, GA100, GA102, Ada, Hopper, Blackwell)."""
HALF_RATE_CLOCK_HZ = 1.35e9
"""No such card boosts lower: where the table's peak implies a lower clock, the card forms fp32 sums at half rate
(GeForce, A10G, L40), and the true clock is twice that."""
INLINE_ECC = 15 / 16
"""GDDR6 keeps its check bits in the memory itself: a sixteenth of the size and of the traffic (data-centre cards of
Turing, Ampere GA10x and Ada show 15 / 16 of their memory)."""
CACHE_BYTES_PER_MULTIPROCESSOR = 600_000
"""Of Ada's and GeForce Blackwell's level-2 cache (L40S: 96 MB for 142, RTX 4090: 72 MB for 128), which holds what a
kernel leaves to the next. Public runs show no such gain of the A100's 40 MB, in two parts; smaller ones hold little."""
PCIE3_LANE_BYTES_PER_S = 0.985e9
"""One way; every generation doubles it."""


class Peaks:
    """Of one card, in units a second."""

    __slots__ = ("cache_bytes", "matrix_flops_per_s", "memory_bytes_per_s", "multiprocessors", "single_flops_per_s")

    def __init__(
        self, matrix: float, single: float | None, memory: float, multiprocessors: int, cache: float = 0.0
    ) -> None:
        self.matrix_flops_per_s = matrix
        """Dense, in the 16-bit type of the run."""
        self.single_flops_per_s = single
        """fp32 on the CUDA cores, which torch uses unless TF32 is allowed."""
        self.memory_bytes_per_s = memory
        self.multiprocessors = multiprocessors
        self.cache_bytes = cache
        """Large enough to hold a layer's tensors; else 0."""


def peaks(gpu: Gpu, dtype: str) -> Peaks | None:
    """Peaks of `gpu` for products in 16-bit `dtype`; None where the table has no peak or bandwidth for them.

    A card without bf16 units multiplies bf16 on its CUDA cores.
    """
    if gpu.mem_bandwidth_gb_per_s is None or not gpu.sm_count:
        return None
    single = single_flops_per_s(gpu)
    tflops = gpu.fp16_dense_tflops if dtype == "fp16" else gpu.bf16_dense_tflops
    matrix = single if tflops is None else tflops * 1e12
    if matrix is None:
        return None
    memory = gpu.mem_bandwidth_gb_per_s * 1e9 * (INLINE_ECC if has_inline_ecc(gpu) else 1)
    large = gpu.compute_capability in ((8, 9), (12, 0))
    return Peaks(matrix, single, memory, gpu.sm_count, CACHE_BYTES_PER_MULTIPROCESSOR * gpu.sm_count if large else 0.0)


def has_inline_ecc(gpu: Gpu) -> bool:
    """A GDDR6 card that shows 15 / 16 of its memory."""
    if gpu.memory_total_mib is None or gpu.compute_capability not in ((7, 5), (8, 6), (8, 9)):
        return False
    return gpu.memory_total_mib < 0.95 * gpu.memory_gb_marketing * 1024


def single_flops_per_s(gpu: Gpu) -> float | None:
    """fp32 on the CUDA cores: multiprocessors x lanes x 2 x clock, with the clock that the 16-bit peak implies.

    64 lanes a multiprocessor up to compute capability 8.0, 128 above. Cards without matrix units (P100) have half of
    their 16-bit rate. None where the table does not say enough.
    """
    capability, tflops, multiprocessors = gpu.compute_capability, gpu.fp16_dense_tflops, gpu.sm_count
    if not gpu.cuda or capability is None or tflops is None or not multiprocessors:
        return None
    if capability < (7, 0):
        return tflops * 1e12 / 2
    rate = FMA_PER_CLOCK.get(capability)
    if rate is None:
        return None
    clock = tflops * 1e12 / (2 * multiprocessors * rate)
    if clock < HALF_RATE_CLOCK_HZ and rate == FMA_PER_CLOCK[8, 6] and capability > (8, 0):
        clock *= 2
    return 2 * multiprocessors * (64 if capability <= (8, 0) else 128) * clock


def link_bytes_per_s(gpu: Gpu) -> tuple[float, bool] | None:
    """One way between the cards of a machine, and whether it is a fabric (NVLink on board) rather than PCIe.

    Bridges are optional parts and not counted on. None where the table does not say.
    """
    fabric = re.search(r"(?:NVLink\d|Infinity Fabric) ([\d.]+) GB/s", gpu.interconnect)
    if fabric:
        return float(fabric[1]) / 2 * 1e9, True
    pcie = re.search(r"PCIe (\d) x(\d+)", gpu.interconnect)
    if pcie:
        return PCIE3_LANE_BYTES_PER_S * 2 ** (int(pcie[1]) - 3) * int(pcie[2]), False
    return (PCIE3_LANE_BYTES_PER_S * 2 * 16, False) if "bridge" in gpu.interconnect else None
