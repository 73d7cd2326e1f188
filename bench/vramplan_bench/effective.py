"""The configuration of a session, read back from its live objects: what the numbers really belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch

from vramplan.record import Effective

from .installed import versions
from .session import Session


def read_back(session: Session) -> Effective:
    """What was built, whatever was asked for."""
    elements: Counter[str] = Counter()
    for tensor in _stored(session.model):
        elements[_name(tensor.dtype)] += tensor.numel()
    parameters = list(session.model.parameters())
    trainable = [p for p in parameters if p.requires_grad]
    return Effective(
        elements_by_dtype=dict(sorted(elements.items())),
        parameters=sum(element_count(p) for p in parameters),
        trainable=sum(p.numel() for p in trainable),
        quantized=sum(element_count(p) for p in parameters if is_quantized(p)),
        trainable_dtypes=tuple(sorted({_name(p.dtype) for p in trainable})),
        attention=str(session.base.config._attn_implementation),
        checkpointing=_checkpoints(session.base),
        optimizer=_optimizer(session.optimizer),
        optimizer_state_dtypes=_state_dtypes(session.optimizer),
        adapter_targets=_targets(session.model),
        versions=versions(),
    )


def element_count(parameter: Any) -> int:
    """Elements that a parameter stands for: those of the matrix, where 4-bit weights are packed."""
    state = getattr(parameter, "quant_state", None)
    return int(state.shape.numel() if state is not None else parameter.numel())


def is_quantized(parameter: Any) -> bool:
    """Whether a parameter holds 4-bit or 8-bit weights."""
    return getattr(parameter, "quant_state", None) is not None or parameter.dtype == torch.int8


def quantization_tensors(parameter: Any) -> Iterator[Any]:
    """What bitsandbytes keeps beside packed weights: scales, code tables, offset."""
    state = getattr(parameter, "quant_state", None)
    while state is not None:
        yield from (state.absmax, state.code, state.offset)
        state = state.state2


def _checkpoints(base: Any) -> bool:
    return any(getattr(module, "gradient_checkpointing", False) for module in base.modules())


def _stored(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    for parameter in model.parameters():
        yield parameter
        yield from (t for t in quantization_tensors(parameter) if isinstance(t, torch.Tensor))
    yield from model.buffers()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _optimizer(optimizer: Any) -> str:
    kind = type(optimizer)
    form = next((word for word in ("fused", "foreach") if optimizer.defaults.get(word)), "")
    name = f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
    return f"{name} ({form})" if form else name


def _state_dtypes(optimizer: Any) -> dict[str, str]:
    """Every state's type, taken from the largest tensor that has one (8-bit optimizers keep small ones in fp32)."""
    largest: dict[str, torch.Tensor] = {}
    for state in optimizer.state.values():
        for key, value in state.items():
            if isinstance(value, torch.Tensor) and (key not in largest or value.numel() > largest[key].numel()):
                largest[key] = value
    return {str(key): _name(value.dtype) for key, value in sorted(largest.items())}


def _targets(model: Any) -> tuple[str, ...]:
    names = {
        name.rpartition(".lora_A")[0].rpartition(".")[2] for name, _ in model.named_parameters() if ".lora_A." in name
    }
    return tuple(sorted(names))
