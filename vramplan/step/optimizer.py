"""Optimizers: the states they keep and what a step takes for a moment."""

from __future__ import annotations

from typing import Any

from ..errors import UnsupportedError
from ..recipe import BYTES_PER_ELEMENT
from ..units import allocated, ceil_div, largest
from .weights import Part

MIN_8BIT_ELEMENTS = 4096
"""Smaller tensors keep fp32 states (bitsandbytes optim/optimizer.py, min_8bit_size)."""
MIN_PAGED_ELEMENTS = 100_000
"""Smaller tensors are not paged (optimizer.py, get_state_buffer)."""
STATE_BLOCK = 256
"""Elements that share a scale of an 8-bit state (optimizer.py, init_state: blocksize)."""


class OptimizerMemory:
    """Bytes of the states on the device, of those in managed memory, and of the largest temporary of a step."""

    __slots__ = ("formula", "paged_bytes", "state_bytes", "temporary_bytes")

    def __init__(self, state_bytes: Any, temporary_bytes: Any, formula: str, paged_bytes: Any = 0) -> None:
        self.state_bytes = state_bytes
        self.temporary_bytes = temporary_bytes
        self.formula = formula
        self.paged_bytes = paged_bytes


def optimizer_memory(name: str, parts: list[Part]) -> OptimizerMemory:
    """Memory of an optimizer over trainable tensors `parts`."""
    if name in ("adamw", "adamw_fused"):
        return _torch_adamw(parts, fused=name == "adamw_fused")
    if name == "sgd":
        return OptimizerMemory(0, 0, "no state")
    if name == "sgd_momentum":
        return OptimizerMemory(_sum(p.allocated_bytes for p in parts), 0, "1 x parameters")
    if name == "adafactor":
        return _adafactor(parts)
    if name in ("adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "lion", "lion_8bit", "paged_lion_8bit"):
        return _bitsandbytes(parts, states=1 if "lion" in name else 2, bits8="8bit" in name, paged="paged" in name)
    raise UnsupportedError(f"optimizer {name!r} cannot be described yet; measure it with `vramplan bench dry`")


def _sum(values: Any) -> Any:
    result: Any = 0
    for value in values:
        result = result + value
    return result


def _torch_adamw(parts: list[Part], *, fused: bool) -> OptimizerMemory:
    """torch.optim.AdamW: two states of the parameter's dtype.

    The foreach step holds the square root of the second state of all parameters at once (torch/optim/adamw.py,
    _multi_tensor_adamw: exp_avg_sq_sqrt); the fused kernel holds nothing but a step counter on the device for each.
    """
    parameters = _sum(p.allocated_bytes for p in parts)
    tensors = sum(p.count for p in parts)
    if fused:
        return OptimizerMemory(2 * parameters + 512 * tensors, 0, "2 states x parameters + a 512 B step counter each")
    return OptimizerMemory(2 * parameters, parameters, "2 states x parameters")


def _adafactor(parts: list[Part]) -> OptimizerMemory:
    """transformers Adafactor without first moment: an fp32 row and column of a matrix; temporaries of one tensor."""
    raise UnsupportedError("optimizer 'adafactor' cannot be described yet; measure it with `vramplan bench dry`")


def _bitsandbytes(parts: list[Part], *, states: int, bits8: bool, paged: bool) -> OptimizerMemory:
    """bitsandbytes: 8-bit states with an fp32 scale per 256, or fp32 states; paged ones lie in managed memory."""
    on_device: Any = 0
    managed: Any = 0
    for p in parts:
        wide = p.elements * 4
        if bits8:
            eight = p.elements >= MIN_8BIT_ELEMENTS
            scales = allocated(ceil_div(p.elements, STATE_BLOCK) * 4)
            state = eight * allocated(p.elements) + (1 - eight) * allocated(wide)
            on_device = on_device + p.count * states * eight * scales
        else:
            state = allocated(wide)
        out = (p.elements >= MIN_PAGED_ELEMENTS) * 1 if paged else 0
        on_device = on_device + p.count * states * state * (1 - out)
        managed = managed + p.count * states * state * out
    kind = "1 B + 4 B per 256" if bits8 else "4 B"
    return OptimizerMemory(on_device, 0, f"{states} states x {kind} per parameter", managed)


def largest_tensor(parts: list[Part]) -> Any:
    """Elements of the largest tensor."""
    result: Any = 0
    for p in parts:
        result = largest(result, p.elements)
    return result


__all__ = ["BYTES_PER_ELEMENT", "OptimizerMemory", "largest_tensor", "optimizer_memory"]
