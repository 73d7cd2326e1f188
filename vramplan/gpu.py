"""On what it is trained: one card, with the figures the planner needs."""

from __future__ import annotations

from dataclasses import dataclass

from .units import MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU model. Peaks are dense figures of the data sheet; None = not known or not there."""

    key: str
    name: str
    vendor: str
    architecture: str
    cuda: bool
    memory_gb_marketing: int
    memory_total_mib: int | None
    """`memory.total` of nvidia-smi; None = not known."""
    compute_capability: tuple[int, int] | None
    sm_count: int | None
    mem_bandwidth_gb_per_s: float | None
    bf16_dense_tflops: float | None
    fp16_dense_tflops: float | None
    tf32_dense_tflops: float | None
    fp8_dense_tflops: float | None
    tdp_w: int | None
    aliases: tuple[str, ...] = ()
    ambiguous_names: tuple[str, ...] = ()
    """Names it shares with cards of another memory size: too little to choose by."""
    interconnect: str = ""
    tflops_basis: str = ""
    note: str = ""
    source: str = ""

    @property
    def capacity_bytes(self) -> int:
        """What nvidia-smi shows as the card's total; the marketing size (as GiB) where that is not known."""
        if self.memory_total_mib is not None:
            return self.memory_total_mib * MIB
        return self.memory_gb_marketing * 1024 * MIB

    @property
    def has_bf16(self) -> bool:
        """Matrix units multiply bf16 (Ampere and later)."""
        return self.bf16_dense_tflops is not None

    @property
    def has_flash(self) -> bool:
        """PyTorch's and Dao's flash attention 2 need sm80 or later (aten/native/transformers/cuda/sdp_utils.cpp)."""
        return self.cuda and self.compute_capability is not None and self.compute_capability >= (8, 0)
