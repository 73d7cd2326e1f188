"""An exception of the step's libraries, as an outcome and one line."""

from __future__ import annotations

import re
from typing import Any

import torch

from vramplan.errors import VramplanError, one_line

_DRIVER = re.compile(r"out of memory|ALLOC_FAILED|CUBLAS_STATUS_NOT_INITIALIZED", re.I)
_ON_HOST = re.compile(r"DefaultCPUAllocator|can't allocate memory", re.I)
_refused: dict[str, int] = {}
"""What the caching allocator saw when it refused; loaders wrap the exception in others."""


def watch_refusals() -> None:
    """Let the allocator tell when it refuses. Where torch has no such hook, the exception's type must do."""

    def refused(device: int, wanted: int, limit: int, free: int) -> None:
        _refused.update(wanted_bytes=wanted, limit_bytes=limit, free_bytes=free)

    attach = getattr(torch._C, "_cuda_attach_out_of_memory_observer", None)
    if attach is not None:
        attach(refused)


def kind_and_reason(error: BaseException) -> tuple[str, str]:
    """Outcome: `oom` the caching allocator refused, `oom_driver` the driver or a library did, `skipped` the rig cannot
    build it, `error` anything else."""
    words = one_line(error, 300)
    named = f"{type(error).__name__}: {words}"
    if isinstance(error, VramplanError):
        return "skipped", words
    if _is_out_of_memory(error) or _refused:
        saw = ", ".join(f"{name} {value}" for name, value in _refused.items())
        return "oom", f"{words} ({saw})" if saw else words
    if _DRIVER.search(words) and not _ON_HOST.search(words):
        return "oom_driver", named
    return "error", named


def _is_out_of_memory(error: Any) -> bool:
    return isinstance(error, torch.OutOfMemoryError)
