"""How one job lies on several GPUs: what each holds, what it gathers for a moment, what its gradients pass through.

    ddp          everything on every GPU, and buckets of the size of the gradients
    zero1-3      DeepSpeed: states, then gradients, then weights in N parts
    fsdp         torch: all three in N parts; the weights of a layer are gathered while it runs (FSDP1 or FSDP2)

Activations are each GPU's own. Figures are bytes per GPU, and whole numbers or arrays as the counts are. `Sharding`
itself is one GPU, where nothing is shared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ..errors import UnsupportedError
from ..recipe import BYTES_PER_ELEMENT
from ..units import allocated, ceil_div, largest, smallest
from .weights import Part, adapters, packed_bytes, quantized, total, trainable, unquantized

if TYPE_CHECKING:
    from ..model import Block
    from .setting import Setting

Place = Literal["load", "forward", "tail", "loss", "turn", "backward", "first backward", "end", "step"]
"""Moments of a step: a layer forwards, the tail and the loss forwards, the tail backwards, a layer backwards, the first
layer (the last one backwards), the embedding backwards, the optimizer step."""

DEEPSPEED_LIVE_ELEMENTS = 1_000_000_000
"""Weights that ZeRO-3 keeps gathered, at most (deepspeed 0.18: runtime/zero/config.py, max_live_parameters and
max_reuse_distance)."""


class Sharding:
    """One GPU: all that the step makes is whole, and nothing is beside it."""

    described = ""
    """What is shared, for people."""

    def __init__(self, c: Setting) -> None:
        self.c = c
        self.n: int = c.recipe.gpus

    def quantized(self) -> Any:
        """Matrices in the storage of their quantisation, with their constants."""
        return total(quantized(self.c))

    def base(self) -> Any:
        """Base weights that are not quantised."""
        return total(unquantized(self.c.at_rest))

    def adapters(self) -> Any:
        return total(adapters(self.c.at_rest))

    def trained(self) -> list[Part]:
        """What the optimizer of one GPU updates."""
        return trainable(self.c.at_rest)

    def master_bytes(self) -> Any:
        """A copy of the trained weights in fp32 that the optimizer updates in their stead."""
        return 0

    def buckets(self) -> Any:
        """Buffers that stay through the step."""
        return 0

    def gradients(self) -> Any:
        """Of one backward pass, when it is over."""
        return total(self.trained())

    def made(self, layers: Any, tail: Any) -> Any:
        """Gradients that stand when a backward pass has made `layers` and `tail` bytes of them."""
        return layers + tail

    def accumulated(self) -> Any:
        """Gradients of earlier micro-batches."""
        return self.gradients()

    def at_end(self, layers: Any, tail: Any) -> Any:
        """Gradients while the embedding's is made; `layers` and `tail` have all others."""
        return self.gradients()

    def beside(self, place: Place, spec: Block | None = None) -> Any:
        """Gathered weights and gradients under way, beside what a tape holds. `spec` is the layer's."""
        return 0

    def reduction(self, spec: Block, *, first: bool) -> Any:
        """The same when a layer's gradients, all made, are put together for the others; None where they are not."""
        return None

    def inputs_live_on(self) -> bool:
        """Checkpoints and their gradients stay to the end of backward."""
        return False

    def step_bytes(self, temporary: Any) -> Any:
        """Taken by the optimizer step beside the gradients."""
        return temporary


class Replicated(Sharding):
    """torch DDP: each GPU has everything, and buckets into which gradients are copied for the all-reduce and out again
    (torch 2.13, nn/parallel/distributed.py: gradient_as_bucket_view=False, which accelerate passes on)."""

    described = "every one holds everything (DDP, also without --sharding)"

    def buckets(self) -> Any:
        """1 x trained weights, in the dtype of their gradients."""
        return total(trainable(self.c))


class Zero(Sharding):
    """DeepSpeed's ZeRO with the Trainer's configuration: 16-bit weights and gradients, fp32 weights and states in N
    parts (deepspeed 0.18: runtime/zero/stage_1_and_2.py, stage3.py). No public run stands behind these figures."""

    def __init__(self, c: Setting) -> None:
        super().__init__(c)
        if c.quant == "int8" and c.recipe.sharding == "zero3":
            raise UnsupportedError("ZeRO-3 does not take LLM.int8 weights; use --sharding zero2 or nf4")
        self.stage = int(c.recipe.sharding[-1])
        self.trained_elements: Any = sum(p.count * p.elements for p in trainable(c))
        self.size = BYTES_PER_ELEMENT[c.base_dtype]
        self.part = ceil_div(self.trained_elements, self.n)
        self.described = ("optimizer states", "optimizer states and gradients", "weights, gradients and states")[
            self.stage - 1
        ] + " in parts (DeepSpeed)"

    @property
    def part_bytes(self) -> Any:
        """This GPU's part of the gradients, in 16 bit."""
        return allocated(self.part * self.size)

    def quantized(self) -> Any:
        return super().quantized() if self.stage < 3 else shared_bytes(quantized(self.c), self.n, packed_only=True)

    def base(self) -> Any:
        whole = super().base()
        if self.stage < 3:
            return whole
        return shared_bytes(unquantized(self.c), self.n)

    def adapters(self) -> Any:
        return super().adapters() if self.stage < 3 else shared_bytes(adapters(self.c), self.n)

    def trained(self) -> list[Part]:
        """One flat fp32 tensor: the part of this GPU."""
        return [Part("fp32 part", self.part, "fp32")]

    def master_bytes(self) -> Any:
        """4 B x trained / N (single_partition_of_fp32_groups)."""
        return allocated(4 * self.part)

    def buckets(self) -> Any:
        """A bucket of hidden x hidden elements for the reduction (transformers/integrations/deepspeed.py,
        reduce_bucket_size); stage 3 keeps its part of the gradients (grad_partitions_flat_buffer)."""
        bucket = allocated(smallest(self.c.model.hidden_size**2, self.trained_elements) * self.size)
        return bucket + (self.part_bytes if self.stage == 3 else 0)

    def gradients(self) -> Any:
        return 0 if self.stage == 3 else self.part_bytes

    def made(self, layers: Any, tail: Any) -> Any:
        """Stage 1 reduces at the end of backward; stage 2 has its part from the first bucket on."""
        return layers + tail if self.stage == 1 else smallest(layers + tail, self.gradients())

    def accumulated(self) -> Any:
        return total(trainable(self.c)) if self.stage == 1 else self.gradients()

    def at_end(self, layers: Any, tail: Any) -> Any:
        return self.accumulated()

    def beside(self, place: Place, spec: Block | None = None) -> Any:
        if place == "end" and self.stage == 1:  # grads_in_partition beside the whole gradients
            return self.part_bytes
        if self.stage < 3 or place == "step":
            return 0
        whole = tensor_bytes(unquantized(self.c)) + tensor_bytes(adapters(self.c)) + packed_bytes(self.c)
        return smallest(whole, DEEPSPEED_LIVE_ELEMENTS * self.size)

    def step_bytes(self, temporary: Any) -> Any:
        """The part of the gradients in fp32, and either its flat 16-bit copy or the optimizer's temporary, for which
        the 16-bit gradients are gone (stage_1_and_2.py, step)."""
        wide = allocated(4 * self.part)
        return wide + (temporary if self.stage == 3 else largest(self.part_bytes, temporary - self.part_bytes))


def sharding(c: Setting) -> Sharding:
    """How the job of a setting lies on its GPUs."""
    if c.recipe.gpus == 1:
        return Sharding(c)
    kind = c.recipe.sharding
    if kind == "fsdp":
        from .fsdp import Fsdp1, Fsdp2

        return Fsdp1(c) if c.stack.flat_shards else Fsdp2(c)
    return Zero(c) if kind.startswith("zero") else Replicated(c)


def shared_bytes(parts: list[Part], n: int, *, packed_only: bool = False) -> Any:
    """Allocated bytes of 1 / N of every tensor."""
    held: Any = 0
    for p in parts:
        whole = packed_only and not p.packed
        held = held + p.count * allocated(p.one_bytes if whole else ceil_div(p.one_bytes, n))
    return held


def tensor_bytes(parts: list[Part]) -> Any:
    """Of all tensors, one behind the other."""
    size: Any = 0
    for part in parts:
        size = size + part.bytes
    return size


def elements_of(parts: list[Part]) -> Any:
    """Of all tensors."""
    count: Any = 0
    for part in parts:
        count = count + part.count * part.elements
    return count
