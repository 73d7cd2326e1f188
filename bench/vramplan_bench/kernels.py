"""What a CUDA kernel takes from the allocator inside one operator, which no fake kernel shows.

Per operator a function of its arguments that returns sizes in bytes; the tracker holds them while the operator runs.
Sources are paths in the PyTorch repository (v2.13), read for each rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_ROWS_PER_THREAD = 10
_WARP = 32
_SMALL_EMBEDDING_INDICES = 3072


def inner_bytes(name: str, args: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes of the buffers that the CUDA kernel of `name` holds while it runs."""
    rule = _RULES.get(name)
    return rule(args) if rule is not None else ()


def _softmax_backward(args: tuple[Any, ...]) -> tuple[int, ...]:
    """aten/native/cuda/SoftMax.cu, softmax_backward_cuda_out: `Tensor tmp = grad * output`."""
    grad = args[0]
    return (grad.numel() * grad.element_size(),)


def _embedding_backward(args: tuple[Any, ...]) -> tuple[int, ...]:
    """aten/native/cuda/Embedding.cu: few indices use one kernel; many are sorted and summed by segment."""
    grad, indices, _, _, scale_by_frequency = args[:5]
    count = indices.numel()
    if count <= _SMALL_EMBEDDING_INDICES and not scale_by_frequency:
        return ()
    width = grad.shape[-1]
    stride = -(-width // _WARP) * _WARP
    partials = -(-count // _ROWS_PER_THREAD) + count  # at most one more for each distinct index
    index_bytes = indices.element_size()
    return (
        count * index_bytes,
        count * index_bytes,
        count * index_bytes,
        partials * index_bytes,
        partials * stride * 4,
    )


def _flash_backward(args: tuple[Any, ...]) -> tuple[int, ...]:
    """aten/native/transformers/cuda/flash_attn/flash_api.cpp, mha_bwd: fp32 dq, row sums, un-summed GQA dk and dv."""
    query, key = args[1], args[2]
    batch, heads, length, width = query.shape
    key_heads, key_length = key.shape[1], key.shape[2]
    rounded = -(-length // 128) * 128
    width_rounded = -(-width // 32) * 32 if width <= 128 else -(-width // 64) * 64
    sizes = [batch * heads * rounded * 4, batch * rounded * heads * width_rounded * 4]
    if heads != key_heads:
        sizes += [batch * key_length * heads * width * query.element_size()] * 2
    return tuple(sizes)


def _efficient_forward(args: tuple[Any, ...]) -> tuple[int, ...]:
    """aten/native/transformers/cuda/attention.cu, _efficient_attention_forward: fp32 accumulator outside registers.

    `kNeedsOutputAccumulatorBuffer`: the value head is wider than the 128 that stays in registers, and out is not fp32.
    """
    query, value = args[0], args[2]
    if value.shape[-1] <= 128 or query.dtype == torch.float32:
        return ()
    batch, heads, length, _ = query.shape
    return (batch * heads * length * value.shape[-1] * 4,)


def _efficient_backward(args: tuple[Any, ...]) -> tuple[int, ...]:
    """aten/native/transformers/cuda/attention_backward.cu: row sums (fp32) and the gradient accumulators' workspace.

    mem_eff_attention/kernel_backward.h (in torch/include), Params::workspace_elements_gq, _gk, _gv: the gradient of
    all queries, and, where a head is too wide for registers, a block of 64 keys for each of the parts that the keys
    are split into, at most 200 over all heads.
    """
    query, key = args[1], args[2]
    batch, heads, length, width = query.shape
    rows = batch * heads
    sizes = [rows * length * 4]
    if query.dtype != torch.float32:
        workspace = rows * (-(-length // 64) * 64) * (-(-width // 4) * 4)
        if width > 128:
            parts = max(1, min(-(-key.shape[2] // 64), 200 // rows))
            workspace += 2 * rows * parts * 64 * (-(-width // 128) * 128)
        sizes.append(workspace * 4)
    return tuple(sizes)


_RULES: dict[str, Callable[[tuple[Any, ...]], tuple[int, ...]]] = {
    "aten::_softmax_backward_data": _softmax_backward,
    "aten::embedding_dense_backward": _embedding_backward,
    "aten::_scaled_dot_product_flash_attention_backward": _flash_backward,
    "aten::_scaled_dot_product_efficient_attention": _efficient_forward,
    "aten::_scaled_dot_product_efficient_attention_backward": _efficient_backward,
}


def cublas_workspace_bytes(compute_capability: tuple[int, int]) -> int:
    """One cuBLAS workspace: 32 MiB on Hopper, else 4096 KiB x 2 + 16 KiB x 8 = 8.125 MiB.

    aten/cuda/CublasHandlePool.cpp, parseChosenWorkspaceSize; one per handle and stream, so one for the forward
    thread and one for the engine's backward thread.
    """
    return 32 * 2**20 if compute_capability[0] == 9 else 4096 * 1024 * 2 + 16 * 1024 * 8
