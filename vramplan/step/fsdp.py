"""torch's FSDP: weights, gradients and optimizer states of each unit in N parts, and what is whole for a moment.

A unit is a layer, or what lies outside of them. Its weights are gathered while it runs, in the dtype of its products;
its gradients, made whole, are scattered when its backward is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import UnsupportedError
from ..recipe import BYTES_PER_ELEMENT
from ..units import allocated, ceil_div, largest
from .head import embedding_gradient_bytes
from .precision import replicates_adapters
from .sharding import Place, Sharding, elements_of, shared_bytes, tensor_bytes
from .weights import Part, adapters, layer_parts, outer_parts, packed_bytes, quantized, total, trainable, unquantized

if TYPE_CHECKING:
    from ..model import Block
    from .setting import Setting


class Fsdp(Sharding):
    """Weights, gradients and states in N parts. A unit is a layer, or what lies outside of them."""

    described = "weights, gradients and optimizer states in parts (FSDP)"

    def __init__(self, c: Setting) -> None:
        super().__init__(c)
        if c.quant == "int8":
            raise UnsupportedError("FSDP does not take LLM.int8 weights (int8 parameters); use --sharding ddp or nf4")
        self.replicates = c.recipe.has_adapters and replicates_adapters(c)
        trained = "base_dtype" if c.trains_base else "adapter_dtype"
        self.size = BYTES_PER_ELEMENT[getattr(c, trained)]
        self.held_size = BYTES_PER_ELEMENT[getattr(c.at_rest, trained)]

    def quantized(self) -> Any:
        """Packed matrices are parameters and are shared (with a floating-point quant_storage); constants are not."""
        return shared_bytes(quantized(self.c), self.n, packed_only=True)

    def base(self) -> Any:
        return shared_bytes(unquantized(self.c.at_rest), self.n)

    def adapters(self) -> Any:
        return super().adapters() if self.replicates else shared_bytes(adapters(self.c.at_rest), self.n)

    def trained(self) -> list[Part]:
        parts = trainable(self.c.at_rest)
        if self.replicates:
            return parts
        return [Part(p.name, ceil_div(p.elements, self.n), p.dtype, p.count, columns=p.columns) for p in parts]

    def made(self, layers: Any, tail: Any) -> Any:
        return self._shards(layers + tail)

    def at_end(self, layers: Any, tail: Any) -> Any:
        return self.made(layers, tail)

    def _shards(self, unsharded: Any) -> Any:
        """Gradients of `unsharded` bytes in the dtype of the layers, as they are held."""
        if self.replicates:
            return unsharded
        return ceil_div(unsharded * self.held_size, self.size * self.n)

    def accumulated(self) -> Any:
        """Nothing is reduced before the last micro-batch (accelerate's no_sync): whole gradients."""
        return total(trainable(self.c))

    def layer(self, spec: Block | None) -> Any:
        """A layer's weights, gathered in the dtype of its products."""
        assert spec is not None
        return tensor_bytes(layer_parts(self.c, spec, 1)) + packed_bytes(self.c, spec)

    def layer_gradients(self, spec: Block) -> Any:
        """Of a layer, whole, in the dtype of its products; those of adapters are the tape's, and small."""
        return tensor_bytes(layer_parts(self.c, spec, 1)) if self.c.trains_base else 0

    def largest_unit(self) -> Any:
        found = tensor_bytes(outer_parts(self.c.at_rest))
        for spec in self.c.model.blocks:
            found = largest(found, tensor_bytes(layer_parts(self.c.at_rest, spec, 1)) + packed_bytes(self.c, spec))
        return found


class Fsdp1(Fsdp):
    """torch.distributed.fsdp.FullyShardedDataParallel, FULL_SHARD and BACKWARD_PRE, layers wrapped one by one; the root
    unit is what lies outside of them (torch 2.13, distributed/fsdp/_runtime_utils.py)."""

    def root(self) -> Any:
        """Stays gathered from the forward to the end of backward (_post_forward_reshard: not the root's)."""
        return tensor_bytes(outer_parts(self.c))

    def trained(self) -> list[Part]:
        """Flat tensors: a layer's, the root's; an adapter matrix is a unit of its own (peft, fsdp_auto_wrap_policy)."""
        rest = self.c.at_rest
        if not self.c.trains_base:
            return [Part(p.name, p.elements, p.dtype, p.count) for p in super().trained()]
        parts = [Part("root unit", ceil_div(elements_of(outer_parts(rest)), self.n), rest.base_dtype)]
        for spec in self.c.model.blocks:
            elements = ceil_div(elements_of(layer_parts(rest, spec, 1)), self.n)
            parts.append(Part("layer unit", elements, rest.base_dtype, spec.count))
        return parts

    def base(self) -> Any:
        rest = self.c.at_rest
        held = allocated(ceil_div(tensor_bytes(outer_parts(rest)), self.n))
        for spec in self.c.model.blocks:
            held = held + spec.count * allocated(ceil_div(tensor_bytes(layer_parts(rest, spec, 1)), self.n))
        return held

    def made(self, layers: Any, tail: Any) -> Any:
        """The head's gradient is part of the root unit's, which is reduced at the very end."""
        return self._shards(layers) + tail

    def beside(self, place: Place, spec: Block | None = None) -> Any:
        if place == "load":
            return self.largest_unit()
        if place == "step":
            return 0
        root = self.root()
        if place in ("tail", "loss"):
            return root
        if place == "end":  # the embedding's gradient, and then all of the root's in one flat tensor
            joined = root + embedding_gradient_bytes(self.c) if not self.c.model.tied_embeddings else 0
            return root + (joined if self.c.trains_base else 0)
        if place == "turn":
            return root + (self.layer(spec) if self.prefetches() else 0)
        ahead = place == "backward" and self.c.trains_base and self.prefetches()
        return root + (2 if ahead else 1) * self.layer(spec)

    def prefetches(self) -> bool:
        """Whether the next unit is gathered while a layer runs backwards: not where a reentrant checkpoint ran it
        forwards without gradients, when no hook was registered (_register_pre_backward_hooks)."""
        return not (self.c.recipe.checkpointing and self.c.stack.reentrant_checkpoints)

    def reduction(self, spec: Block, *, first: bool) -> Any:
        """Autograd joins the gradients of a unit in one flat tensor (torch.split's backward), which is scattered."""
        if not self.c.trains_base:
            return None
        return self.beside("first backward" if first else "backward", spec) + 2 * self.layer_gradients(spec)

    def inputs_live_on(self) -> bool:
        """Frozen units hook onto their inputs (register_multi_grad_hook, _register_post_backward_reshard_only_hook) and
        let go at the end of backward (_finalize_params): the input that a reentrant checkpoint recomputes from, and
        its gradient, live until then."""
        return self.c.recipe.has_adapters and self.c.recipe.checkpointing and self.c.stack.reentrant_checkpoints


class Fsdp2(Fsdp):
    """torch.distributed.fsdp.fully_shard with a unit a layer, the embedding and the tail of final norm and head
    (accelerate 1.15, utils/fsdp_utils.py, fsdp2_prepare_model; torch 2.13, fsdp/_fully_shard).

    A unit is gathered into one buffer and copied out of it. Forwards the buffer stays until the next unit has been
    copied out; backwards the next unit is gathered ahead. The input of a reduce-scatter stays until the next one."""

    def __init__(self, c: Setting) -> None:
        super().__init__(c)
        outer = outer_parts(c)
        alone = [] if c.model.tied_embeddings else [p for p in outer if p.name in ("embedding", "positions")]
        self.embedding = tensor_bytes(alone)
        self.tail = tensor_bytes(outer) - self.embedding

    def scattered(self, gradients: Any) -> Any:
        """The input of a reduce-scatter."""
        wide = BYTES_PER_ELEMENT[self.c.stack.fsdp_reduce_dtype] if self.c.stack.fsdp_reduce_dtype else self.size
        return gradients * wide // self.size

    def beside(self, place: Place, spec: Block | None = None) -> Any:
        c, tied = self.c, self.c.model.tied_embeddings
        if place == "load":
            return self.largest_unit()
        if place == "step":
            return 0
        if place == "forward":
            return 2 * self.layer(spec) + (self.tail if tied else 0)
        if place == "tail" or (place == "loss" and not c.stack.fsdp_compute_dtype):
            return 2 * self.tail
        if place == "loss":  # outside the root's forward, which gives up the last buffer
            return self.tail
        if place == "turn":
            return self.tail + self.layer(spec)
        own = self.tail if c.trains_base else 0
        if place == "end":
            unit = self.tail if tied else self.embedding
            gradients = unit if c.trains_base else 0
            return unit + gradients + self.scattered(gradients)
        assert spec is not None
        before = self.layer_gradients(spec)
        ahead = self.embedding if place == "first backward" else self.layer(spec)
        pending = self.scattered(before if place == "first backward" else largest(own, before))
        return self.layer(spec) + ahead + pending + (self.tail if tied else 0)

    def reduction(self, spec: Block, *, first: bool) -> Any:
        """The layer's gradients beside the input of their reduce-scatter; the layer itself is given up before."""
        if not self.c.trains_base:
            return None
        gradients = self.layer_gradients(spec)
        ahead = self.embedding if first else self.layer(spec)
        return ahead + gradients + self.scattered(gradients) + (self.tail if self.c.model.tied_embeddings else 0)
