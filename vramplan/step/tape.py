"""A tape of operators: the description of a piece of a training step.

    blocks, head     write     Tape: a list of Op over Tensors (elements, dtype, needs_grad)     -- what happens
    memory.fold      reads     bytes alive after each Op, forwards and backwards                 -- what it costs

A block is written as the library's own code is (`residual = x; h = norm(x); ...`), one Op for each kernel that
allocates. Nothing is computed: a Tensor is a number of elements, a dtype and a storage. Sizes may be ints or numpy
arrays, so one tape answers one recipe or a million of them.

An Op says what autograd keeps (`saves`), what a kernel takes and returns while it runs (`workspace` forwards,
`grad_workspace` backwards) and which parameter gradients its backward leaves behind (`weight_grads`).
"""

from __future__ import annotations

from typing import Any

from ..recipe import BYTES_PER_ELEMENT
from ..units import allocated


class Storage:
    """Device memory behind one or more tensors. `last_use` is the index of the last Op that reads it forwards."""

    __slots__ = ("bytes", "last_use", "made_by", "name")

    def __init__(self, size_bytes: Any, name: str, made_by: int) -> None:
        self.bytes = size_bytes
        self.name = name
        self.made_by = made_by
        self.last_use = made_by


class Tensor:
    """`elements` numbers of `dtype` in a storage. Views share the storage."""

    __slots__ = ("bytes", "dtype", "elements", "needs_grad", "storage")

    def __init__(self, elements: Any, dtype: str, needs_grad: bool, storage: Storage) -> None:
        self.elements = elements
        self.dtype = dtype
        self.bytes = allocated(elements * BYTES_PER_ELEMENT[dtype])
        self.needs_grad = needs_grad
        self.storage = storage


class Op:
    """One operator with what it saves, takes and leaves. All sizes in bytes."""

    __slots__ = (
        "flops", "gives_views", "grad_workspace", "inputs", "name", "outputs", "passes_grad", "reads_weight", "saves",
        "weight_grads", "workspace",
    )  # fmt: skip

    def __init__(self, name: str, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> None:
        self.name = name
        self.inputs = inputs
        self.outputs = outputs
        self.saves: tuple[Storage, ...] = ()
        self.workspace: Any = 0
        self.grad_workspace: Any = 0
        self.weight_grads: Any = None
        self.flops: Any = 0
        self.passes_grad = False
        """The gradient of the output is handed on as it is (add, split): nothing new is allocated for the inputs."""
        self.gives_views = False
        """The gradients of its inputs are views of what its backward makes (F.linear on three dimensions)."""
        self.reads_weight = False
        """Backward needs a weight, which autograd saves as it saves activations, at no cost in bytes."""

    @property
    def needs_saved(self) -> bool:
        """Whether its backward asks for anything saved: what makes a checkpoint recompute."""
        return bool(self.saves) or self.reads_weight


class Tape:
    """Records Ops. `scope` names the module that is being written, for explanations."""

    __slots__ = ("accumulates", "loss_ops", "named", "ops", "outputs", "pins", "returned", "scope", "weights")

    def __init__(self, *, accumulates: bool = False) -> None:
        self.accumulates = accumulates
        """Gradients of weights are added to those of an earlier micro-batch: each lives for a moment only."""
        self.ops: list[Op] = []
        self.outputs: tuple[Tensor, ...] = ()
        self.scope = ""
        self.returned = -1
        """Index of the op with which the model's forward ends."""
        self.pins: dict[Storage, None] = {}
        """Held by nodes of the graph, outside what autograd saves: to the end of backward, checkpoints or not."""
        self.named: tuple[Tensor, ...] = ()
        """What the attention's forward has in variables of its own beside q, k and v."""
        self.weights: Tensor | None = None
        """The attention weights of an eager layer, which its forward holds to its end."""
        self.loss_ops = range(0)
        """Indices of the ops that belong to the loss rather than to the model's forward."""

    def in_loss(self, index: int) -> bool:
        """Whether an op belongs to the loss: computed in the model's forward, or read from what it returned."""
        return index in self.loss_ops or 0 <= self.returned < index

    def source(self, elements: Any, dtype: str, *, needs_grad: bool, name: str = "input") -> Tensor:
        """A tensor that exists before the tape starts."""
        return Tensor(elements, dtype, needs_grad, Storage(allocated(elements * BYTES_PER_ELEMENT[dtype]), name, -1))

    def op(
        self,
        name: str,
        *inputs: Tensor,
        elements: Any = None,
        dtype: str = "",
        saves: tuple[Tensor, ...] = (),
        saves_output: bool = False,
        workspace: Any = 0,
        grad_workspace: Any = 0,
        weight_grads: Any = None,
        flops: Any = 0,
        passes_grad: bool = False,
        reads_weight: bool = False,
        gives_views: bool = False,
    ) -> Tensor:
        """Record a kernel that makes one new tensor; shape and dtype default to those of the first input.

        `saves` counts only where a gradient flows, as autograd does. `weight_grads` None = no trained weight.
        """
        first = inputs[0]
        ops = self.ops
        index = len(ops)
        dtype = dtype or first.dtype
        count = first.elements if elements is None else elements
        needs_grad = weight_grads is not None
        for tensor in inputs:
            tensor.storage.last_use = index
            needs_grad = needs_grad or tensor.needs_grad
        storage = Storage(0, f"{self.scope}{name}", index)
        out = Tensor(count, dtype, needs_grad, storage)
        storage.bytes = out.bytes
        op = Op(name, inputs, (out,))
        if self.accumulates and weight_grads is not None:
            grad_workspace, weight_grads = grad_workspace + weight_grads, 0
        if needs_grad:
            op.saves = tuple(t.storage for t in saves) + ((storage,) if saves_output else ())
            op.grad_workspace = grad_workspace
            op.weight_grads = weight_grads
            op.passes_grad = passes_grad
            op.reads_weight = reads_weight
            op.gives_views = gives_views
        op.workspace = workspace
        op.flops = flops
        ops.append(op)
        return out

    def split(self, x: Tensor, *parts: Any) -> tuple[Tensor, ...]:
        """Views of `x` with `parts` elements each. Backwards their gradients are put together in a new tensor."""
        views = tuple(Tensor(elements, x.dtype, x.needs_grad, x.storage) for elements in parts)
        x.storage.last_use = len(self.ops)
        self.ops.append(Op("split", (x,), views))
        return views

    def hold(self, *tensors: Tensor) -> None:
        """A Python variable keeps these alive up to here."""
        for tensor in tensors:
            tensor.storage.last_use = len(self.ops) - 1

    def keep(self, name: str, elements: Any, dtype: str) -> Tensor:
        """A tensor without gradient that an operator makes and saves besides its output (log-sum-exp, mask)."""
        size = allocated(elements * BYTES_PER_ELEMENT[dtype])
        return Tensor(elements, dtype, False, Storage(size, f"{self.scope}{name}", len(self.ops)))
