"""Liger's kernels: the real package, put on the model as transformers' Trainer does with `use_liger_kernel`.

Where tensors have no storage its Triton kernels, which allocate nothing, are replaced by nothing: the package is
imported on a stand-in for triton, runs its own Python around them, and is forgotten afterwards.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import inspect
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch._subclasses import FakeTensor

from vramplan.errors import UnsupportedError

from .loop import Probe

INSTALL = "pip install --no-deps liger-kernel"
GATES = ("swiglu", "geglu")
"""Names of the fused gate in Liger's functions, by the activation of the model."""


class _Kernel:
    """A Triton kernel that does nothing: `kernel[grid](...)`."""

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        return lambda *_, **__: None


class _Triton(ModuleType):
    """Stands in for triton and its modules: whatever is asked of it is there, and kernels do nothing."""

    __version__ = "3.4.0"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _NAMES.get(name, _Anything())


class _Anything:
    """A name of triton's language, of which nothing is asked."""

    def __getattr__(self, name: str) -> Any:
        return _Anything()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _Anything()


def _jit(*given: Any, **_: Any) -> Any:
    return _Kernel() if given else _jit_later


def _jit_later(_: Any) -> _Kernel:
    return _Kernel()


def _decorator(*_: Any, **__: Any) -> Callable[[Any], Any]:
    return lambda kernel: kernel


def _cdiv(a: int, b: int) -> int:
    return -(-a // b)


def _next_power_of_2(n: int) -> int:
    return 1 << (n - 1).bit_length()


_NAMES: dict[str, Callable[..., Any]] = {
    "jit": _jit, "autotune": _decorator, "heuristics": _decorator, "cdiv": _cdiv, "next_power_of_2": _next_power_of_2,
}  # fmt: skip
"""What Liger's Python asks of triton."""


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        return importlib.machinery.ModuleSpec(name, self) if name.partition(".")[0] == "triton" else None

    def create_module(self, spec: Any) -> ModuleType:
        return _Triton(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def require_liger(what: str) -> None:
    """UnsupportedError where the package is not there; `what` asked for it."""
    if find_spec("liger_kernel") is None:
        raise UnsupportedError(f"{what} needs liger-kernel, which is not installed: {INSTALL}")


def apply_liger(model: Any, kernels: Collection[str]) -> None:
    """Put `kernels` (Liger's names; `gate` is the MLP's) on a model, and no others.

    Patches an instance (transformers/integrations/liger.py, apply_liger_kernel). A kernel that Liger does not have for
    this model is an UnsupportedError, and so is running on a CPU.
    """
    require_liger(f"kernels {', '.join(sorted(kernels))}: the rig")
    if torch.empty(0).device.type == "cpu" and not isinstance(torch.empty(0), FakeTensor):
        raise UnsupportedError("Liger's kernels run on a GPU, or dry")
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    model_type = model.config.model_type
    function = MODEL_TYPE_TO_APPLY_LIGER_FN.get(model_type)
    if function is None:
        raise UnsupportedError(f"liger-kernel has no kernels for models of type {model_type!r}")
    known = {name for name, given in inspect.signature(function).parameters.items() if isinstance(given.default, bool)}
    gate = next((name for name in GATES if name in known), "gate")
    wanted = {gate if name == "gate" else name for name in kernels}
    if missing := wanted - known:
        raise UnsupportedError(f"liger-kernel has no {min(missing)} for models of type {model_type!r}")
    plain = torch.nn.functional.cross_entropy
    try:
        function(model=model, **{name: name in wanted for name in known})
    except NotImplementedError as error:
        raise UnsupportedError(f"liger-kernel: {error}") from error
    if "cross_entropy" in wanted and torch.nn.functional.cross_entropy is plain:
        raise UnsupportedError(f"liger-kernel's cross entropy does not reach the loss of models of type {model_type!r}")


@contextmanager
def liger_package(probe: Probe, *, fake: bool) -> Iterator[None]:
    """Liger importable for the block, on the stand-in where tensors are `fake`; what it patches is put back after."""
    if find_spec("liger_kernel") is None:
        yield
        return
    for package in ("transformers", "peft", "bitsandbytes"):  # they ask for triton when they are imported
        if find_spec(package) is not None:
            importlib.import_module(package)
    with ExitStack() as stack:
        if fake:
            stack.callback(_forget, {name: m for name, m in sys.modules.items() if _foreign(name)})
            for name in [name for name in sys.modules if _foreign(name)]:
                del sys.modules[name]
            finder = _Finder()
            sys.meta_path.insert(0, finder)
            stack.callback(sys.meta_path.remove, finder)
            stack.enter_context(patch.object(torch, "equal", lambda *_: True))  # is the incoming gradient 1? It is
        stack.enter_context(patch.object(torch.nn.functional, "cross_entropy", torch.nn.functional.cross_entropy))
        import liger_kernel.ops.fused_linear_cross_entropy as fused
        import liger_kernel.transformers.monkey_patch  # noqa: F401

        plain = fused.fused_linear_cross_entropy_forward
        if fake:
            stack.enter_context(patch.object(fused, "_can_use_mm_out", _can_use_mm_out))
            stack.enter_context(patch.object(torch.cuda, "get_device_capability", lambda *_: (8, 0)))
            plain = _on_cuda(plain)

        def forward(*args: Any, **kwargs: Any) -> Any:
            with probe.phase("loss"):
                return plain(*args, **kwargs)

        stack.enter_context(patch.object(fused, "fused_linear_cross_entropy_forward", forward))
        yield


@contextmanager
def unpatched(model_class: Any) -> Iterator[None]:
    """Puts back what is patched inside the block: names of the modeling module, and methods of its classes."""
    module = sys.modules[model_class.__module__]
    names = dict(vars(module))
    forwards = {
        value: value.forward for value in names.values() if isinstance(value, type) and hasattr(value, "forward")
    }
    try:
        yield
    finally:
        for name, value in names.items():
            setattr(module, name, value)
        for kind, forward in forwards.items():
            if kind.forward is not forward:
                kind.forward = forward


def _on_cuda(function: Any) -> Any:
    """The same function with its branches for the gradient of the head as on CUDA, which add in place."""
    source = inspect.getsource(function).replace('grad_weight.device.type == "cuda"', "True")
    scope = dict(function.__globals__)
    exec(compile(source, inspect.getfile(function), "exec"), scope)
    return scope[function.__name__]


def _can_use_mm_out(hidden: torch.Tensor, weight: torch.Tensor) -> bool:
    """Liger's rule of the same name as it answers on CUDA (ops/fused_linear_cross_entropy.py)."""
    if torch.is_grad_enabled() or hidden.dtype != weight.dtype:
        return False
    return not torch.is_autocast_enabled("cpu") or hidden.dtype == torch.get_autocast_dtype("cpu")


def _foreign(name: str) -> bool:
    return name.partition(".")[0] in ("triton", "liger_kernel")


def _forget(before: Mapping[str, ModuleType]) -> None:
    for name in [name for name in sys.modules if _foreign(name)]:
        del sys.modules[name]
    sys.modules.update(before)
