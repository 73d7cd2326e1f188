"""Gives `torch.autocast("cpu")` CUDA's list of fp32 operators (aten/src/ATen/autocast_mode.h).

Both lists run matrix products in the low type; CUDA's also lifts softmax, layer_norm, pow, exp and the like to fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

_FP32 = (
    "acos", "asin", "cosh", "erfinv", "exp", "expm1", "log", "log10", "log2", "log1p", "reciprocal", "rsqrt", "sinh",
    "tan", "softplus", "layer_norm", "native_layer_norm", "group_norm", "cosine_similarity", "mse_loss", "nll_loss",
    "nll_loss_nd", "logsumexp", "dist", "renorm", "pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar",
    "norm.Scalar",
)  # fmt: skip
_FP32_BY_DTYPE = (
    "prod", "prod.dim_int", "softmax.int", "log_softmax.int", "cumprod", "cumsum", "sum", "sum.dim_IntList",
    "linalg_vector_norm",
)  # fmt: skip
_LOW = (torch.float16, torch.bfloat16)
_BELOW = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)


@contextmanager
def cuda_autocast_list() -> Iterator[None]:
    """CUDA's list on the CPU until the block ends, and the CPU's state for those who ask for CUDA's."""
    library = torch.library.Library("aten", "IMPL")
    asked = torch.is_autocast_enabled
    # libraries ask without a device and mean CUDA (peft/tuners/lora/bnb.py)
    torch.is_autocast_enabled = lambda device_type="cpu": asked(device_type)
    try:
        for names, make in ((_FP32, _cast_all), (_FP32_BY_DTYPE, _set_dtype)):
            for name in names:
                base, _, overload = name.partition(".")
                op = getattr(getattr(torch.ops.aten, base), overload or "default")
                library.impl(name, make(op), "AutocastCPU", allow_override=True)
        yield
    finally:
        torch.is_autocast_enabled = asked
        library._destroy()


def _to_fp32(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.dtype in _LOW else value


def _cast_all(op: Any) -> Callable[..., Any]:
    def kernel(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(_BELOW):
            return op(*map(_to_fp32, args), **{key: _to_fp32(value) for key, value in kwargs.items()})

    return kernel


def _set_dtype(op: Any) -> Callable[..., Any]:
    names = [argument.name for argument in op._schema.arguments]
    position = names.index("dtype")

    def kernel(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(_BELOW):
            given = args[position] if len(args) > position else kwargs.get("dtype")
            if args[0].dtype in _LOW and given is None:
                kwargs["dtype"] = torch.float32
            return op(*args, **kwargs)

    return kernel
