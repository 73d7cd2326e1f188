"""Cards side by side, as arrays: what tells them apart for memory and for time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ..estimator.tiers import context_bytes, edge_range
from ..speed import Efficiencies, Peaks, efficiencies, peaks
from ..speed.card import link_bytes_per_s

if TYPE_CHECKING:
    from ..gpu import Gpu
    from ..profile import Profile


def kind_of(gpu: Gpu) -> tuple[bool, bool, bool]:
    """All of a card that its step's tensors depend on: bf16 units, flash attention, Hopper's larger workspaces."""
    capability = gpu.compute_capability
    return gpu.has_bf16, gpu.has_flash, capability is not None and capability[0] == 9


class Cards:
    """Cards of one kind. Arrays have a row for each card and one column."""

    def __init__(self, members: Iterable[tuple[Gpu, Profile | None]], dtype: str) -> None:
        import numpy as np

        known = [(gpu, profile, found) for gpu, profile in members if (found := peaks(gpu, dtype)) is not None]
        self.gpus = [gpu for gpu, _, _ in known]
        self.profiles = [profile for _, profile, _ in known]

        def column(values: Iterable[Any]) -> Any:
            return np.array(list(values))[:, None]

        self.capacity = column(gpu.capacity_bytes for gpu in self.gpus)
        self.edge = column(edge_range(profile)[1] for profile in self.profiles)
        self.context = column(context_bytes(gpu, profile)[1][1] for gpu, profile, _ in known)
        self.peaks = Peaks(
            column(found.matrix_flops_per_s for *_, found in known),
            column(found.single_flops_per_s or found.matrix_flops_per_s for *_, found in known),
            column(found.memory_bytes_per_s for *_, found in known),
            column(found.multiprocessors for *_, found in known),
            column(found.cache_bytes for *_, found in known),
        )
        shares = [efficiencies(gpu, profile) for gpu, profile, _ in known]
        self.efficiencies = Efficiencies(
            **{field.name: column(getattr(share, field.name) for share in shares) for field in fields(Efficiencies)}
        )
        links = [link_bytes_per_s(gpu) for gpu in self.gpus]
        self.link_rate = column(link[0] if link else np.nan for link in links)
        self.link_is_fabric = column(bool(link and link[1]) for link in links)

    def __len__(self) -> int:
        return len(self.gpus)
