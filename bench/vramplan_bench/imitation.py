"""What a CUDA card does beyond what fake tensors show: expanded operators, inner buffers, workspaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch

from vramplan.gpu import Gpu

from .bnb4bit import GemmExpansion
from .bnb8bit import int8_expansions
from .kernels import cublas_workspace_bytes, inner_bytes

_MATRIX_PRODUCTS = frozenset(
    f"aten::{name}"
    for name in ("mm", "addmm", "bmm", "baddbmm", "linear", "mm.out", "addmm.out", "_grouped_mm", "matmul")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The card that a dry run imitates."""

    compute_capability: tuple[int, int] = (8, 0)
    multiprocessors: int = 108


A100 = Card()
H100 = Card(compute_capability=(9, 0), multiprocessors=132)
T4 = Card(compute_capability=(7, 5), multiprocessors=40)


def card_of(gpu: Gpu | None) -> Card:
    """The card of the catalogue; A100 where none was named or its capability is not known."""
    if gpu is None or gpu.compute_capability is None:
        return A100
    return Card(compute_capability=gpu.compute_capability, multiprocessors=gpu.sm_count or A100.multiprocessors)


class CudaImitation:
    """Tells the tracker what kernels of `card` take (`tracker.Imitation`)."""

    def __init__(self, card: Card) -> None:
        self._workspace_bytes = cublas_workspace_bytes(card.compute_capability)
        self._has_workspace: set[bool] = set()
        self._expansions: dict[Any, Any] = {
            torch.ops.aten.index.Tensor: _index_by_full_mask,
            torch.ops.aten.nonzero.default: _nonzero_of_full_mask,
            torch.ops.aten._grouped_mm.default: _grouped_product,
        }
        if find_spec("bitsandbytes") is not None:
            import bitsandbytes  # noqa: F401  (registers its operators)

            gemm = GemmExpansion(card.compute_capability, card.multiprocessors)
            self._expansions[torch.ops.bitsandbytes.gemm_4bit.default] = gemm
            self._expansions.update(int8_expansions())

    @property
    def expansions(self) -> Mapping[Any, Any]:
        return self._expansions

    def inner_bytes(self, name: str, args: tuple[Any, ...]) -> tuple[int, ...]:
        return inner_bytes(name, args)

    def lasting_bytes(self, name: str, in_backward: bool) -> tuple[int, ...]:
        """A cuBLAS workspace at the first product of the forward thread and of autograd's device thread."""
        if name not in _MATRIX_PRODUCTS or in_backward in self._has_workspace:
            return ()
        self._has_workspace.add(in_backward)
        return (self._workspace_bytes,)


def _index_by_full_mask(source: torch.Tensor, indices: list[Any]) -> Any:
    """`source[mask]` where every element of the mask is set: how many there are is not known without storage."""
    if len(indices) != 1 or indices[0] is None or indices[0].dtype != torch.bool:
        return NotImplemented
    positions = torch.nonzero(indices[0])
    rest = source.shape[indices[0].dim() :]
    return torch.empty((positions.shape[0], *rest), dtype=source.dtype, device=source.device)


def _grouped_product(a: torch.Tensor, b: torch.Tensor, offsets: Any = None, bias: Any = None, dtype: Any = None) -> Any:
    """Fake tensors refuse all but bf16; a card multiplies group by group into the output (aten/native/GroupedMMUtils.h,
    _grouped_mm_fallback)."""
    if a.dtype == torch.bfloat16:
        return NotImplemented
    shape = (offsets.shape[0], a.shape[0], b.shape[1]) if a.dim() == b.dim() == 2 else (*a.shape[:-1], b.shape[-1])
    return torch.empty(shape, dtype=dtype or a.dtype, device=a.device)


def _nonzero_of_full_mask(mask: torch.Tensor) -> torch.Tensor:
    return torch.empty((mask.numel(), mask.dim()), dtype=torch.int64, device=mask.device)
