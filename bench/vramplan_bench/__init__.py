"""The rig: builds the real training step and sees what it holds. Nothing of torch is imported before it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .real_job.recorder import MemoryRecorder

__all__ = ["MemoryRecorder"]


def __getattr__(name: str) -> Any:
    if name == "MemoryRecorder":
        from .real_job.recorder import MemoryRecorder

        return MemoryRecorder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
