"""Optimizers: the states they keep and what a step takes for a moment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import UnsupportedError
from ..units import allocated, ceil_div, largest
from .weights import Part

MIN_8BIT_ELEMENTS = 4096
"""Smaller tensors keep fp32 states (bitsandbytes optim/optimizer.py, min_8bit_size)."""
MIN_PAGED_ELEMENTS = 100_000
"""Smaller tensors are not paged (optimizer.py, get_state_buffer)."""
STATE_BLOCK = 256
"""Elements that share a scale of an 8-bit state (optimizer.py, init_state: blocksize)."""
CODE_TABLE_BYTES = 256 * 4
"""The table of an 8-bit code, one for each kind of state of an optimizer (functional.create_dynamic_map)."""
EMBEDDING_TABLES = ("embedding", "positions")
"""Parts that are nn.Embedding modules."""


class OptimizerMemory:
    """Bytes of the states on the device, of those in managed memory, and of the largest temporary of a step."""

    __slots__ = ("formula", "paged_bytes", "state_bytes", "temporary_bytes")

    def __init__(self, state_bytes: Any, temporary_bytes: Any, formula: str, paged_bytes: Any = 0) -> None:
        self.state_bytes = state_bytes
        self.temporary_bytes = temporary_bytes
        self.formula = formula
        self.paged_bytes = paged_bytes


def optimizer_memory(name: str, parts: list[Part], *, wide_embeddings: bool = False) -> OptimizerMemory:
    """Memory of an optimizer over trainable tensors `parts`. Bytes, as the allocator hands them out.

    `wide_embeddings`: 8-bit optimizers keep fp32 states for nn.Embedding (transformers 5.23, trainer.py,
    create_optimizer: register_module_override; a loop of one's own does not). Raises UnsupportedError.
    """
    if name == "adamw":
        return foreach_adamw(parts)
    if name == "adamw_fused":
        return fused_adamw(parts)
    if name in ("sgd", "sgd_momentum"):
        return sgd(parts, momentum=name == "sgd_momentum")
    if name == "adafactor":
        return adafactor(parts)
    if name in ("adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "lion", "lion_8bit", "paged_lion_8bit"):
        states, paged = 1 if "lion" in name else 2, "paged" in name
        if "8bit" in name:
            return bitsandbytes_8bit(parts, states=states, paged=paged, wide_embeddings=wide_embeddings)
        return bitsandbytes_32bit(parts, states=states, paged=paged)
    raise UnsupportedError(f"optimizer {name!r} cannot be described yet; measure it with `vramplan bench dry`")


def _sum(values: Iterable[Any]) -> Any:
    result: Any = 0
    for value in values:
        result = result + value
    return result


def foreach_adamw(parts: list[Part]) -> OptimizerMemory:
    """torch.optim.AdamW as it runs by default on CUDA: 2 states of the parameter's dtype; step counters on the host.

    The step holds the square root of the second state of all parameters at once (torch 2.13, optim/adam.py,
    _multi_tensor_adam: exp_avg_sq_sqrt). Not with `amsgrad` (a third state) or `capturable`.
    """
    parameters = _sum(p.allocated_bytes for p in parts)
    return OptimizerMemory(2 * parameters, parameters, "2 states x parameters")


def fused_adamw(parts: list[Part]) -> OptimizerMemory:
    """torch.optim.AdamW(fused=True): 2 states of the parameter's dtype and an fp32 step counter on the device for each
    tensor (torch 2.13, optim/adam.py, _init_group); no temporaries."""
    parameters = _sum(p.allocated_bytes for p in parts)
    counters = _sum(p.count * allocated(4) for p in parts)
    return OptimizerMemory(2 * parameters + counters, 0, "2 states x parameters + a 512 B step counter each")


def sgd(parts: list[Part], *, momentum: bool) -> OptimizerMemory:
    """torch.optim.SGD: with momentum 1 state of the gradient's dtype (torch 2.13, optim/sgd.py, _multi_tensor_sgd).

    Not with weight decay, which copies all gradients in the foreach step (the Trainer's default is none).
    """
    if not momentum:
        return OptimizerMemory(0, 0, "no state")
    return OptimizerMemory(_sum(p.allocated_bytes for p in parts), 0, "1 state x parameters")


def adafactor(parts: list[Part]) -> OptimizerMemory:
    """transformers' Adafactor without first moment, as the Trainer sets it for optim="adafactor".

    States, fp32: a sum for each row and each column of a matrix, 1 x elements of a vector, a scalar (RMS) for each
    tensor. The step takes tensors one by one: of n elements, 16 n bytes where the parameter has 16 bits (copies of
    gradient and parameter, the square, its sum with eps) and 8 n where it has 32, beside 4 n' for the update of the
    matrix before, which the loop's variable still holds (transformers 5.23, optimization.py, Adafactor.step).
    Matrices are taken in the order of the model, vectors last: the Trainer's groups, with and without weight decay.
    """
    states: Any = 0
    temporary: Any = 0
    previous: Any = 0
    for p in sorted(parts, key=lambda part: part.name == "head"):
        if type(p.columns) is int and p.columns == 0:
            sums = allocated(p.elements * 4)
        else:
            sums = allocated(p.elements // p.columns * 4) + allocated(p.stacked * p.columns * 4)
            copy = allocated(p.elements * 4)
            temporary = largest(temporary, (2 if p.dtype == "fp32" else 4) * copy + previous)
            previous = copy
        states = states + p.count * (sums + allocated(4))
    return OptimizerMemory(states, temporary, "4 B x (rows + columns) of each matrix")


def bitsandbytes_32bit(parts: list[Part], *, states: int, paged: bool) -> OptimizerMemory:
    """bitsandbytes with fp32 states; paged ones of 100,000 elements or more lie in managed memory, outside torch's
    counters (bitsandbytes 0.50, optim/optimizer.py, get_state_buffer)."""
    on_device: Any = 0
    managed: Any = 0
    for p in parts:
        state = p.count * states * allocated(p.elements * 4)
        out = _paged(p) if paged else 0
        on_device = on_device + state * (1 - out)
        managed = managed + state * out
    return OptimizerMemory(on_device, 0, f"{states} states x 4 B per parameter", managed)


def bitsandbytes_8bit(parts: list[Part], *, states: int, paged: bool, wide_embeddings: bool = False) -> OptimizerMemory:
    """bitsandbytes with 8-bit states: 1 B per element and an fp32 scale per 256, fp32 below 4,096 elements, and a code
    table for each kind of state. Paged ones of 100,000 elements or more lie in managed memory, their scales do not
    (bitsandbytes 0.50, optim/optimizer.py, init_state and get_state_buffer)."""
    on_device: Any = 0
    managed: Any = 0
    tables: Any = 0
    for p in parts:
        eight = 0 if wide_embeddings and p.name in EMBEDDING_TABLES else (p.elements >= MIN_8BIT_ELEMENTS) * 1
        scales = allocated(ceil_div(p.elements, STATE_BLOCK) * 4)
        state = eight * allocated(p.elements) + (1 - eight) * allocated(p.elements * 4)
        out = _paged(p) if paged else 0
        on_device = on_device + p.count * states * (eight * scales + state * (1 - out))
        managed = managed + p.count * states * state * out
        tables = largest(tables, eight)
    on_device = on_device + states * tables * allocated(CODE_TABLE_BYTES)
    return OptimizerMemory(on_device, 0, f"{states} states x (1 B + 4 B per 256) per parameter", managed)


def _paged(p: Part) -> Any:
    """1 where a state of this tensor is paged, else 0."""
    return (p.elements >= MIN_PAGED_ELEMENTS) * 1
