"""Finds a card by key, alias or the name that nvidia-smi prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

from ..errors import UnknownNameError, VramplanError
from ..gpu import Gpu
from .files import shipped_rows

VENDOR_WORDS = ("nvidia", "geforce", "tesla", "amd", "instinct")
"""May be left out in front of a card's name."""


def gpus() -> Iterator[Gpu]:
    """Every card of the table, in its order."""
    return iter(_gpus())


def find_gpu(name: str) -> Gpu:
    """The card that `name` means, whatever its spelling: `a100-80`, `A100 80GB`, `RTX 4090`, `NVIDIA H100 80GB HBM3`.

    Raises VramplanError for a name that fits cards of several sizes, and for one that fits none.
    """
    wanted = _squash(name)
    exact = next((gpu for gpu in _gpus() if name.casefold() in (gpu.key, gpu.name.casefold())), None)
    if exact is not None:
        return exact
    candidates = [gpu for gpu in _gpus() if wanted in map(_squash, gpu.ambiguous_names)]
    if candidates:
        listed = ", ".join(f"{gpu.key} ({gpu.memory_gb_marketing} GB)" for gpu in candidates)
        raise VramplanError(f"GPU {name!r} comes in several memory sizes; say which, of: {listed}")
    found = next((gpu for gpu in _gpus() if wanted in map(_squash, (gpu.key, *gpu.aliases, gpu.name))), None)
    if found is not None:
        return found
    names = [n for gpu in _gpus() for n in (gpu.key, *gpu.aliases, *gpu.ambiguous_names)]
    raise UnknownNameError("GPU", name, names, hint="`vramplan gpus` lists them")


@cache
def _gpus() -> tuple[Gpu, ...]:
    return tuple(map(_gpu, shipped_rows("gpus.csv")))


def _squash(name: str) -> str:
    """Spelling without meaning taken off: case, separators, vendor in front."""
    words = name.casefold().replace("-", " ").replace("_", " ").split()
    while len(words) > 1 and words[0] in VENDOR_WORDS:
        words = words[1:]
    return "".join(words)


def _gpu(row: Mapping[str, str]) -> Gpu:
    # AMD's rows name an architecture here (gfx942), which is no capability.
    major, _, minor = row["compute_capability"].partition(".") if row["vendor"] == "nvidia" else ("", "", "")
    return Gpu(
        key=row["key"],
        name=row["nvml_name"],
        vendor=row["vendor"],
        architecture=row["architecture"],
        cuda=row["cuda"] == "true",
        memory_gb_marketing=int(row["memory_gb_marketing"]),
        memory_total_mib=_whole(row["memory_total_mib"]),
        compute_capability=(int(major), int(minor)) if major else None,
        sm_count=_whole(row["sm_count"]),
        mem_bandwidth_gb_per_s=_number(row["mem_bandwidth_gb_s"]),
        bf16_dense_tflops=_number(row["bf16_dense_tflops"]),
        fp16_dense_tflops=_number(row["fp16_dense_tflops"]),
        tf32_dense_tflops=_number(row["tf32_dense_tflops"]),
        fp8_dense_tflops=_number(row["fp8_dense_tflops"]),
        tdp_w=_whole(row["tdp_w"]),
        aliases=_names(row["aliases"]),
        ambiguous_names=_names(row["ambiguous_names"]),
        interconnect=row["interconnect"],
        tflops_basis=row["tflops_basis"],
        note=row["note"],
        source=row["source"],
    )


def _names(cell: str) -> tuple[str, ...]:
    return tuple(cell.split(";")) if cell else ()


def _whole(cell: str) -> int | None:
    return int(cell) if cell else None


def _number(cell: str) -> float | None:
    return float(cell) if cell else None
