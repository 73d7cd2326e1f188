"""bitsandbytes' CUDA path of the 4-bit product, expanded into the tensors that it takes.

`bitsandbytes::gemm_4bit` (0.50) is one operator: on CUDA it either runs one fused kernel or dequantises the whole
matrix and calls `F.linear` (bitsandbytes/backends/cuda/ops.py). The choice depends on card and shape; the very
function of the installed version is used, taken from its source because that module imports only on a CUDA build.
"""

from __future__ import annotations

import ast
import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from .bnb8bit import FakeInt8Params

_FUSED_MAX_ROWS = 1536


class GemmExpansion:
    """What `gemm_4bit` does on a card of this compute capability and number of multiprocessors."""

    def __init__(self, compute_capability: tuple[int, int], multiprocessors: int) -> None:
        self._fused = _installed_choice(multiprocessors, *compute_capability)

    def uses_fused_kernel(self, dtype: torch.dtype, m: int, n: int, k: int, blocksize: int) -> bool:
        """The rule in bitsandbytes/backends/cuda/ops.py, kernel of `gemm_4bit`."""
        return m <= _FUSED_MAX_ROWS and k % blocksize == 0 and self._fused(dtype, m, n, k)

    def __call__(
        self,
        a: torch.Tensor,
        b: torch.Tensor,
        shape: Sequence[int],
        absmax: torch.Tensor,
        blocksize: int,
        quant_type: str,
        bias: torch.Tensor | None = None,
        absmax_8bit: torch.Tensor | None = None,
        absmax_code: torch.Tensor | None = None,
        absmax_offset: torch.Tensor | None = None,
    ) -> Any:
        k = a.shape[-1]
        if self.uses_fused_kernel(a.dtype, a.numel() // k, shape[0], k, blocksize):
            return NotImplemented
        if absmax_8bit is not None:
            restored = torch.empty_like(absmax_8bit, dtype=torch.float32)
            absmax = restored + absmax_offset  # as large, and held beside it until the product is done
        weight = torch.empty(tuple(shape), dtype=a.dtype, device=a.device)
        product = torch.nn.functional.linear(a, weight, bias)
        del absmax
        return product


class _FakeParams4bit:
    """Stands in for `bitsandbytes.nn.Params4bit`, which cannot subclass a fake tensor."""

    def __new__(
        cls,
        data: torch.Tensor,
        requires_grad: bool = False,
        quant_state: Any = None,
        blocksize: int | None = None,
        compress_statistics: bool = True,
        quant_type: str = "fp4",
        quant_storage: torch.dtype = torch.uint8,
        module: Any = None,
        bnb_quantized: bool = False,
        **_: Any,
    ) -> Any:
        parameter: Any = torch.nn.Parameter(data, requires_grad=False)
        parameter.quant_state = quant_state
        parameter.blocksize = blocksize or 64
        parameter.compress_statistics = compress_statistics
        parameter.quant_type = quant_type
        parameter.quant_storage = quant_storage
        parameter.bnb_quantized = bnb_quantized
        parameter.module = module
        if not bnb_quantized:
            parameter.to = functools.partial(_quantize, parameter)
        return parameter


def _quantize(parameter: Any, device: Any = None, *_: Any, **__: Any) -> Any:
    """`Params4bit._quantize` through bitsandbytes' own `quantize_4bit`."""
    import bitsandbytes.functional as functional

    del parameter.to
    weight = parameter.data.contiguous().to(device)
    packed, state = functional.quantize_4bit(
        weight,
        blocksize=parameter.blocksize,
        compress_statistics=parameter.compress_statistics,
        quant_type=parameter.quant_type,
        quant_storage=parameter.quant_storage,
    )
    parameter.data = packed
    parameter.quant_state = state
    parameter.bnb_quantized = True
    if parameter.module is not None:
        parameter.module.quant_state = state
    return parameter


@contextmanager
def fake_bitsandbytes() -> Iterator[None]:
    """4-bit and 8-bit modules made inside the block hold fake parameters; without bitsandbytes nothing happens."""
    if find_spec("bitsandbytes") is None:
        yield
        return
    import bitsandbytes as bnb
    import bitsandbytes.functional as functional

    with (
        patch.object(bnb.nn, "Params4bit", _FakeParams4bit),
        patch.object(bnb.nn.modules, "Params4bit", _FakeParams4bit),
        patch.object(bnb.nn, "Int8Params", FakeInt8Params),
        patch.object(bnb.nn.modules, "Int8Params", FakeInt8Params),
        # the table of 8-bit codes is kept for the life of the process: fake ones must not stay behind
        patch.dict(functional.name2qmap, {}, clear=True),
    ):
        yield


def _installed_choice(multiprocessors: int, major: int, minor: int) -> Callable[[torch.dtype, int, int, int], bool]:
    """`_gemm_4bit_use_custom_cuda` of the installed bitsandbytes; versions without it never fuse in training."""
    spec = find_spec("bitsandbytes")
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin).parent / "backends" / "cuda" / "ops.py"
    tree = ast.parse(path.read_text())
    wanted = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "_gemm_4bit_use_custom_cuda"
    ]
    if not wanted:
        return lambda dtype, m, n, k: False
    wanted[0].decorator_list = []
    scope: dict[str, Any] = {
        "torch": torch,
        "warn": warnings.warn,
        "functools": functools,
        "_GEMM_4BIT_CUSTOM_FLOOR_M": 4,
        "_gpu_dispatch_props": lambda _: (multiprocessors, major, minor),
    }
    exec(compile(ast.Module(body=list(wanted), type_ignores=[]), str(path), "exec"), scope)
    choose = scope["_gemm_4bit_use_custom_cuda"]
    return lambda dtype, m, n, k: bool(choose(0, dtype, m, n, k))
