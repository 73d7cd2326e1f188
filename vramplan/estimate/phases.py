"""Allocated bytes of a whole step, phase by phase: what stays, plus what the tapes of head and blocks need."""

from __future__ import annotations

from typing import Any

from ..model import Block
from ..step.block import block as block_tape
from ..step.head import embedding_gradient_bytes, head
from ..step.memory import Fold, fold
from ..step.optimizer import OptimizerMemory, optimizer_memory
from ..step.setting import Setting
from ..step.weights import adapters, buffers, quantized, total, trainable, unquantized
from ..units import MIB, allocated, largest

CUBLAS_WORKSPACE_BYTES = 2 * (8 * MIB + 128 * 1024)
"""cuBLAS and cuBLASLt take 8.125 MiB each from the allocator (aten/cuda/CublasHandlePool.cpp, parseChosenWorkspaceSize)."""
CUBLAS_WORKSPACE_HOPPER_BYTES = 2 * 32 * MIB
"""On sm90."""


class Static:
    """Bytes that stay on the device through the step."""

    __slots__ = ("adapters", "base", "buffers", "inputs", "optimizer", "quantized", "total", "trainable", "workspace")

    def __init__(self, c: Setting) -> None:
        self.quantized = total(quantized(c))
        self.base = total(unquantized(c))
        self.adapters = total(adapters(c))
        self.buffers = buffers(c)
        parts = trainable(c)
        self.trainable = total(parts)
        self.optimizer: OptimizerMemory = optimizer_memory(c.recipe.optimizer, parts)
        masks = 1 if c.stack.attention_mask == "full" else 0
        self.inputs = (2 + masks) * allocated(c.tokens * 8)
        hopper = c.gpu is not None and c.gpu.compute_capability is not None and c.gpu.compute_capability >= (9, 0)
        self.workspace = CUBLAS_WORKSPACE_HOPPER_BYTES if hopper else CUBLAS_WORKSPACE_BYTES
        self.total = (
            self.quantized + self.base + self.adapters + self.buffers + self.inputs + self.workspace
            + self.optimizer.state_bytes
        )  # fmt: skip


class Layer:
    """One kind of decoder layer, folded, with its place in the model."""

    __slots__ = ("count", "fold", "input_bytes", "input_saved", "recompute_free")

    def __init__(self, c: Setting, spec: Block, dtype: str) -> None:
        tape, x = block_tape(c, spec, dtype)
        self.fold: Fold = fold(tape, x)
        self.count = spec.count
        self.input_bytes = x.bytes
        self.input_saved = any(x.storage is s for op in tape.ops for s in op.saves)


def residual_dtype(c: Setting) -> str:
    """Dtype of the residual stream: the embedding's, or what a layer makes of it (fp32 norms raise it)."""
    tape, _ = block_tape(c, c.model.blocks[0], c.embedding_dtype)
    return tape.outputs[0].dtype


class StepMemory:
    """Peak allocated bytes per phase of a steady step. Sizes may be arrays."""

    __slots__ = ("activations", "c", "gradients", "head", "layers", "phases", "static", "tail")

    def __init__(self, c: Setting) -> None:
        self.c = c
        self.static = Static(c)
        dtype = residual_dtype(c)
        self.layers = [Layer(c, spec, dtype) for spec in c.model.blocks]
        self.tail = head(c, dtype)
        self.head = fold(self.tail.tape, self.tail.x)
        self.gradients = self.static.trainable
        self.activations = self._kept_activations()
        self.phases = {
            "forward": self._forward(),
            "loss": self._loss(),
            "backward": self._backward(),
            "optimizer_step": self._optimizer_step(),
        }

    def _kept(self, layer: Layer) -> Any:
        """What one layer leaves between its forward and its backward."""
        return layer.input_bytes if self.c.recipe.checkpointing else layer.fold.saved_bytes

    def _kept_activations(self) -> Any:
        result: Any = 0
        for layer in self.layers:
            result = result + layer.count * self._kept(layer)
        return result

    @property
    def _standing_gradients(self) -> Any:
        """Gradients that an earlier micro-batch left."""
        return self.gradients if self.c.recipe.grad_accum > 1 else 0

    def _forward(self) -> Any:
        last = self.layers[-1]
        before = self.static.total + self._standing_gradients + self.activations - self._kept(last)
        return before + largest(last.fold.forward_peak, 0)

    def _loss(self) -> Any:
        return self.static.total + self._standing_gradients + self.activations + self.head.forward_peak

    def _backward(self) -> Any:
        base = self.static.total + self._standing_gradients + self.tail.held_bytes
        peak = base + self.activations + self.head.backward_peak
        made = 0 if self.c.recipe.grad_accum > 1 else self.head.weight_grads
        for layer in self.layers:
            last = base + made + self.activations - self._kept(layer) + self._layer_backward(layer)
            rest: Any = 0 if self.c.recipe.grad_accum > 1 else self.gradients - embedding_gradient_bytes(self.c)
            rest = rest - (0 if self.c.recipe.grad_accum > 1 else layer.fold.weight_grads)
            first = base + rest + self._layer_backward(layer)
            peak = largest(peak, largest(last, first))
        return largest(peak, self._embedding_backward(base))

    def _embedding_backward(self, base: Any) -> Any:
        table = embedding_gradient_bytes(self.c)
        extra = table if self.c.model.tied_embeddings or self.c.recipe.grad_accum > 1 else 0
        return base + (0 if self.c.recipe.grad_accum > 1 else self.gradients) + extra + self.layers[0].input_bytes

    def _layer_backward(self, layer: Layer) -> Any:
        """Peak of one layer's backward, its own kept activations included."""
        f = layer.fold
        if not self.c.recipe.checkpointing:
            return f.backward_peak
        gradient = output = layer.input_bytes
        backward = f.backward_peak + (0 if layer.input_saved else layer.input_bytes)
        if self.c.stack.reentrant_checkpoints:
            backward = backward + output
        return largest(f.forward_peak + gradient, backward)

    def _optimizer_step(self) -> Any:
        return self.static.total + self.gradients + self.static.optimizer.temporary_bytes

    @property
    def allocated(self) -> Any:
        peak: Any = 0
        for value in self.phases.values():
            peak = largest(peak, value)
        return peak
