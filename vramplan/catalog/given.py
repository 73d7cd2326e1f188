"""A model, card or stack as a caller gives it: the thing itself, or a name that the catalogue finds."""

from __future__ import annotations

from os import PathLike, fspath
from typing import overload

from ..gpu import Gpu
from ..model import Model
from ..stack import Stack
from .gpu_table import find_gpu
from .model_table import find_model
from .stacks import find_stack


def as_model(model: Model | str | PathLike[str], *, online: bool = False) -> Model:
    """`model`, or the one of that name or config.json. Raises VramplanError."""
    return model if isinstance(model, Model) else find_model(fspath(model), online=online)


@overload
def as_gpu(gpu: None) -> None: ...


@overload
def as_gpu(gpu: Gpu | str) -> Gpu: ...


def as_gpu(gpu: Gpu | str | None) -> Gpu | None:
    """`gpu`, or the one of that key or name; None stays None. Raises VramplanError."""
    return find_gpu(gpu) if isinstance(gpu, str) else gpu


def as_stack(stack: Stack | str) -> Stack:
    """`stack`, or the one of that name. Raises UnknownNameError."""
    return find_stack(stack) if isinstance(stack, str) else stack
