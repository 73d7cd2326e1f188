"""A configuration for somebody else's tool: plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..recipe import ResolvedRecipe

ExportKind = Literal["trl", "axolotl", "llama-factory", "accelerate", "python"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long to train, and on what: written into the file, without influence on memory."""

    epochs: float | None = None
    steps: int | None = None
    """Optimizer steps; over `epochs` where both are given."""
    dataset: str | None = None
    """Name on the hub, or in the tool's own list; None = a place to fill in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A knob that the tool's file cannot say."""

    knob: str
    value: str
    """As planned."""
    runs_as: str
    """As the file is read."""
    why: str

    def __str__(self) -> str:
        return f"{self.knob.replace('_', '-')} {self.value} runs as {self.runs_as}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedFile:
    """A file ready to be written; `lost` is also said in its comments."""

    kind: ExportKind
    name: str
    text: str
    runs: ResolvedRecipe
    """The recipe as the tool runs it: what was planned, but for `lost`. A second estimate tells what that moves."""
    lost: tuple[Lost, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(str(loss) for loss in self.lost)
