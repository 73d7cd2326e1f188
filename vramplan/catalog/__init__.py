"""Finds models, GPUs and prices by name: strict about meaning, forgiving of spelling, with suggestions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .given import as_gpu, as_model, as_stack
from .gpu_table import find_gpu, gpus
from .model_table import ModelEntry, aliases, find_config, find_model, models
from .profile_files import NO_PROFILE, find_profile, profile_for, profiles
from .stacks import find_stack, stack_tops, stacks

if TYPE_CHECKING:
    from ..price import Price

__all__ = [
    "NO_PROFILE",
    "ModelEntry",
    "aliases",
    "as_gpu",
    "as_model",
    "as_stack",
    "find_config",
    "find_gpu",
    "find_model",
    "find_profile",
    "find_stack",
    "gpus",
    "models",
    "prices",
    "profile_for",
    "profiles",
    "stack_tops",
    "stacks",
]


def prices(gpu_key: str | None = None, file: str | None = None) -> Iterator[Price]:
    """Every price of the table, or those of one card; behind them those of `file`, else of the user's own file."""
    from .price_table import read_prices  # decimal and datetime: 4 ms that not every command needs

    return read_prices(gpu_key, file)
