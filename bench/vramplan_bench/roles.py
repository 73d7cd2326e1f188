"""What lives between steps, read from the live objects: weights, adapters, optimizer states, gradients, workspaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .effective import element_count, is_quantized, quantization_tensors
from .session import Session
from .tracker import WORKSPACE, StorageTracker


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Totals of a run. Bytes as allocated (each storage rounded up to 512), elements as they are."""

    weights_bytes: int
    adapters_bytes: int
    optimizer_bytes: int
    gradients_bytes: int
    workspace_bytes: int
    parameters: int
    """Elements of all parameters, quantised ones by the shape they stand for, tied ones once."""
    trainable: int
    quantized: int


class Roles:
    """Block index -> what it is. Gradients are noted before each optimizer step, the rest at the end."""

    def __init__(self, tracker: StorageTracker, session: Session) -> None:
        self.found: dict[int, str] = {}
        self._tracker = tracker
        self._session = session
        session.optimizer.register_step_pre_hook(lambda *_: self._note_gradients())

    def _note(self, tensor: Any, role: str) -> None:
        if isinstance(tensor, torch.Tensor):
            index = self._tracker.block_of(tensor)
            if index is not None:
                self.found.setdefault(index, role)

    def _note_gradients(self) -> None:
        for parameter in self._session.model.parameters():
            self._note(parameter.grad, "gradients")

    def note_lasting(self) -> None:
        """Everything that is still there after the last step."""
        for name, parameter in self._session.model.named_parameters():
            self._note(parameter, "adapters" if ".lora_" in name else "weights")
            for part in quantization_tensors(parameter):
                self._note(part, "weights")
        for module in self._session.model.modules():
            self._note(getattr(getattr(module, "state", None), "SCB", None), "weights")  # scales of an 8-bit matrix
        for buffer in self._session.model.buffers():
            self._note(buffer, "weights")
        for state in self._session.optimizer.state.values():
            for value in state.values():
                self._note(value, "optimizer")
        for block in self._tracker.blocks:
            if block.operator.endswith(WORKSPACE):
                self.found[block.index] = "workspace"


def facts_of(session: Session, tracker: StorageTracker, roles: dict[int, str]) -> Facts:
    """Totals of the live objects."""
    sums: dict[str, int] = {}
    for index, role in roles.items():
        block = tracker.blocks[index]
        if role != "gradients" or block.step == 1:
            sums[role] = sums.get(role, 0) + block.bytes
    sizes = [(p, element_count(p)) for p in session.model.parameters()]
    return Facts(
        weights_bytes=sums.get("weights", 0),
        adapters_bytes=sums.get("adapters", 0),
        optimizer_bytes=sums.get("optimizer", 0),
        gradients_bytes=sums.get("gradients", 0),
        workspace_bytes=sums.get("workspace", 0),
        parameters=sum(count for _, count in sizes),
        trainable=sum(count for p, count in sizes if p.requires_grad),
        quantized=sum(count for p, count in sizes if is_quantized(p)),
    )
