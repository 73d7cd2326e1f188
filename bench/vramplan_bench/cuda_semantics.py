"""Makes code that runs on fake `cpu` tensors take the branches it would take on a GPU.

* `scaled_dot_product_attention` picks the kernel of the card (`choose_kernel`) instead of the CPU's.
* `dropout` is `native_dropout`, whose mask is one byte an element (on the CPU it has the input's type).
* `softmax(half, dtype=float32)` converts inside the kernel (aten/native/SoftMax.cpp), no copy.
* `torch.autocast("cpu")` gets CUDA's list of fp32 operators (aten/src/ATen/autocast_mode.h): softmax, layer_norm, pow ...
* transformers' `is_tracing` stops recognising fake tensors, which would make it build 4-D masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F

from vramplan.recipe import AttentionKernel

_FP32_UNARY = (
    "acos", "asin", "cosh", "erfinv", "exp", "expm1", "log", "log10", "log2", "log1p", "reciprocal", "rsqrt", "sinh",
    "tan", "softplus", "layer_norm", "native_layer_norm", "group_norm", "cosine_similarity", "mse_loss", "nll_loss",
    "nll_loss_nd", "logsumexp", "dist", "renorm",
)  # fmt: skip
_FP32_OVERLOADS = ("pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar", "norm.Scalar")
_FP32_BY_DTYPE = (
    "prod", "prod.dim_int", "softmax.int", "log_softmax.int", "cumprod", "cumsum", "sum", "sum.dim_IntList",
    "linalg_vector_norm",
)  # fmt: skip
_LOW = (torch.float16, torch.bfloat16)


def choose_kernel(
    wanted: AttentionKernel,
    compute_capability: tuple[int, int],
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    has_mask: bool,
) -> str:
    """`flash`, `efficient` or `math`, as aten/native/transformers/cuda/sdp_utils.cpp picks (flash before efficient)."""
    if wanted in ("sdpa-math", "eager"):
        return "math"
    grouped = query.shape[1] != key.shape[1]
    low = query.dtype in _LOW
    equal_heads = query.shape[-1] == value.shape[-1]
    if wanted in ("sdpa", "flash2"):
        ampere = compute_capability >= (8, 0)
        if ampere and low and not has_mask and equal_heads and query.shape[-1] <= 256:
            return "flash"
    aligned = query.shape[-1] % (4 if query.dtype == torch.float32 else 8) == 0
    bf16_without_ampere = query.dtype == torch.bfloat16 and compute_capability < (8, 0)
    if not grouped and aligned and value.shape[-1] % (4 if query.dtype == torch.float32 else 8) == 0:
        if not bf16_without_ampere:
            return "efficient"
    return "math"


def _attention(wanted: AttentionKernel, capability: tuple[int, int]) -> Callable[..., torch.Tensor]:
    def attention(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        if torch.is_autocast_enabled("cpu"):
            low = torch.get_autocast_dtype("cpu")
            query, key, value = query.to(low), key.to(low), value.to(low)
            if attn_mask is not None and attn_mask.is_floating_point():
                attn_mask = attn_mask.to(low)
        kernel = choose_kernel(wanted, capability, query, key, value, attn_mask is not None)
        with torch.autocast("cpu", enabled=False):
            if kernel == "flash":
                return _flash(query, key, value, dropout_p, is_causal, scale)
            if kernel == "efficient":
                return _efficient(query, key, value, attn_mask, dropout_p, is_causal, scale)
            return _math(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)

    return attention


def _flash(q: Any, k: Any, v: Any, dropout: float, causal: bool, scale: float | None) -> torch.Tensor:
    width = q.shape[-1]
    scale = scale if scale is not None else width**-0.5
    if width % 8:
        q, k, v = (F.pad(t, (0, 8 - width % 8)) for t in (q, k, v))
    out = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, dropout, causal, False, scale=scale)[0]
    return out[..., :width] if width % 8 else out


def _efficient(q: Any, k: Any, v: Any, mask: Any, dropout: float, causal: bool, scale: float | None) -> torch.Tensor:
    if mask is not None:
        mask = _additive(mask, q)
        length = mask.shape[-1]
        if length % 16:  # preprocess_mask: rows padded to 16 elements, then sliced
            mask = F.pad(mask, (0, 16 - length % 16))[..., :length]
        mask = mask.expand(q.shape[0], q.shape[1], q.shape[2], k.shape[2])
    needs_sums = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)
    call = torch.ops.aten._scaled_dot_product_efficient_attention
    result: torch.Tensor = call(q, k, v, mask, needs_sums, dropout, causal, scale=scale)[0]
    return result


def _math(
    q: Any, k: Any, v: Any, mask: Any, dropout: float, causal: bool, scale: float | None, grouped: bool
) -> torch.Tensor:
    mask = _additive(mask, q) if mask is not None else None
    call = torch.ops.aten._scaled_dot_product_attention_math
    result: torch.Tensor = call(q, k, v, mask, dropout, causal, None, scale=scale, enable_gqa=grouped)[0]
    return result


def _additive(mask: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """convert_boolean_attn_mask: 0 where allowed, -inf elsewhere, in the type of the query."""
    if mask.dtype != torch.bool:
        return mask
    zero = torch.zeros((), dtype=like.dtype, device=like.device)
    return torch.where(mask, zero, float("-inf"))


def _dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    if not training or p == 0:
        return input
    result: torch.Tensor = torch.native_dropout(input, p, True)[0]
    return result


def _softmax(plain: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def softmax(input: torch.Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> torch.Tensor:
        if input.dtype == torch.float16 and dtype == torch.float32:
            result: torch.Tensor = torch.ops.aten._softmax(input, dim, True)
            return result
        return plain(input, dim=dim, dtype=dtype)

    return softmax


@contextmanager
def _cuda_autocast_list() -> Iterator[None]:
    """Give `AutocastCPU` the fp32 operators of CUDA's list, until the block ends."""
    library = torch.library.Library("aten", "IMPL")
    below = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)

    def to_fp32(value: Any) -> Any:
        return value.float() if isinstance(value, torch.Tensor) and value.dtype in _LOW else value

    def cast_all(op: Any) -> Callable[..., Any]:
        def kernel(*args: Any, **kwargs: Any) -> Any:
            with torch._C._ExcludeDispatchKeyGuard(below):
                return op(*map(to_fp32, args), **{key: to_fp32(value) for key, value in kwargs.items()})

        return kernel

    def set_dtype(op: Any) -> Callable[..., Any]:
        def kernel(*args: Any, **kwargs: Any) -> Any:
            with torch._C._ExcludeDispatchKeyGuard(below):
                first = args[0]
                if first.dtype in _LOW and kwargs.get("dtype") is None and not _positional_dtype(op, args):
                    kwargs["dtype"] = torch.float32
                return op(*args, **kwargs)

        return kernel

    for names, make in ((_FP32_UNARY + _FP32_OVERLOADS, cast_all), (_FP32_BY_DTYPE, set_dtype)):
        for name in names:
            base, _, overload = name.partition(".")
            op = getattr(getattr(torch.ops.aten, base), overload or "default")
            library.impl(name, make(op), "AutocastCPU", allow_override=True)
    try:
        yield
    finally:
        library._destroy()


def _positional_dtype(op: Any, args: tuple[Any, ...]) -> bool:
    names = [argument.name for argument in op._schema.arguments]
    at = names.index("dtype")
    return len(args) > at and args[at] is not None


def _apply(self: Any, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
    """`nn.Module._apply` as it treats real tensors (`param.data = ...`); it would swap fake ones, which fails."""
    if recurse:
        for module in self.children():
            module._apply(fn)
    for parameter in self._parameters.values():
        if parameter is not None:
            with torch.no_grad():
                applied = fn(parameter)
            if applied is not parameter:
                parameter.data = applied
    for name, buffer in self._buffers.items():
        if buffer is not None:
            self._buffers[name] = fn(buffer)
    return self


@contextmanager
def cuda_semantics(attention: AttentionKernel, compute_capability: tuple[int, int]) -> Iterator[None]:
    """Everything above, for the duration of the block."""
    import transformers.integrations.sdpa_attention as sdpa
    import transformers.utils.import_utils as import_utils

    with ExitStack() as stack:
        stack.enter_context(patch.object(F, "scaled_dot_product_attention", _attention(attention, compute_capability)))
        stack.enter_context(patch.object(F, "dropout", _dropout))
        stack.enter_context(patch.object(F, "softmax", _softmax(F.softmax)))
        stack.enter_context(patch.object(import_utils, "is_fake_tensor", lambda _: False))
        if attention == "sdpa-mem-efficient":  # this kernel takes no grouped heads: keys and values are expanded
            stack.enter_context(patch.object(sdpa, "use_gqa_in_sdpa", lambda *_: False))
        stack.enter_context(patch.object(torch.nn.Module, "_apply", _apply))
        stack.enter_context(_cuda_autocast_list())
        yield
