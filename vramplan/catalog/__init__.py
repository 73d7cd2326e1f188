"""Finds models, GPUs and prices by name: strict about meaning, forgiving of spelling, with suggestions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .gpu_table import find_gpu, gpus
from .model_table import ModelEntry, aliases, find_config, find_model, models
from .stacks import find_stack, stack_tops, stacks

if TYPE_CHECKING:
    from ..price import Price

__all__ = [
    "ModelEntry",
    "aliases",
    "find_config",
    "find_gpu",
    "find_model",
    "find_stack",
    "gpus",
    "models",
    "prices",
    "stack_tops",
    "stacks",
]


def prices() -> Iterator[Price]:
    """Every price of the table, in its order."""
    from .price_table import read_prices  # decimal and datetime: 4 ms that an estimate does not need

    return read_prices()
