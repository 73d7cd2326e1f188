"""Which attention the model is built with, and the kernel that a GPU would run for it.

`flash2` stands for the package flash-attn, which builds only with CUDA: the attention function registered here calls
PyTorch's own copy of the same kernels, gives no mask (a window is an argument of the kernel) and casts fp32 as
transformers/modeling_flash_attention_utils.py does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from vramplan.errors import UnsupportedError
from vramplan.recipe import AttentionKernel

LOW = (torch.float16, torch.bfloat16)
FLASH2 = "vramplan_fa2"  # a name with "flash" in it would make transformers look for the package


def implementation_name(attention: AttentionKernel, model_class: Any) -> str:
    """transformers' `attn_implementation` for a recipe's kernel; a class without sdpa gets eager, as by default."""
    if attention == "flash2":
        if not getattr(model_class, "_supports_attention_backend", False):
            raise UnsupportedError(
                f"the rig cannot build flash2: {model_class.__name__} has attention classes of its own"
            )
        _register_flash2()
        return FLASH2
    return "sdpa" if attention != "eager" and model_class._supports_sdpa else "eager"


def _register_flash2() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import flash_attention_mask

    AttentionInterface.register(FLASH2, _flash2)
    AttentionMaskInterface.register(FLASH2, flash_attention_mask)


def _flash2(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **options: Any
) -> tuple[torch.Tensor, None]:
    dtype, kind = query.dtype, query.device.type
    if dtype == torch.float32:
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        low = autocast or getattr(module.config, "dtype", torch.bfloat16)
        query, key, value = query.to(low), key.to(low), value.to(low)
    with torch.autocast(kind, enabled=False):
        width = value.shape[-1]
        if width < query.shape[-1]:  # latent attention (modeling_deepseek_v3.py); padding by nothing would copy
            value = F.pad(value, (0, query.shape[-1] - width))
        out = flash(query, key, value, options.get("dropout", 0.0), True, options.get("scaling"))[..., :width]
    return out.transpose(1, 2).contiguous(), None


def choose_kernel(
    wanted: AttentionKernel,
    compute_capability: tuple[int, int],
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    has_mask: bool,
) -> str:
    """`flash`, `efficient` or `math`, as aten/native/transformers/cuda/sdp_utils.cpp picks (flash before efficient)."""
    if wanted == "sdpa-math":
        return "math"
    ampere = compute_capability >= (8, 0)
    low = query.dtype in LOW
    width, value_width = query.shape[-1], value.shape[-1]
    if wanted == "sdpa" and ampere and low and not has_mask and width == value_width <= 256:
        return "flash"
    aligned = width % (8 if low else 4) == 0 and value_width % (8 if low else 4) == 0
    grouped = query.shape[1] != key.shape[1]
    if aligned and not grouped and (ampere or query.dtype != torch.bfloat16):
        return "efficient"
    return "math"


def routed_attention(wanted: AttentionKernel, capability: tuple[int, int]) -> Callable[..., torch.Tensor]:
    """`scaled_dot_product_attention` that runs the kernel of a card of this compute capability."""

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
                return flash(query, key, value, dropout_p, is_causal, scale)
            if kernel == "efficient":
                return efficient(query, key, value, attn_mask, dropout_p, is_causal, scale)
            return math(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)

    return attention


def flash(q: Any, k: Any, v: Any, dropout: float, causal: bool, scale: float | None) -> torch.Tensor:
    """aten/native/transformers/attention.cpp: heads padded to a multiple of 8."""
    width = q.shape[-1]
    scale = scale if scale is not None else width**-0.5
    if width % 8:
        q, k, v = (F.pad(t, (0, 8 - width % 8)) for t in (q, k, v))
    out = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, dropout, causal, False, scale=scale)[0]
    return out[..., :width] if width % 8 else out


def efficient(q: Any, k: Any, v: Any, mask: Any, dropout: float, causal: bool, scale: float | None) -> torch.Tensor:
    """As above; `preprocess_mask` pads the rows of a mask to 16 elements and slices them again."""
    if mask is not None:
        mask = _additive(mask, q)
        length = mask.shape[-1]
        if length % 16:
            mask = F.pad(mask, (0, 16 - length % 16))[..., :length]
        mask = mask.expand(q.shape[0], q.shape[1], q.shape[2], k.shape[2])
    needs_sums = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)
    call = torch.ops.aten._scaled_dot_product_efficient_attention
    result: torch.Tensor = call(q, k, v, mask, needs_sums, dropout, causal, scale=scale)[0]
    return result


def math(
    q: Any, k: Any, v: Any, mask: Any, dropout: float, causal: bool, scale: float | None, grouped: bool
) -> torch.Tensor:
    """The composite of matrix products and softmax."""
    mask = _additive(mask, q) if mask is not None else None
    if dropout:
        return _math_with_dropout(q, k, v, mask, dropout, causal, scale)
    call = torch.ops.aten._scaled_dot_product_attention_math
    result: torch.Tensor = call(q, k, v, mask, dropout, causal, None, scale=scale, enable_gqa=grouped)[0]
    return result


def _math_with_dropout(
    q: Any, k: Any, v: Any, mask: Any, dropout: float, causal: bool, scale: float | None
) -> torch.Tensor:
    """aten/native/transformers/attention.cpp, _scaled_dot_product_attention_math, with the dropout of a GPU: a mask of
    one byte an entry, where the CPU's has the dtype of the weights."""
    groups = q.shape[1] // k.shape[1]
    if groups > 1:
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    root = (scale if scale is not None else q.shape[-1] ** -0.5) ** 0.5
    if causal:
        allowed = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
        mask = _additive(allowed, q)
    scores = torch.matmul(q * root, k.transpose(-2, -1) * root)
    weights = torch.softmax(scores if mask is None else scores.add_(mask), dim=-1)
    result: torch.Tensor = torch.matmul(torch.native_dropout(weights, dropout, True)[0], v)
    return result


def _additive(mask: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """convert_boolean_attn_mask: 0 where allowed, -inf elsewhere, in the type of the query."""
    if mask.dtype != torch.bool:
        return mask
    zero = torch.zeros((), dtype=like.dtype, device=like.device)
    return torch.where(mask, zero, float("-inf"))
