"""Data files of a fine-tune: how many tokens, how long, how much padding. Reads a stream; needs no pandas."""

from __future__ import annotations

from .epoch import PACKINGS, Epoch, Inspection, Packing, epoch, inspect_data
from .files import BadLine
from .inspect import DataFile, read_data
from .lengths import Lengths

__all__ = [
    "PACKINGS",
    "BadLine",
    "DataFile",
    "Epoch",
    "Inspection",
    "Lengths",
    "Packing",
    "epoch",
    "inspect_data",
    "read_data",
]
