"""Folds over a tape: the bytes alive while it runs forwards and backwards.

Forwards a storage lives from the op that makes it to its last use, or to its backward where an op saves it.
Backwards (the order of autograd: reverse of creation) each op turns the gradients of its outputs into those of its
inputs, then gives up what it saved. A gradient that reaches a tensor twice is added in place when nothing else holds
the first one (torch/csrc/autograd/input_buffer.cpp, `accumulate`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..units import largest, smallest
from .tape import Op, Storage, Tape, Tensor


class Fold:
    """Bytes of one tape. Peaks count what the tape makes and its first input, nothing of the rest of the step."""

    __slots__ = (
        "backward_at",
        "backward_peak",
        "entry_bytes",
        "forward_at",
        "forward_peak",
        "loss_at",
        "loss_peak",
        "recompute_at",
        "recompute_peak",
        "returned_at",
        "returned_peak",
        "saved_bytes",
        "weight_grads",
    )

    forward_peak: Any
    """Over the ops of the model's forward."""
    loss_peak: Any
    """Forwards, over the ops of the loss; 0 for a tape without."""
    returned_peak: Any
    """Where the model's forward ends; 0 for a tape without."""
    returned_at: int
    forward_at: int
    loss_at: int
    """Index of the op at the peak; meaningful for whole numbers only."""
    saved_bytes: Any
    """Alive between forward and backward, outputs left out unless an op saves them."""
    backward_peak: Any
    """With the weight gradients made on the way."""
    backward_at: int
    weight_grads: Any
    entry_bytes: Any
    """Gradients alive when backward first asks for something saved: there a checkpoint recomputes."""
    recompute_peak: Any
    """Forwards, up to the last op that saves: there a recomputation ends (checkpoint's early stop)."""
    recompute_at: int


class Gradient:
    """A gradient in flight: its bytes, and the tensors that share it."""

    __slots__ = ("bytes", "holders", "is_view", "name")

    def __init__(self, tensor: Tensor, *, is_view: bool = False) -> None:
        self.bytes = tensor.bytes
        self.holders = 1
        self.is_view = is_view
        """Of a product's result, as a matrix hands it to three-dimensional inputs: its storage has two owners, and
        nothing is added to it in place."""
        self.name = tensor.storage.name


class Backward:
    """State of a backward pass behind one op."""

    __slots__ = ("entry", "gradients", "holders", "index", "live", "now", "sums", "weight_grads")

    def __init__(self, tape: Tape, saved: dict[Storage, int]) -> None:
        self.holders = dict(saved)
        self.entry: Any = None
        """Gradients alive when something saved was first asked for."""
        self.gradients: dict[Tensor, Gradient] = {}
        self.index = len(tape.ops)
        self.weight_grads: Any = 0
        live: Any = 0
        for storage in saved:
            live = live + storage.bytes
        for tensor in tape.outputs:
            if tensor.needs_grad:
                self.gradients[tensor] = Gradient(tensor)
                live = live + tensor.bytes
        self.live = self.now = live
        """Bytes alive behind the op, and at its worst."""
        self.sums = False
        """Whether that is where gradients are summed, when its kernels are through; whole numbers only."""


def fold(tape: Tape, x: Tensor, holds: Iterable[Storage] = ()) -> Fold:
    """Peaks and saved bytes of `tape`, whose first input is `x`; what it `holds` stays to its end."""
    result = Fold()
    saved = held_storages(tape, holds)
    _fold_forward(tape, x, saved, result)
    result.saved_bytes = sum_bytes(saved)
    peak, at = 0, 0
    for state in walk_back(tape, saved):
        if type(state.now) is int and state.now > peak:
            at = state.index
        peak = largest(peak, state.now)
    result.backward_peak, result.backward_at, result.weight_grads = peak, at, state.weight_grads
    result.entry_bytes = 0 if state.entry is None else state.entry
    return result


def sum_bytes(storages: Iterable[Storage]) -> Any:
    """Bytes of some storages together."""
    total: Any = 0
    for storage in storages:
        total = total + storage.bytes
    return total


def held_storages(tape: Tape, holds: Iterable[Storage]) -> dict[Storage, int]:
    """What autograd saves, and what is held to the end of the tape's backward."""
    saved = saved_storages(tape.ops)
    for storage in holds:
        saved[storage] = saved.get(storage, 0) + 1
    return saved


def saved_storages(ops: Iterable[Op]) -> dict[Storage, int]:
    """Storages that autograd holds, with the number of ops that hold each."""
    saved: dict[Storage, int] = {}
    for op in ops:
        for storage in op.saves:
            saved[storage] = saved.get(storage, 0) + 1
    return saved


def _fold_forward(tape: Tape, x: Tensor, saved: Iterable[Storage], result: Fold) -> None:
    births, deaths = lifetimes(tape, x, saved)
    live: Any = x.storage.bytes
    peaks: dict[str, Any] = {"forward": live, "loss": 0, "returned": 0}
    at = dict.fromkeys(peaks, 0)
    last = max((index for index, op in enumerate(tape.ops) if op.needs_saved), default=-1)
    result.recompute_peak, result.recompute_at = live, 0
    for index, op in enumerate(tape.ops):
        for storage in births[index]:
            live = live + storage.bytes
        now = live + op.workspace
        kind = "returned" if index == tape.returned else "loss" if tape.in_loss(index) else "forward"
        if type(now) is int and now > peaks[kind]:
            at[kind] = index
        peaks[kind] = largest(peaks[kind], now)
        if index < last or (index == last and op.outputs[0].storage in op.saves):
            result.recompute_peak, result.recompute_at = peaks[kind], at[kind]
        for storage in deaths[index]:
            live = live - storage.bytes
    result.forward_peak, result.loss_peak, result.returned_peak = peaks.values()
    result.forward_at, result.loss_at, result.returned_at = at.values()


def forward_without_saving(tape: Tape, x: Tensor) -> Fold:
    """The forward peak of a tape under checkpointing, where nothing stays of what autograd saves but the input."""
    result = Fold()
    _fold_forward(tape, x, (x.storage,), result)
    return result


def lifetimes(tape: Tape, x: Tensor, saved: Iterable[Storage]) -> tuple[list[list[Storage]], list[list[Storage]]]:
    """Storages born at each op, and those that die behind it; saved ones and outputs do not die."""
    immortal = {tensor.storage for tensor in tape.outputs}
    immortal.update(saved)
    births: list[list[Storage]] = [[] for _ in tape.ops]
    deaths: list[list[Storage]] = [[] for _ in tape.ops]
    seen = {x.storage}
    if x.storage not in immortal and x.storage.last_use >= 0:
        deaths[x.storage.last_use].append(x.storage)
    for index, op in enumerate(tape.ops):
        for storage in (*(out.storage for out in op.outputs), *op.saves):
            if storage in seen:
                continue
            seen.add(storage)
            births[index].append(storage)
            if storage not in immortal:
                deaths[max(storage.last_use, index)].append(storage)
    return births, deaths


def walk_back(tape: Tape, saved: dict[Storage, int]) -> Iterator[Backward]:
    """Run the tape backwards; yields one state, changed in place, before the first op and while each op runs."""
    state = Backward(tape, saved)
    resting: Any = sum_bytes(saved)
    yield state
    for index in range(len(tape.ops) - 1, -1, -1):
        op = tape.ops[index]
        state.index = index
        incoming = [state.gradients.pop(out) for out in op.outputs if out in state.gradients]
        if op.needs_saved and state.entry is None:
            state.entry = state.live - resting
        if incoming:
            surplus, sums = _contribute(op, incoming, state)
            spent = sum(gradient.bytes for gradient in incoming if gradient.holders == 1)
            # sums are formed when the op is through; where it writes over what it saved its workspace is negative
            running = state.live - sums + op.grad_workspace
            summing = state.live - spent + smallest(op.grad_workspace, 0)
            state.now = largest(running, summing)
            state.sums = type(state.now) is int and bool(summing > running)
            yield state
            state.live = state.live - surplus
            for gradient in incoming:
                gradient.holders -= 1
                if not gradient.holders:
                    state.live = state.live - gradient.bytes
        for storage in op.saves:
            state.holders[storage] -= 1
            if not state.holders[storage]:
                state.live = state.live - storage.bytes


def _contribute(op: Op, incoming: list[Gradient], state: Backward) -> tuple[Any, Any]:
    """Give the inputs of an op their gradients. Returns the bytes that go again once sums are formed, and those of sums
    that need a tensor of their own."""
    if op.weight_grads is not None:
        state.live = state.live + op.weight_grads
        state.weight_grads = state.weight_grads + op.weight_grads
    surplus: Any = 0
    sums: Any = 0
    gradients = state.gradients
    for tensor in op.inputs:
        if not tensor.needs_grad:
            continue
        present = gradients.get(tensor)
        shared = op.passes_grad and len(incoming) == 1 and tensor.dtype == op.outputs[0].dtype
        if shared and present is None:
            gradients[tensor] = incoming[0]
            incoming[0].holders += 1
            continue
        if not shared:
            state.live = state.live + tensor.bytes
            if present is None:
                gradients[tensor] = Gradient(tensor, is_view=op.gives_views)
                continue
            surplus = surplus + tensor.bytes
        if present is not None and (present.holders > 1 or present.is_view):
            sums = sums + tensor.bytes
            present.holders -= 1
            if not present.holders:
                surplus = surplus + tensor.bytes
            gradients[tensor] = Gradient(tensor)
            state.live = state.live + tensor.bytes
    return surplus, sums
