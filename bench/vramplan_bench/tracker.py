"""Follows every storage that the real step allocates and releases.

A `TorchDispatchMode` sees each aten operator after autograd and autocast. A storage it has not met is an allocation;
a weak reference on the storage reports its release. Tensors are not followed: views share storage, and memory is
released when the last view goes. The stream of events is kept, so that peaks, what was alive at them, and a replay
through the caching allocator all come from one list (`timeline`, `replay`).

A dispatch mode changes or hides things; they are mended here, so that the stream is the one of a run without it:

* Autograd sums gradients in place when it holds the only reference, but never while a mode is on
  (torch/csrc/autograd/input_buffer.cpp, `can_accumulate_inplace`). Such a sum takes over the storage of its left side.
* The gradient of indexing is added into zeros in place, but into a new tensor where tensors are fake
  (torch/csrc/autograd/FunctionsManual.cpp, `index_backward`). It takes over the storage of the zeros.
* Tensors made by `torch.tensor(...)` without a device, or for the "cpu" by name, live on the host: not counted.
* A kernel may take memory inside one operator: an `Imitation` says what (`imitation.py`).
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from unittest.mock import patch

import torch
from torch._subclasses import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

from vramplan.units import allocated

_DEVICE_QUERY = torch.ops.prim.device.default
_LIFT = torch.ops.aten.lift_fresh.default
_SCALAR = torch.ops.aten._local_scalar_dense.default
_ADD = torch.ops.aten.add.Tensor
_INDEX_PUT = torch.ops.aten.index_put.default

WORKSPACE = " (workspace)"
INSIDE = " (inside)"
"""Ends of the names under which a library's lasting buffers, and those inside one operator, are listed."""

# References that one held tensor and its storage have when the dispatcher hands them to Python (torch 2.13).
_SOLE_TENSOR_REFERENCES = 4
_SOLE_STORAGE_REFERENCES = 2


@dataclass(slots=True)
class Block:
    """One allocation: what made it, where, and how large. `bytes` is rounded up to 512."""

    index: int
    bytes: int
    operator: str
    module: str
    shape: tuple[int, ...]
    dtype: str
    phase: str
    step: int
    node: str
    """Autograd node that ran (backward), or ''."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The stream from event `start` on belongs to this phase of this step, and to this part of the phase."""

    start: int
    phase: str
    step: int
    segment: int | str


class Imitation(Protocol):
    """What the kernels of the imitated device do that the ones that run do not."""

    def inner_bytes(self, name: str, args: tuple[Any, ...]) -> tuple[int, ...]:
        """Sizes of buffers that live while the operator runs."""

    def lasting_bytes(self, name: str, in_backward: bool) -> tuple[int, ...]:
        """Sizes of buffers that the operator's library takes, once, and keeps."""

    @property
    def expansions(self) -> Mapping[Any, Any]:
        """Operators that are several on the imitated device."""


class StorageTracker(TorchDispatchMode):
    """Records allocations and releases; `events` holds index+1 for an allocation, -(index+1) for a release."""

    def __init__(self, imitation: Imitation | None = None) -> None:
        super().__init__()
        self.blocks: list[Block] = []
        self.events: list[int] = []
        self.marks: list[Mark] = []
        self.module = ""
        self._phase, self._step = "load", 0
        self._imitation = imitation
        self._expansions = imitation.expansions if imitation else {}
        self._alive: dict[int, tuple[Any, int]] = {}
        self._host: set[int] = set()
        self._lifts_to_device = False
        self._on_host = False
        self.set_phase("load", 0)

    # -- phases -----------------------------------------------------------------------------------------------------

    def set_phase(self, phase: str, step: int | None = None, segment: str = "") -> None:
        """What follows belongs to `phase` (of `step`, if that changes)."""
        self._phase = phase
        self._step = self._step if step is None else step
        self.set_segment(segment)

    def set_segment(self, segment: int | str) -> None:
        """What follows belongs to this part of the phase: the number of a layer, or a word."""
        self.marks.append(Mark(len(self.events), self._phase, self._step, segment))

    @contextmanager
    def phase(self, phase: str) -> Iterator[None]:
        """`phase` for the duration of the block, then what was before."""
        before = self._phase
        self.set_phase(phase)
        try:
            yield
        finally:
            self.set_phase(before, segment=f"after {phase}")

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow the operators inside the block."""
        plain = torch.tensor

        def tensor(*args: Any, **kwargs: Any) -> torch.Tensor:
            # the word "cpu" means the host; code that follows a tensor passes that tensor's device
            before, self._lifts_to_device = self._lifts_to_device, isinstance(kwargs.get("device"), torch.device)
            try:
                return plain(*args, **kwargs)
            finally:
                self._lifts_to_device = before

        with ExitStack() as stack:
            stack.enter_context(patch.object(torch, "tensor", tensor))
            stack.enter_context(self)
            yield

    @contextmanager
    def on_host(self) -> Iterator[None]:
        """Storages made inside the block are not on the card (managed memory, pinned buffers)."""
        before, self._on_host = self._on_host, True
        try:
            yield
        finally:
            self._on_host = before

    # -- blocks -----------------------------------------------------------------------------------------------------

    def allocate(self, size: int, operator: str, shape: tuple[int, ...] = (), dtype: str = "uint8") -> int:
        """Take `size` bytes; the index of the block."""
        index = len(self.blocks)
        node = torch._C._current_autograd_node()
        self.blocks.append(
            Block(index, allocated(size), operator, self.module, shape, dtype, self._phase, self._step,
                  node.name() if node is not None else "")
        )  # fmt: skip
        self.events.append(index + 1)
        return index

    def release(self, index: int) -> None:
        """Give a block back."""
        self.events.append(-(index + 1))

    def block_of(self, tensor: torch.Tensor) -> int | None:
        """Index of the block that holds a tensor, if it is followed."""
        entry = self._alive.get(tensor.untyped_storage()._cdata)
        return entry[1] if entry is not None else None

    def register(self, tensor: torch.Tensor, operator: str) -> None:
        """Meet a tensor: a new storage is an allocation, unless it is on `meta` (a model not yet loaded)."""
        if (tensor.fake_device if isinstance(tensor, FakeTensor) else tensor.device).type == "meta":
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive or key in self._host or storage.nbytes() == 0:
            return
        index = self.allocate(storage.nbytes(), operator, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        self._alive[key] = (weakref.ref(storage, lambda _: self._storage_gone(key)), index)

    def _storage_gone(self, key: int) -> None:
        entry = self._alive.pop(key, None)
        if entry is not None:
            self.release(entry[1])

    def _take_over(self, old: torch.Tensor, new: torch.Tensor) -> None:
        """`new` was computed in place of `old`: it inherits the block."""
        entry = self._alive.pop(old.untyped_storage()._cdata, None)
        if entry is not None:
            storage = new.untyped_storage()
            key = storage._cdata
            self._alive[key] = (weakref.ref(storage, lambda _: self._storage_gone(key)), entry[1])

    def _mark_host(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        self._host.add(key)
        weakref.finalize(storage, self._host.discard, key).atexit = False

    # -- operators --------------------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is _DEVICE_QUERY:
            return func(*args)
        if func is _SCALAR and isinstance(args[0], FakeTensor):
            return True  # data-dependent branches: "the mask is set everywhere", "the batch has tokens"
        expansion = self._expansions.get(func)
        if expansion is not None:
            with self:
                out = expansion(*args, **kwargs)
            if out is not NotImplemented:
                return out
        if (func is _ADD and _sums_in_place(args, kwargs)) or (func is _INDEX_PUT and _is_index_backward(args)):
            out = func(*args, **kwargs)
            self._take_over(args[0], out)
            return out
        return self._run(func, args, kwargs)

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        name = func.name()
        held: list[int] = []
        if self._imitation is not None:
            in_backward = torch._C._current_autograd_node() is not None
            for size in self._imitation.lasting_bytes(name, in_backward):
                self.allocate(size, name + WORKSPACE)
            held = [self.allocate(size, name + INSIDE) for size in self._imitation.inner_bytes(name, args)]
        out = func(*args, **kwargs)
        if isinstance(out, torch.Tensor) and (self._on_host or (func is _LIFT and not self._lifts_to_device)):
            self._mark_host(out)
        self._register_all(out, name)
        for index in held:
            self.release(index)
        return out

    def _register_all(self, out: Any, name: str) -> None:
        if isinstance(out, torch.Tensor):
            self.register(out, name)
        elif isinstance(out, tuple | list):
            for item in out:
                self._register_all(item, name)


def _is_index_backward(args: tuple[Any, ...]) -> bool:
    """Is this the gradient of `x[indices]` on fake tensors?"""
    node = torch._C._current_autograd_node()
    return node is not None and node.name() == "IndexBackward0" and isinstance(args[0], FakeTensor)


def _sums_in_place(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Is this the autograd engine adding to a gradient that only it holds?"""
    if kwargs or torch.is_grad_enabled() or torch._C._current_autograd_node() is None:
        return False
    old, new = args[0], args[1]
    if not isinstance(new, torch.Tensor) or old.shape != new.shape or old.dtype != new.dtype:
        return False
    references = torch._C._storage_Use_Count(old.untyped_storage()._cdata)
    return bool(old._use_count() <= _SOLE_TENSOR_REFERENCES and references <= _SOLE_STORAGE_REFERENCES)
