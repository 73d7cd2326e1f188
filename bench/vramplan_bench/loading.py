"""Weights without a download: a state dict whose tensors are made when the loader asks for them.

`from_pretrained(None, config=..., state_dict=...)` of the concrete class is the real loader: it places one tensor at
a time and quantises it, so the host never holds the model (`AutoModel...` refuses None).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

from vramplan.errors import UnsupportedError

SIGMA = 0.02
"""Standard deviation of random weights."""

MakeTensor = Callable[[tuple[int, ...], torch.dtype], torch.Tensor]

_SAFETENSORS_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}


def random_weights(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Normal values of `SIGMA`; whole numbers are zero."""
    if not dtype.is_floating_point:
        return torch.zeros(shape, dtype=dtype)
    return torch.empty(shape, dtype=dtype).normal_(0.0, SIGMA)


def empty_weights(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Nothing but the shape, for tensors without storage."""
    return torch.empty(shape, dtype=dtype)


class _LazyTensor:
    """Looks like a slice of a safetensors file to transformers' loader (core_model_loading.py)."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, make: MakeTensor) -> None:
        self.shape = shape
        self.dtype = dtype
        self._make = make

    def get_shape(self) -> list[int]:
        return list(self.shape)

    def get_dtype(self) -> str:
        return _SAFETENSORS_NAMES.get(self.dtype, "U8")

    def __getitem__(self, index: Any) -> torch.Tensor:
        return self._make(self.shape, self.dtype)[index]


def lazy_state_dict(model_class: Any, config: Any, dtype: torch.dtype, make: MakeTensor) -> dict[str, _LazyTensor]:
    """What a checkpoint of this model would hold, tied tensors once."""
    with torch.device("meta"):
        skeleton = model_class._from_config(config, dtype=dtype)
    tied = set(getattr(skeleton, "all_tied_weights_keys", {}))
    entries = skeleton.state_dict().items()
    return {
        name: _LazyTensor(tuple(value.shape), dtype if value.is_floating_point() else value.dtype, make)
        for name, value in entries
        if name not in tied
    }


def causal_lm_class(config: Any) -> Any:
    """The concrete class that transformers has for this config."""
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM._model_mapping[type(config)]
    except KeyError as error:
        raise UnsupportedError(f"transformers has no causal language model of type {config.model_type!r}") from error


@contextmanager
def synchronous_loading() -> Iterator[None]:
    """Load in this thread: dispatch modes and the order of allocations belong to one thread."""
    with patch.dict(os.environ, {"HF_DEACTIVATE_ASYNC_LOAD": "1"}):
        yield
