"""What a stack's training loop does around forward, backward and the optimizer.

transformers' Trainer (with accelerate) runs autocast around the forward only, converts its outputs to fp32, drops
them before backward, clips gradients to 1.0 and sets them to None; a hand-written loop may do none of that.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from vramplan.errors import UnsupportedError
from vramplan.stack import Stack

MAX_GRAD_NORM = 1.0
"""transformers 5.23, training_args.py, max_grad_norm."""


class Probe(Protocol):
    """Hears which phase the step is in, and which part of it begins."""

    def phase(self, phase: str) -> AbstractContextManager[None]: ...
    def set_segment(self, segment: int | str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """How a stack runs a step."""

    fp32_outputs: bool = False
    """accelerate converts the outputs of the forward to fp32 (utils/operations.py, ConvertOutputsToFp32)."""
    holds_outputs: bool = False
    """`outputs` (the logits, and the loss with its graph) lives until the next forward of the step has returned, or the
    step ends."""
    clips_gradients: bool = False
    wide_embedding_states: bool = False
    """8-bit optimizers keep fp32 states for embeddings."""
    use_cache: bool = False
    """The loop leaves the KV cache on."""
    attention_mask: bool = False
    """The batch brings a mask (of ones)."""
    reentrant: bool = False
    """torch.utils.checkpoint's older way, which holds a layer's output and its gradient while it is recomputed."""
    expands_kv: bool = False
    liger: frozenset[str] = frozenset()
    """Liger's kernels beside the loss: rms_norm, rope, gate."""


_NOT_BUILT = {
    "shifts_logits": "a loss that copies shifted logits",
    "upcasts_in_model": "logits upcast inside the model",
    "keeps_half_embeddings": "embeddings cast back to 16 bit",
    "own_loss_models": "losses inside the model",
}


_LIGER = {"fused_norm": "rms_norm", "fused_rope": "rope", "fused_mlp": "gate"}


def loop_of(stack: Stack) -> Loop:
    """The loop of a stack; UnsupportedError where it needs software that is not the installed one."""
    reasons = [words for habit, words in _NOT_BUILT.items() if getattr(stack, habit)]
    if stack.fused_lora != "none":
        reasons.append("fused LoRA")
    if "+" in stack.name:
        reasons.append(f"what +{stack.name.partition('+')[2]} adds")
    if reasons:
        raise UnsupportedError(f"stack {stack.name!r}: the rig cannot build {reasons[0]}")
    return Loop(
        fp32_outputs=stack.fp32_outputs,
        holds_outputs=stack.holds_outputs,
        clips_gradients=stack.clips_gradients,
        wide_embedding_states=stack.wide_embedding_states,
        use_cache=stack.use_cache,
        attention_mask=stack.attention_mask == "full",
        reentrant=stack.reentrant_checkpoints,
        expands_kv=stack.expands_kv,
        liger=frozenset(kernel for habit, kernel in _LIGER.items() if getattr(stack, habit)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRunner:
    """One optimizer step of `grad_accum` micro-batches, whatever the device."""

    model: Any
    optimizer: Any
    loop: Loop
    make_batch: Callable[[], dict[str, Any]]
    read_loss: Callable[[Any], torch.Tensor]
    """Takes the loss from the model's outputs."""
    autocast: torch.dtype | None
    device_type: str
    grad_accum: int

    _held: list[Any] = field(default_factory=list)
    """Outputs of the forward before, where the step's variable has them until it is bound anew."""

    def run(self, probe: Probe) -> None:
        for _ in range(self.grad_accum):
            self._micro_batch(probe)
        with probe.phase("optimizer_step"):
            if self.loop.clips_gradients:
                probe.set_segment("clip")
                trainable = [p for p in self.model.parameters() if p.requires_grad]
                # foreach is what torch picks by itself on CUDA
                torch.nn.utils.clip_grad_norm_(trainable, MAX_GRAD_NORM, foreach=True)
                del trainable
            probe.set_segment("update")
            self.optimizer.step()
        self._held.clear()
        self.optimizer.zero_grad(set_to_none=True)

    def _micro_batch(self, probe: Probe) -> None:
        """Forward and backward."""
        outputs: Any
        with probe.phase("forward"):
            batch = self.make_batch()
            with torch.autocast(self.device_type, dtype=self.autocast, enabled=self.autocast is not None):
                outputs = self.model(**batch)
            probe.set_segment("outputs")
            if self.autocast is not None and self.loop.fp32_outputs:
                from accelerate.utils.operations import convert_to_fp32

                outputs = convert_to_fp32(outputs)
        if self.loop.holds_outputs:
            self._held[:] = [outputs]
        with probe.phase("loss"):
            loss = self.read_loss(outputs)
            if self.grad_accum > 1:
                loss = loss / self.grad_accum
        del batch, outputs
        with probe.phase("backward"):
            loss.backward()
