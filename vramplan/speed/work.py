"""What a step makes a card do: products, bytes moved, kernels launched. Counts; how long they take is `time`'s.

    tape (vramplan.step)    tape_work    forwards and backwards       Work      of one pass
    Setting or StepMemory   step_work    layers, tail, optimizer      StepWork  of one optimizer step

The same tapes give the memory. Counts may be arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..model import Experts
from ..recipe import BYTES_PER_ELEMENT
from ..step.block import block as block_tape
from ..step.entry import stream_dtype
from ..step.head import embedding_gradient_bytes, head
from ..step.setting import Setting
from ..step.tape import Op, Tape, Tensor
from ..step.weights import trainable
from ..units import largest
from .products import ATTENTION_BACKWARD, FUSED_ATTENTION, Product, loss_bytes, products
from .traffic import Traffic, communication, dequantized_bytes, optimizer_traffic, unpacks_plainly

if TYPE_CHECKING:
    from ..estimator.phases import StepMemory

DEQUANTIZATION_KERNELS = 3
"""Nested scales, their offset, the weights (bitsandbytes functional.dequantize_4bit)."""
GATHERS = frozenset({"nll", "model outputs"})
"""Ops that read a few entries of what they are given, or nothing."""


class Work:
    """Of one pass over a tape."""

    __slots__ = (
        "attention_flash", "attention_flops", "attention_single", "dequantized_bytes", "flops", "kernels",
        "moved_bytes", "products",
    )  # fmt: skip

    def __init__(self) -> None:
        self.products: dict[Any, Product] = {}
        self.flops: Any = 0
        self.attention_flops: Any = 0
        """Of fused attention kernels."""
        self.attention_flash = False
        self.attention_single = False
        """Attention works in fp32."""
        self.moved_bytes: Any = 0
        """Read and written by kernels that do little else."""
        self.dequantized_bytes: Any = 0
        self.kernels: Any = 0

    def add(self, found: list[Product]) -> None:
        """Count products; equal ones are kept once."""
        for product in found:
            known = self.products.setdefault(product.key, product)
            if known is not product:
                known.count += 1
            self.flops = self.flops + product.flops
            self.kernels = self.kernels + product.kernels


class StepWork:
    """Of one optimizer step: passes over tapes in each of `micro_batches`, and what happens once."""

    __slots__ = ("again", "extra", "micro_batches", "once", "passes", "sent_bytes", "tokens", "unpacks_plainly")

    def __init__(self, c: Setting) -> None:
        self.tokens: Any = c.tokens
        """Of a micro-batch."""
        self.micro_batches: Any = c.recipe.grad_accum
        self.passes: list[tuple[Work, int]] = []
        """Work, and how often it is done in a micro-batch."""
        self.again: list[tuple[Work, int]] = []
        """The part of `passes` that is recomputation."""
        self.extra = Work()
        """Of a micro-batch, outside the tapes."""
        self.once: Traffic = optimizer_traffic(c, trainable(c))
        self.sent_bytes: Any = communication(c)
        self.unpacks_plainly = unpacks_plainly(c)

    @property
    def moved_bytes(self) -> Any:
        """In a micro-batch, by kernels that do little else."""
        return self.extra.moved_bytes + _total(self.passes, "moved_bytes")

    @property
    def dequantized_bytes(self) -> Any:
        """In a micro-batch."""
        return _total(self.passes, "dequantized_bytes")

    @property
    def kernels(self) -> Any:
        """Launched in a micro-batch."""
        return self.extra.kernels + _total(self.passes, "kernels")

    @property
    def flops(self) -> Any:
        """Executed in one optimizer step, recomputation included."""
        return self.micro_batches * _total(self.passes, "flops")

    @property
    def model_flops(self) -> Any:
        """Without recomputation: what MFU counts (Chowdhery et al. 2022, PaLM, appendix B)."""
        return self.flops - self.micro_batches * _total(self.again, "flops")


def _total(passes: list[tuple[Work, int]], what: str) -> Any:
    total: Any = 0
    for work, count in passes:
        total = total + count * getattr(work, what)
    return total


def step_work(subject: Setting | StepMemory) -> StepWork:
    """The work of one optimizer step; the tapes of a `StepMemory` are not written again.

    Each layer runs forwards, once more where it is checkpointed, and backwards; the tail runs forwards and backwards.
    With N parameters in matrices, full fine-tuning so takes 6 N FLOPs a token, and 2 N more with checkpoints (Kaplan
    et al. 2020, section 2.1: 2 N a pass); LoRA, which makes no gradient of the frozen N, takes 4 N and 2 N.
    """
    c, layers, tail = _tapes(subject)
    step, checkpointed = StepWork(c), int(c.recipe.checkpointing)
    for spec, tape in zip(c.model.blocks, layers, strict=True):
        experts = spec.feed_forward if isinstance(spec.feed_forward, Experts) else None
        forward, backward = tape_work(c, tape, experts)
        step.passes += [(forward, (1 + checkpointed) * spec.count), (backward, spec.count)]
        step.again.append((forward, checkpointed * spec.count))
    step.passes += [(work, 1) for work in tape_work(c, tail)]
    _outside(c, step.extra, layers[0].ops[0].inputs[0].dtype)
    return step


def _tapes(subject: Setting | StepMemory) -> tuple[Setting, list[Tape], Tape]:
    if not isinstance(subject, Setting):
        return subject.c, [layer.tape for layer in subject.layers], subject.tail.tape
    c = subject
    dtype = stream_dtype(c)
    layers = [block_tape(c, spec, dtype)[0] for spec in c.model.blocks]
    settled: str = layers[0].outputs[0].dtype
    if settled != dtype:
        layers = [block_tape(c, spec, settled)[0] for spec in c.model.blocks]
    return c, layers, head(c, settled).tape


def _outside(c: Setting, work: Work, dtype: str) -> None:
    """Embedding rows gathered forwards; backwards a dense gradient is zeroed and added to. Micro-batches after the
    first add all their gradients to those that stand: two read, one written."""
    hidden = c.tokens * c.model.hidden_size * BYTES_PER_ELEMENT[dtype]
    work.moved_bytes = 2 * hidden
    work.kernels = 2
    if c.trains_base:
        tied = 4 if c.model.tied_embeddings else 1
        work.moved_bytes = work.moved_bytes + 2 * hidden + tied * embedding_gradient_bytes(c)
    if c.recipe.grad_accum > 1:
        for part in trainable(c):
            work.moved_bytes = work.moved_bytes + 3 * part.bytes
            work.kernels = work.kernels + part.count


def tape_work(c: Setting, tape: Tape, experts: Experts | None = None) -> tuple[Work, Work]:
    """A tape forwards, and backwards along the ops that the gradient of its outputs reaches.

    A kernel reads its inputs and writes its output. Backwards it reads the gradient of its output and what it saved
    and writes the gradients of its inputs; the second gradient of a tensor is added to the first.
    """
    forward, backward = Work(), Work()
    multiplied: dict[Op, list[Product]] = {}
    for index, op in enumerate(tape.ops):
        if _multiplies(op):
            multiplied[op] = products(c, op, experts)
        _forward(c, op, index, forward, multiplied)
    reached = {tensor for tensor in tape.outputs if tensor.needs_grad}
    for op in reversed(tape.ops):
        arriving = [out for out in op.outputs if out in reached]
        if arriving:
            _backward(c, op, arriving, reached, backward, multiplied)
    return forward, backward


def _multiplies(op: Op) -> bool:
    return op.name not in FUSED_ATTENTION and (type(op.flops) is not int or op.flops > 0)


def _forward(c: Setting, op: Op, index: int, work: Work, multiplied: dict[Op, list[Product]]) -> None:
    if op.name in FUSED_ATTENTION:
        _attention(op, work, 1)
    elif op in multiplied:
        _dequantize(c, op, work, op.workspace)
        work.add(multiplied[op][:1])
        work.moved_bytes = work.moved_bytes + loss_bytes(c, op) + _made_bytes(op, index)
    elif op.name != "split":
        work.kernels = work.kernels + 1
        if op.name in GATHERS:
            return
        moved = _made_bytes(op, index)
        for tensor in (*op.inputs, *op.outputs):
            moved = moved + tensor.bytes
        if op.name == "rotate_half":  # half is negated, then both are joined
            moved = moved + 2 * op.workspace
            work.kernels = work.kernels + 1
        work.moved_bytes = work.moved_bytes + moved


def _made_bytes(op: Op, index: int) -> Any:
    """Read and written for what an op saves besides its output: casts of weights from fp32, masks, statistics."""
    moved: Any = 0
    own = {out.storage for out in op.outputs}
    for storage in op.saves:
        if storage.made_by == index and storage not in own:
            moved = moved + (3 if storage.name.endswith("cast") else 1) * storage.bytes
    return moved


def _backward(
    c: Setting, op: Op, arriving: list[Tensor], reached: set[Tensor], work: Work, multiplied: dict[Op, list[Product]]
) -> None:
    wanted = [tensor for tensor in op.inputs if tensor.needs_grad]
    moved: Any = 0
    for tensor in wanted:
        if tensor in reached:
            moved = moved + 3 * tensor.bytes
            work.kernels = work.kernels + 1
        reached.add(tensor)
    if op.name in FUSED_ATTENTION:
        _attention(op, work, ATTENTION_BACKWARD)
    elif op in multiplied:
        _dequantize(c, op, work, op.grad_workspace)
        work.add(multiplied[op][1:])
        moved = moved + loss_bytes(c, op)
    elif op.name == "split":
        work.kernels = work.kernels + len(arriving)
        moved = moved + 2 * op.inputs[0].bytes
    else:
        moved = moved + _elementwise_backward(op, arriving, wanted, work)
    work.moved_bytes = work.moved_bytes + moved


def _elementwise_backward(op: Op, arriving: list[Tensor], wanted: list[Tensor], work: Work) -> Any:
    handed_on = op.passes_grad and len(arriving) == 1
    made = [tensor for tensor in wanted if not (handed_on and tensor.dtype == op.outputs[0].dtype)]
    work.kernels = work.kernels + len(made) + (op.weight_grads is not None)
    moved: Any = 0
    for tensor in made:
        moved = moved + tensor.bytes + (0 if op.name in GATHERS else arriving[0].bytes)
    if op.name in GATHERS:
        return moved
    if made or op.weight_grads is not None:
        for storage in op.saves:
            moved = moved + storage.bytes
    workspace = largest(op.grad_workspace, 0)  # negative where a gradient is written over what it comes from
    work.kernels = work.kernels + (workspace > 0) * 1
    return moved + 2 * workspace


def _attention(op: Op, work: Work, factor: float) -> None:
    flops = factor * op.flops
    work.flops = work.flops + flops
    work.attention_flops = work.attention_flops + flops
    work.attention_flash = op.name == "flash"
    work.attention_single = op.inputs[0].dtype == "fp32"
    work.kernels = work.kernels + (1 if factor == 1 else 3)


def _dequantize(c: Setting, op: Op, work: Work, workspace: Any) -> None:
    """A quantised matrix written out in 16 bit for the product that follows. LLM.int8 makes int8 rows and scales an
    int32 product forwards, and casts the matrix backwards."""
    if op.name == "int8 matmul":
        work.moved_bytes = work.moved_bytes + 2 * workspace
        work.kernels = work.kernels + DEQUANTIZATION_KERNELS
    elif op.name == "4-bit matmul":
        x, out = op.inputs[0], op.outputs[0]
        weights = (op.flops // (2 * x.elements)) * (op.flops // (2 * out.elements))
        runs = (workspace > 0) * 1
        work.dequantized_bytes = work.dequantized_bytes + runs * dequantized_bytes(c, weights)
        work.kernels = work.kernels + runs * DEQUANTIZATION_KERNELS
