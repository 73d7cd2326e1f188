"""bitsandbytes' CUDA path of LLM.int8, expanded into the tensors that it takes, and parameters that can be fake.

Which columns of the input hold outliers is not known without values: there are none here. On a GPU each costs two bytes
a token and matrix.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

import torch


class FakeInt8Params:
    """Stands in for `bitsandbytes.nn.Int8Params`, which cannot subclass a fake tensor."""

    def __new__(
        cls,
        data: torch.Tensor,
        requires_grad: bool = False,
        has_fp16_weights: bool = False,
        CB: torch.Tensor | None = None,
        SCB: torch.Tensor | None = None,
        **_: Any,
    ) -> Any:
        parameter: Any = torch.nn.Parameter(data, requires_grad=False)
        parameter.has_fp16_weights = has_fp16_weights
        parameter.CB, parameter.SCB = CB, SCB
        if data.is_floating_point():
            parameter.to = functools.partial(_quantize, parameter)
        return parameter


def _quantize(parameter: Any, device: Any = None, *_: Any, **__: Any) -> Any:
    """`Int8Params._quantize` through bitsandbytes' own `int8_vectorwise_quant`."""
    import bitsandbytes.functional as functional

    del parameter.to
    packed, scales, _outliers = functional.int8_vectorwise_quant(parameter.data.contiguous().to(device, torch.float16))
    quantized: Any = torch.nn.Parameter(packed, requires_grad=False)
    quantized.has_fp16_weights = False
    quantized.CB, quantized.SCB = packed, scales
    return quantized


@contextmanager
def int8_as_on_cuda() -> Iterator[None]:
    """The autograd function of a GPU: on a CPU `matmul` trains by another (bitsandbytes/autograd/_functions.py)."""
    if find_spec("bitsandbytes") is None:
        yield
        return
    from bitsandbytes.autograd import _functions

    with patch.object(_functions, "MatMul8bitFp", _functions.MatMul8bitLt):
        yield


def int8_expansions() -> Mapping[Any, Callable[..., Any]]:
    """What the operators do on CUDA (bitsandbytes/backends/cuda/ops.py, backends/default/ops.py)."""
    ops = torch.ops.bitsandbytes
    return {ops.int8_vectorwise_quant.default: _vectorwise_quant, ops.int8_mixed_scaled_mm.default: _mixed_scaled_mm}


def _vectorwise_quant(
    a: torch.Tensor, threshold: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    scales = torch.empty(a.numel() // a.shape[-1], dtype=torch.float32, device=a.device)
    rows = torch.empty(a.shape, dtype=torch.int8, device=a.device)
    if threshold == 0.0:
        return rows, scales, None
    outliers = a.abs() >= threshold
    columns = torch.empty(0, dtype=torch.int64, device=a.device)
    del outliers
    return rows, scales, columns


def _mixed_scaled_mm(
    a: torch.Tensor,
    quantized: torch.Tensor,
    weight: torch.Tensor,
    row_scales: torch.Tensor,
    column_scales: torch.Tensor,
    outliers: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    none = torch.empty(0, dtype=a.dtype, device=a.device)
    product = torch.empty((*quantized.shape[:-1], weight.shape[0]), dtype=torch.int32, device=a.device)
    half = torch.empty_like(product, dtype=torch.float16)
    if bias is not None and bias.dtype != torch.float16:
        half = half.add_(bias)
    return half.to(a.dtype), none
