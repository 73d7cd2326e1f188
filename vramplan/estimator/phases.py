"""Allocated bytes of a whole step: what stays, and the moments at which it can peak.

    Static      weights, adapters, optimizer states, batch, workspaces          live all the time
    Layer, tail tapes of the step (vramplan.step), folded                       live for a while
    Moment      static + activations kept by other layers + gradients + one tape at its worst

The peak is the largest moment. Sizes may be arrays; then only the sums mean something, not the place of the peak.
"""

from __future__ import annotations

from typing import Any, Literal

from ..model import Block
from ..recipe import BYTES_PER_ELEMENT
from ..step.block import block as block_tape
from ..step.head import embedding_gradient_bytes, head
from ..step.memory import Fold, fold, forward_without_saving, saved_storages, sum_bytes
from ..step.optimizer import OptimizerMemory, optimizer_memory
from ..step.setting import Setting
from ..step.tape import Tape, Tensor
from ..step.weights import adapters, buffers, largest_matrix_bytes, quantized, total, trainable, unquantized
from ..units import MIB, allocated, largest
from .result import PhaseName

CUBLAS_WORKSPACE_BYTES = 2 * (8 * MIB + 128 * 1024)
"""cuBLAS and cuBLASLt take 8.125 MiB each from the allocator (aten/cuda/CublasHandlePool.cpp)."""
CUBLAS_WORKSPACE_HOPPER_BYTES = 2 * 32 * MIB
"""On sm90."""

Direction = Literal["forward", "backward"]


class Static:
    """Bytes that stay on the device through the step."""

    __slots__ = (
        "adapters",
        "base",
        "buffers",
        "inputs",
        "load_extra",
        "mask",
        "optimizer",
        "quantized",
        "total",
        "trainable",
        "workspace",
    )

    def __init__(self, c: Setting) -> None:
        self.quantized = total(quantized(c))
        self.base = total(unquantized(c))
        self.adapters = total(adapters(c))
        self.buffers = buffers(c)
        parts = trainable(c)
        self.trainable = total(parts)
        self.optimizer: OptimizerMemory = optimizer_memory(
            c.recipe.optimizer, parts, wide_embeddings=c.stack.wide_embedding_states
        )
        self.load_extra = largest_matrix_bytes(c)
        tensors = 3 if c.stack.attention_mask == "full" else 2
        self.inputs = tensors * allocated(c.tokens * 8)
        # one 4-D causal mask for all layers, in the dtype of the residual stream (transformers, masking_utils.py)
        mask = allocated(c.tokens * c.seq_len * BYTES_PER_ELEMENT[c.embedding_dtype])
        self.mask = mask if c.attention == "eager" else 0
        hopper = c.gpu is not None and c.gpu.compute_capability is not None and c.gpu.compute_capability[0] == 9
        self.workspace = CUBLAS_WORKSPACE_HOPPER_BYTES if hopper else CUBLAS_WORKSPACE_BYTES
        self.total = (
            self.quantized + self.base + self.adapters + self.buffers + self.inputs + self.mask + self.workspace
            + self.optimizer.state_bytes
        )  # fmt: skip


class Layer:
    """One kind of decoder layer, folded."""

    __slots__ = ("count", "fold", "input_bytes", "input_saved", "tape", "x")

    def __init__(self, spec: Block, tape: Tape, x: Tensor) -> None:
        self.tape, self.x = tape, x
        self.fold: Fold = fold(tape, x)
        self.count = spec.count
        self.input_bytes = x.bytes
        self.input_saved = any(x.storage is s for op in tape.ops for s in op.saves)


class Moment:
    """A point of the step at which memory can peak."""

    __slots__ = (
        "activations", "at", "bytes", "direction", "extra", "gradients", "phase", "saves", "tape", "tape_bytes", "x",
    )  # fmt: skip

    def __init__(
        self, phase: PhaseName, static: Any, *, activations: Any = 0, gradients: Any = 0, extra: Any = 0,
        tape_bytes: Any = 0, tape: Tape | None = None, x: Tensor | None = None,
        direction: Direction = "forward", at: int = 0, saves: bool = True,
    ) -> None:  # fmt: skip
        self.phase: PhaseName = phase
        self.activations = activations
        """Kept by layers other than the one that runs."""
        self.gradients = gradients
        """Of weights, made before."""
        self.extra = extra
        """Held by variables of the loop, or temporaries of the optimizer."""
        self.tape_bytes = tape_bytes
        self.tape = tape
        self.x = x
        self.direction = direction
        self.saves = saves
        """Whether autograd keeps what it saves: not in the forward of a checkpointed layer."""
        self.at = at
        self.bytes = static + activations + gradients + extra + tape_bytes


def _layers(c: Setting) -> list[Layer]:
    """The kinds of layers, on the dtype that the residual stream has behind the first one (fp32 norms raise it)."""
    # LayerNorm answers in fp32 under autocast, so one behind the embedding (BLOOM) raises the stream
    dtype = "fp32" if c.autocast and c.model.embedding_norm else c.embedding_dtype
    tapes = [block_tape(c, spec, dtype) for spec in c.model.blocks]
    settled = tapes[0][0].outputs[0].dtype
    if settled != dtype:
        tapes = [block_tape(c, spec, settled) for spec in c.model.blocks]
    return [Layer(spec, tape, x) for spec, (tape, x) in zip(c.model.blocks, tapes, strict=True)]


class StepMemory:
    """Peak allocated bytes of a steady step, as a whole and by phase."""

    __slots__ = ("accumulates", "activations", "c", "head", "layers", "moments", "static", "tail")

    def __init__(self, c: Setting) -> None:
        self.c = c
        self.static = Static(c)
        self.layers = _layers(c)
        dtype = self.layers[0].x.dtype
        self.tail = head(c, dtype)
        self.head = fold(self.tail.tape, self.tail.x)
        self.accumulates = c.recipe.grad_accum > 1
        self.activations = self._all_kept(dtype)
        self.moments = [self._load(), *self._forward(), *self._backward(), self._optimizer_step()]

    def _kept(self, layer: Layer) -> Any:
        """What one layer leaves between its forward and its backward."""
        return layer.input_bytes if self.c.recipe.checkpointing else layer.fold.saved_bytes

    def _all_kept(self, dtype: str) -> Any:
        """What all layers leave for backward. Ahead of the first adapter no gradient flows, so nothing is saved there
        (checkpointing makes the embedding's output require one: PEFT's enable_input_require_grads)."""
        c = self.c
        kept: Any = 0
        for layer in self.layers:
            kept = kept + layer.count * self._kept(layer)
        if c.recipe.checkpointing or c.trains_base:
            return kept
        tape, _ = block_tape(c, c.model.blocks[0], dtype, needs_grad=False)
        return kept - self._kept(self.layers[0]) + sum_bytes(saved_storages(tape.ops))

    @property
    def gradients(self) -> Any:
        """All gradients of trained weights."""
        return self.static.trainable

    def _made(self, so_far: Any) -> Any:
        """Gradients alive when `so_far` bytes of this backward are made: all of them after an earlier micro-batch."""
        return self.gradients if self.accumulates else so_far

    def _load(self) -> Moment:
        s = self.static
        return Moment("load", s.quantized + s.base + s.adapters + s.buffers, extra=s.load_extra)

    def _forward(self) -> list[Moment]:
        last, static = self.layers[-1], self.static.total
        others = self.activations - self._kept(last)
        made = self._made(0)

        def tail(phase: PhaseName, tape_bytes: Any, at: int) -> Moment:
            return Moment(phase, static, activations=self.activations, gradients=made, tape=self.tail.tape,
                          x=self.tail.x, tape_bytes=tape_bytes, at=at)  # fmt: skip

        saves = not self.c.recipe.checkpointing
        first = last.fold if saves else forward_without_saving(last.tape, last.x)
        return [
            Moment("forward", static, activations=others, gradients=made, tape=last.tape, x=last.x,
                   tape_bytes=first.forward_peak, at=first.forward_at, saves=saves),
            tail("forward", self.head.forward_peak, self.head.forward_at),
            tail("loss", self.head.loss_peak, self.head.loss_at),
        ]  # fmt: skip

    def _backward(self) -> list[Moment]:
        static, held, f = self.static.total, self.tail.held_bytes, self.head
        moments = [
            Moment("backward", static, activations=self.activations, gradients=self._made(0), extra=held,
                   tape=self.tail.tape, x=self.tail.x, tape_bytes=f.backward_peak, direction="backward",
                   at=f.backward_at)
        ]  # fmt: skip
        table, tied = embedding_gradient_bytes(self.c), self.c.model.tied_embeddings
        for layer in self.layers:
            others = self.activations - self._kept(layer)
            before_last = self._made(f.weight_grads)
            before_first = self._made(self.gradients - (0 if tied else table) - layer.fold.weight_grads)
            moments += self._layer_backward(layer, others, before_last)
            moments += self._layer_backward(layer, 0, before_first)
        # autograd sums the two gradients of a tied table into a third (they are views, so not in place), and a
        # micro-batch adds its own to the one that stands
        beside = (2 if tied else 0) + (1 if self.accumulates else 0)
        extra = held + beside * table + self.layers[0].input_bytes
        moments.append(Moment("backward", static, gradients=self.gradients, extra=extra))
        return moments

    def _layer_backward(self, layer: Layer, others: Any, gradients: Any) -> list[Moment]:
        """One layer's backward, with its recomputation under checkpointing."""
        f, static, held = layer.fold, self.static.total, self.tail.held_bytes

        def moment(direction: Direction, tape_bytes: Any, at: int) -> Moment:
            return Moment("backward", static, activations=others, gradients=gradients, extra=held, tape=layer.tape,
                          x=layer.x, tape_bytes=tape_bytes, direction=direction, at=at)  # fmt: skip

        if not self.c.recipe.checkpointing:
            return [moment("backward", f.backward_peak, f.backward_at)]
        backward = f.backward_peak if layer.input_saved else f.backward_peak + layer.input_bytes
        if self.c.stack.reentrant_checkpoints:
            backward = backward + layer.input_bytes  # the recomputed output lives on
        recompute = f.forward_peak + layer.input_bytes  # beside the gradient of the output
        return [moment("forward", recompute, f.forward_at), moment("backward", backward, f.backward_at)]

    def _optimizer_step(self) -> Moment:
        return Moment(
            "optimizer_step", self.static.total, gradients=self.gradients,
            extra=self.static.optimizer.temporary_bytes + (self.tail.held_bytes if self.c.stack.holds_outputs else 0),
        )  # fmt: skip

    @property
    def phases(self) -> dict[PhaseName, Any]:
        """Peak of each phase, in the order of the step."""
        peaks: dict[PhaseName, Any] = {}
        for moment in self.moments:
            peaks[moment.phase] = largest(peaks.get(moment.phase, 0), moment.bytes)
        return peaks

    @property
    def allocated(self) -> Any:
        """Peak of a training step, the load included."""
        peak: Any = 0
        for moment in self.moments:
            peak = largest(peak, moment.bytes)
        return peak
