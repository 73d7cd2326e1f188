"""What is alive inside a running tape at its worst moment, for people who ask why (whole numbers only)."""

from __future__ import annotations

from collections.abc import Iterable

from ..step.memory import held_storages, lifetimes, sum_bytes, walk_back
from ..step.tape import Storage, Tape, Tensor
from .moment import Moment


class Alive:
    """The bytes of a moment's tape, taken apart. The parts add up to `moment.tape_bytes`."""

    def __init__(self, storages: Iterable[Storage] = ()) -> None:
        self.storages = list(storages)
        self.weight_gradient_bytes = 0
        self.workspace_bytes = 0
        self.gradient_bytes = 0
        """Gradients of activations, and tensors that the loop or a checkpoint holds beside the tape's own."""
        self.op_name = ""
        self.sums = False
        """Whether the kernels of the op are through, and gradients are summed."""

    def by_name(self) -> dict[str, tuple[int, int]]:
        """Bytes and number of storages by the op that made them, largest first."""
        groups: dict[str, tuple[int, int]] = {}
        for storage in self.storages:
            size, count = groups.get(storage.name, (0, 0))
            groups[storage.name] = (size + storage.bytes, count + 1)
        return dict(sorted(groups.items(), key=lambda item: -item[1][0]))


def alive_at(moment: Moment) -> Alive:
    """What the moment's tape holds; nothing for a moment without one."""
    tape, x = moment.tape, moment.x
    if tape is None or x is None:
        return Alive()
    alive = _forward(tape, x, moment) if moment.direction == "forward" else _backward(tape, moment)
    if moment.at < len(tape.ops):
        op = tape.ops[moment.at]
        alive.op_name = op.name
        if not alive.sums:
            alive.workspace_bytes = op.workspace if moment.direction == "forward" else op.grad_workspace
    known = sum_bytes(alive.storages) + alive.weight_gradient_bytes + alive.workspace_bytes
    alive.gradient_bytes = moment.tape_bytes - known
    return alive


def _forward(tape: Tape, x: Tensor, moment: Moment) -> Alive:
    at = moment.at
    births, deaths = lifetimes(tape, x, _saved(tape, moment))
    storages = {x.storage: None}
    for index in range(min(at + 1, len(tape.ops))):
        storages.update(dict.fromkeys(births[index]))
        if index < at:
            for storage in deaths[index]:
                storages.pop(storage, None)
    return Alive(storages)


def _saved(tape: Tape, moment: Moment) -> dict[Storage, int]:
    return held_storages(tape, moment.holds) if moment.saves else dict.fromkeys(moment.holds, 1)


def _backward(tape: Tape, moment: Moment) -> Alive:
    state = next(state for state in walk_back(tape, _saved(tape, moment)) if state.index == moment.at)
    alive = Alive(storage for storage, holders in state.holders.items() if holders)
    alive.weight_gradient_bytes = state.weight_grads
    alive.sums = state.sums
    return alive
