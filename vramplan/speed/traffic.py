"""Bytes that are moved beside the products: by the optimizer, by dequantisation, between cards."""

from __future__ import annotations

from typing import Any

from ..recipe import BYTES_PER_ELEMENT
from ..step.setting import Setting
from ..step.weights import NF4_BLOCK, Part, quantized, trainable, unquantized

GROUP = 50
"""Tensors that a foreach kernel takes at once, about (aten/native/cuda/MultiTensorApply.cuh, depth_to_max_tensors)."""
TORCH_ACCESSES: dict[str, tuple[int, int]] = {
    "adamw": (21, 8),
    "adamw_fused": (7, 1),
    "sgd": (3, 1),
    "sgd_momentum": (6, 2),
}
"""torch.optim -> reads and writes of an element (parameter, gradient, states: one dtype), and kernels a group.

Foreach AdamW: decay 2, lerp 3, mul 2, addcmul 4, sqrt 2, div 2, add 2, addcdiv 4 (torch 2.13, optim/adam.py,
_multi_tensor_adam). Fused: parameter, gradient and two states read, three written.
"""
ADAFACTOR_BYTES, ADAFACTOR_KERNELS = 120, 30
"""Of an element and of a tensor: about thirty single kernels on fp32 copies (transformers, optimization.py,
Adafactor)."""
CLIP_ACCESSES = 3
"""Gradient clipping: read for the norm, read and written by the scaling (torch.nn.utils.clip_grad_norm_)."""


class Traffic:
    """Once in an optimizer step: bytes through memory, and kernels."""

    __slots__ = ("bytes", "kernels")

    def __init__(self, size_bytes: Any = 0, kernels: Any = 0) -> None:
        self.bytes, self.kernels = size_bytes, kernels


def optimizer_traffic(c: Setting, parts: list[Part]) -> Traffic:
    """Bytes and kernels of one optimizer step over trainable tensors `parts`; a sharded one updates its own share."""
    name = c.recipe.optimizer
    moved: Any = 0
    kernels: Any = 0
    for part in parts:
        elements = part.count * part.elements
        if name in TORCH_ACCESSES:
            accesses, launches = TORCH_ACCESSES[name]
            moved = moved + accesses * part.bytes
            kernels = kernels + part.count * launches / GROUP
        elif name == "adafactor":
            moved = moved + ADAFACTOR_BYTES * elements
            kernels = kernels + ADAFACTOR_KERNELS * part.count
        else:
            moved = moved + 3 * part.bytes + elements * bitsandbytes_state_bytes(name)
            kernels = kernels + part.count
        if c.stack.clips_gradients:
            moved = moved + CLIP_ACCESSES * part.bytes
            kernels = kernels + part.count * 2 / GROUP
    if c.recipe.sharding in ("fsdp", "zero1", "zero2", "zero3"):
        moved = moved / c.recipe.gpus
    return Traffic(moved, kernels)


def bitsandbytes_state_bytes(name: str) -> int:
    """Read and written for the states of an element: 1 or 4 bytes each, two states or Lion's one."""
    return 2 * (1 if "8bit" in name else 4) * (1 if "lion" in name else 2)


def dequantized_bytes(c: Setting, weights: Any) -> Any:
    """Bytes that writing a quantised matrix out moves in one pass: half a byte and its scale read, 16 bits written."""
    return weights * (0.5 + 4 / NF4_BLOCK + BYTES_PER_ELEMENT[c.compute_dtype])


def unpacks_plainly(c: Setting) -> bool:
    """GPTQ without a kernel of its own: torch operations in several passes over wider integers (auto_gptq,
    nn_modules/qlinear/qlinear_cuda.py). Stacks with fused adapters bring a Triton kernel."""
    return c.quant.startswith("gptq") and c.stack.fused_lora == "none"


def communication(c: Setting) -> Any:
    """Bytes that one GPU sends in an optimizer step, (n - 1) / n of what is shared among n.

    ddp, zero1   gradients there and back, once                          2 G
    zero2        gradients scattered each micro-batch, updates gathered  A G + G
    zero3, fsdp  weights gathered forwards and backwards, gradients scattered, each micro-batch   A (2 P + G)
    (Rajbhandari et al. 2020, ZeRO, section 7)
    """
    n, sharding, accumulated = c.recipe.gpus, c.recipe.sharding, c.recipe.grad_accum
    if n == 1:
        return 0
    gradients = _sum_bytes(trainable(c))
    if sharding in ("fsdp", "zero3"):
        weights = _sum_bytes(quantized(c)) + _sum_bytes(unquantized(c))
        if c.autocast and c.base_dtype == "fp32":
            weights = weights / 2
        sent = accumulated * (2 * weights + gradients)
    elif sharding == "zero2":
        sent = (accumulated + 1) * gradients
    else:
        sent = 2 * gradients
    return sent * (n - 1) / n


def _sum_bytes(parts: list[Part]) -> Any:
    total: Any = 0
    for part in parts:
        total = total + part.bytes
    return total
