"""Allocated bytes of a whole step: what stays, and the moments at which it can peak.

    Static      weights, adapters, optimizer states, batch, workspaces          live all the time
    Layer, tail tapes of the step (vramplan.step), folded                       live for a while
    Moment      static + activations kept by other layers + gradients + one tape at its worst

The peak is the largest moment. Sizes may be arrays; then only the sums mean something, not the place of the peak.
"""

from __future__ import annotations

from typing import Any

from ..recipe import BYTES_PER_ELEMENT
from ..step.block import block as block_tape
from ..step.entry import cast_cache_bytes, entry_bytes, leaf_bytes, stream_dtype
from ..step.head import embedding_gradient_bytes, head
from ..step.memory import fold, forward_without_saving, held_storages, sum_bytes
from ..step.setting import Setting
from ..step.sharding import Place, Sharding, sharding
from ..step.weights import total, trainable
from ..units import allocated, largest
from .load import load_moments
from .moment import Direction, Layer, Moment, Static
from .result import PhaseName


def _layers(c: Setting) -> list[Layer]:
    """The kinds of layers, on the dtype that the residual stream has behind the first one (fp32 norms raise it)."""
    dtype = stream_dtype(c)
    tapes = [block_tape(c, spec, dtype) for spec in c.model.blocks]
    settled = tapes[0][0].outputs[0].dtype
    if settled != dtype:
        tapes = [block_tape(c, spec, settled) for spec in c.model.blocks]
    checkpointed = c.recipe.checkpointing
    return [
        Layer(spec, tape, x, checkpointed=checkpointed) for spec, (tape, x) in zip(c.model.blocks, tapes, strict=True)
    ]


class StepMemory:
    """Peak allocated bytes of a steady step, as a whole and by phase."""

    __slots__ = ("accumulates", "activations", "c", "head", "layers", "moments", "sharding", "static", "tail")

    def __init__(self, c: Setting) -> None:
        self.c = c
        self.sharding: Sharding = sharding(c)
        self.static = Static(c, self.sharding)
        self.layers = _layers(c)
        dtype = self.layers[0].x.dtype
        self.tail = head(c, dtype)
        self.head = fold(self.tail.tape, self.tail.x)
        self.accumulates = c.recipe.grad_accum > 1
        self.activations = self._all_kept(dtype)
        loading = load_moments(c, self.static, self.sharding.beside("load"))
        self.moments = [*loading, *self._forward(), *self._backward(), self._optimizer_step()]

    def _kept(self, layer: Layer) -> Any:
        """What one layer leaves between its forward and its backward."""
        return layer.input_bytes if self.c.recipe.checkpointing else layer.fold.saved_bytes

    def _all_kept(self, dtype: str) -> Any:
        """What all layers leave for backward. Ahead of the first adapter no gradient flows, so nothing is saved there
        (checkpointing makes the embedding's output require one: PEFT's enable_input_require_grads)."""
        c = self.c
        kept = entry_bytes(c)
        for layer in self.layers:
            kept = kept + layer.count * self._kept(layer)
        if c.recipe.checkpointing:
            first = allocated(self.layers[0].x.elements * BYTES_PER_ELEMENT[stream_dtype(c)])
            return kept + self.pinned + first - self._kept(self.layers[0])
        if c.trains_base:
            return kept
        tape, _ = block_tape(c, c.model.blocks[0], dtype, needs_grad=False)
        return kept - self._kept(self.layers[0]) + sum_bytes(held_storages(tape, tape.pins))

    @property
    def pinned(self) -> Any:
        """Bytes that nodes of the graph hold to the end of backward, beside what checkpoints keep."""
        return sum(layer.count * layer.pinned_bytes for layer in self.layers)

    @property
    def pinned_inputs(self) -> Any:
        """The same of what checkpoints keep."""
        return sum(layer.count * layer.pinned_input_bytes for layer in self.layers)

    @property
    def left_over(self) -> Any:
        """What the loop's variable has of a forward until the next one has returned, or the step ends: the logits, and
        the loss, whose graph keeps what its nodes pin, and the leaf behind the embedding with its gradient."""
        if not self.c.stack.holds_outputs:
            return 0
        return self.tail.held_bytes + self.pinned + self.pinned_inputs + 2 * leaf_bytes(self.c)

    @property
    def gradients(self) -> Any:
        """All gradients of trained weights."""
        return self.static.trainable

    def _made(self, layers: Any, tail: Any = 0) -> Any:
        """Gradients alive when those of `layers` and `tail` bytes are made: all after an earlier micro-batch."""
        return self.sharding.accumulated() if self.accumulates else self.sharding.made(layers, tail)

    def _forward(self) -> list[Moment]:
        last, static = self.layers[-1], self.static.total
        pinned = last.pinned_bytes if self.c.recipe.checkpointing else 0  # being made
        others = self.activations - self._kept(last) - pinned
        made = self._made(0)
        saves = not self.c.recipe.checkpointing
        weights = last.tape.weights if self.c.model.returns_attention and not saves else None
        before: Any = weights.bytes if weights is not None else 0
        casts = 0 if saves else cast_cache_bytes(self.c)
        outputs = self.left_over if self.accumulates else 0  # of the micro-batch before

        def tail(phase: PhaseName, place: Place, tape_bytes: Any, at: int, extra: Any) -> Moment:
            return Moment(phase, static, activations=self.activations, gradients=made, extra=extra,
                          shared=self.sharding.beside(place), tape=self.tail.tape, x=self.tail.x, tape_bytes=tape_bytes,
                          at=at)  # fmt: skip

        first = last.fold if saves else forward_without_saving(last.tape, last.x)
        return [
            Moment("forward", static, activations=others, gradients=made, extra=before + casts + outputs,
                   shared=self.sharding.beside("forward", last.spec), tape=last.tape, x=last.x,
                   tape_bytes=first.forward_peak, at=first.forward_at, saves=saves, holds=last.holds),
            tail("forward", "tail", self.head.forward_peak, self.head.forward_at, casts + outputs),
            tail("forward", "tail", self.head.returned_peak, self.head.returned_at, outputs),
            tail("loss", "loss", self.head.loss_peak, self.head.loss_at, casts + outputs),
        ]  # fmt: skip

    def _backward(self) -> list[Moment]:
        static, held, f, shared = self.static.total, self.tail.held_bytes, self.head, self.sharding
        moments = [
            Moment("backward", static, activations=self.activations, gradients=self._made(0), extra=held,
                   shared=shared.beside("turn", self.layers[-1].spec), tape=self.tail.tape, x=self.tail.x,
                   tape_bytes=f.backward_peak, direction="backward", at=f.backward_at)
        ]  # fmt: skip
        table, tied = embedding_gradient_bytes(self.c), self.c.model.tied_embeddings
        before = total(trainable(self.c)) - (0 if tied else table) - f.weight_grads
        left = self.left_behind
        pending = table if tied and self.accumulates else 0  # the head's gradient, which waits for the embedding's
        for layer in self.layers:
            others = self.activations - self._kept(layer)
            moments += self._layer_backward(layer, others, self._made(0, f.weight_grads) + pending, first=False)
            behind = self.pinned + self.pinned_inputs - layer.pinned_input_bytes
            behind = behind if self.c.recipe.checkpointing else behind - layer.pinned_bytes
            made = self._made(before - layer.fold.weight_grads, f.weight_grads) + pending
            moments += self._layer_backward(layer, behind + largest(left - 3 * self._kept(layer), 0), made, first=True)
        # autograd sums the two gradients of a tied table, into a third where the head's is a view of a product, in
        # place where a fused loss made it; and a micro-batch adds its own to the one that stands
        fused = self.c.recipe.loss in ("chunked", "fused-linear")
        beside = (0 if not tied else 1 if fused else 2) + (1 if self.accumulates else 0)
        extra = held + beside * table + self.layers[0].input_bytes
        gradients = shared.accumulated() if self.accumulates else shared.at_end(before, f.weight_grads)
        moments.append(Moment("backward", static, activations=self.pinned + self.pinned_inputs + left,
                              gradients=gradients, extra=extra, shared=shared.beside("end")))  # fmt: skip
        return moments

    @property
    def left_behind(self) -> Any:
        """Inputs of layers, and their gradients, that outlive the layer's backward. While the first layer runs, its own
        are the tape's, and so is the gradient of its output."""
        if not self.sharding.inputs_live_on():
            return 0
        left: Any = 0
        for layer in self.layers:
            left = left + 2 * layer.count * layer.input_bytes
        return left

    def _layer_backward(self, layer: Layer, others: Any, gradients: Any, *, first: bool) -> list[Moment]:
        """One layer's backward, with its recomputation under checkpointing; `first`: no other layer's comes after."""
        f, static, held = layer.fold, self.static.total, self.tail.held_bytes
        shared = self.sharding.beside("first backward" if first else "backward", layer.spec)

        def moment(direction: Direction, tape_bytes: Any, at: int) -> Moment:
            return Moment("backward", static, activations=others, gradients=gradients, extra=held, shared=shared,
                          tape=layer.tape, x=layer.x, tape_bytes=tape_bytes, direction=direction, at=at,
                          holds=layer.holds)  # fmt: skip

        reduction = self.sharding.reduction(layer.spec, first=first)
        joined = [] if reduction is None else [
            Moment("backward", static, activations=others, gradients=gradients, extra=held + layer.input_bytes,
                   shared=reduction)
        ]  # fmt: skip
        if not self.c.recipe.checkpointing:
            return [moment("backward", f.backward_peak, f.backward_at), *joined]
        if self.c.stack.reentrant_checkpoints:
            # the whole layer again beside the gradient of its output; the recomputed output lives on
            recompute, at = f.forward_peak + layer.input_bytes, f.forward_at
            backward = f.backward_peak + layer.input_bytes
        else:
            recompute, at = f.recompute_peak + f.entry_bytes, f.recompute_at
            backward = f.backward_peak
        return [moment("forward", recompute, at), moment("backward", backward, f.backward_at), *joined]

    def _optimizer_step(self) -> Moment:
        return Moment(
            "optimizer_step", self.static.total - self.static.batch, gradients=self.gradients,
            extra=self.sharding.step_bytes(self.static.optimizer.temporary_bytes) + self.left_over,
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
