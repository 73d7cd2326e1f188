"""Tensors without storage: `FakeTensorMode` on device `cpu`, and what the libraries need to live in it.

Why this and not fake `cuda:0`: a CPU build of torch has no CUDA device guard, so fake CUDA tensors need a C++
extension, hence a compiler and the headers of that very torch. This works wherever torch imports, and the code is the
one that runs on a real CPU, where its accounting is checked. What differs from CUDA is mended by `cuda_semantics`,
`kernels` and `bnb4bit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch._subclasses import FakeTensorMode

from .bnb4bit import fake_bitsandbytes


def _apply(self: Any, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
    """`nn.Module._apply` as it treats real tensors (`param.data = ...`); it would swap fake ones, which fails."""
    if recurse:
        for module in self.children():
            module._apply(fn)
    for parameter in self._parameters.values():
        if parameter is not None:
            with torch.no_grad():
                applied = fn(parameter)
            if applied is not parameter:
                parameter.data = applied
    for name, buffer in self._buffers.items():
        if buffer is not None:
            self._buffers[name] = fn(buffer)
    return self


@contextmanager
def fake_tensors() -> Iterator[None]:
    """Every tensor made inside the block has a shape and no storage."""
    import transformers.utils.import_utils as import_utils

    with ExitStack() as stack:
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        # transformers would take a fake tensor for a trace and build 4-D masks that a run does without
        stack.enter_context(patch.object(import_utils, "is_fake_tensor", lambda _: False))
        stack.enter_context(patch.object(torch.nn.Module, "_apply", _apply))
        stack.enter_context(fake_bitsandbytes())
        yield
