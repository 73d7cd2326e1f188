"""Cards of the catalogue."""

from __future__ import annotations

from vramplan.gpu import Gpu

from .catalogue import Detail, Listing
from .document import gpu_document
from .figures import gib
from .sheet import Column


def _cells(gpu: Gpu) -> tuple[str, ...]:
    tflops = gpu.bf16_dense_tflops or gpu.fp16_dense_tflops
    bandwidth = gpu.mem_bandwidth_gb_per_s
    return (
        gpu.key,
        gpu.name,
        gib(gpu.capacity_bytes),
        "-" if bandwidth is None else f"{bandwidth:,.0f}",
        "-" if tflops is None else f"{tflops:,.0f}",
        "yes" if gpu.has_bf16 else "no",
    )


LISTING = Listing(
    name="gpus",
    columns=(
        Column("gpu", whole=True), Column("name"), Column("GiB", "right"), Column("GB/s", "right"),
        Column("TFLOPS", "right"), Column("bf16"),
    ),
    cells=_cells,
    record=gpu_document,
    hint="TFLOPS dense, of 16-bit types. --show GPU tells all of one.",
)  # fmt: skip

DETAIL = Detail(name="gpu", title=lambda gpu: f"{gpu.key}: {gpu.name}", record=gpu_document)
