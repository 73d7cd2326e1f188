"""What a measuring child is asked to do: one cell, with everything resolved, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Device = Literal["cpu", "cuda"]
FAULTS = (
    "kill", "hang", "garbage", "flood", "exit", "abort", "fill_host", "raise", "oom", "oom_driver", "cuda",
)  # fmt: skip
"""Failures that can be injected: before any library is imported, and from `raise` on with the device open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One cell for one child. Times are about how long to measure, and part of no cell's identity."""

    config: Mapping[str, Any]
    """Figures of the model's config.json."""
    layers: int
    recipe: Mapping[str, Any]
    """`ResolvedRecipe.as_dict`."""
    device: Device
    baseline_bytes: int | None = None
    """Device use before the child started; None = not known."""
    capacity_bytes: int | None = None
    """Total of a smaller card to be emulated."""
    warm_steps: int = 3
    min_steps: int = 5
    steady_s: float = 0.0
    """Least length of the timed window; energy is counted over 10 s and more."""
    longest_s: float = 10.0
    """The window ends after this many seconds even if `min_steps` are not reached; two steps are always timed."""
    fault: str | None = None
    """A failure to be injected when the device is open."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def job_from(values: Mapping[str, Any]) -> Job:
    """The job that `as_dict` wrote; keys that are none are left out."""
    known = {field.name for field in fields(Job)}
    return Job(**{key: value for key, value in values.items() if key in known})
