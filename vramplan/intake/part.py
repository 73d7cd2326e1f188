"""What one file says, gathered while it is read: knobs told, defaults of its tool, keys, warnings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..catalog.tool_keys import tool_keys
from ..errors import nearest
from .document import Document
from .keys import Keys
from .result import SourceFile, Unsettled


@dataclass(frozen=True, slots=True)
class Told:
    """A value and where it stands."""

    value: Any
    where: str


@dataclass(slots=True, kw_only=True)
class Part:
    """Names are the knobs of `Recipe`, and `adapts`, `model`, `stack`, `train_batch`."""

    kind: str
    document: Document
    told: dict[str, Told] = field(default_factory=dict)
    defaults: dict[str, Told] = field(default_factory=dict)
    """What the tool does where its file, and every other, is silent."""
    open: set[str] = field(default_factory=set)
    """Knobs that the file leaves open in so many words: no default holds."""
    warnings: list[str] = field(default_factory=list)
    unsettled: list[Unsettled] = field(default_factory=list)
    references: list[tuple[str, str]] = field(default_factory=list)
    """Configuration files that this one names: knob that hangs on it, path."""

    def tell(self, knob: str, value: Any, keys: Keys, key: str) -> None:
        """A knob is `value` because `key` says so; None says nothing. What was told first holds; a second value is a
        contradiction."""
        if value is None:
            return
        told = Told(value, keys.where(key))
        first = self.told.setdefault(knob, told)
        if first.value != value:
            self.unsettled.append(contradiction(knob, first, told))

    def default(self, tool: str, **knobs: Any) -> None:
        """What `tool` does where nothing is said."""
        for knob, value in knobs.items():
            if knob in self.open:
                continue
            self.defaults[knob] = Told(value, f"default of {tool}")

    def value(self, knob: str) -> Any:
        """As this file alone has it."""
        found = self.told.get(knob) or self.defaults.get(knob)
        return found.value if found else None

    def doubt(self, knobs: tuple[str, ...], text: str) -> None:
        self.unsettled.append(Unsettled(knobs=knobs, text=text))

    def warn(self, keys: Keys, key: str, why: str) -> None:
        """A key that is set and moves memory or time, and that no knob describes."""
        self.warnings.append(f"{keys.where(key)}: {why}")

    def file(self, keys: Keys, tools: tuple[str, ...]) -> SourceFile:
        """Sort the keys of the file into understood, without influence and unknown."""
        known = frozenset[str]().union(*(tool_keys(tool) for tool in tools))
        present = [key for key in keys.values if isinstance(key, str)]
        unknown = [key for key in keys.values if key not in known and key not in keys.asked]
        return SourceFile(
            path=self.document.path,
            kind=self.kind,
            understood=tuple(key for key in present if key in keys.asked),
            without_influence=tuple(key for key in present if key in known and key not in keys.asked),
            unknown=tuple(_unknown(keys, str(key), known) for key in unknown),
        )


def _unknown(keys: Keys, key: str, known: frozenset[str]) -> str:
    near = nearest(key, known, limit=1)
    return keys.where(key) + (f" (nearest: {near[0]})" if near else "")


def contradiction(knob: str, first: Told, second: Told) -> Unsettled:
    """Two values of one knob, each with its place."""
    named = {"adapts": "training adapters", "train_batch": "batch of a step"}.get(knob, knob.replace("_", "-"))
    options = {"adapts": ("method",), "train_batch": ("batch", "grad_accum")}.get(knob, (knob,))
    text = f"{named} is {first.value} ({first.where}) and {second.value} ({second.where})"
    return Unsettled(knobs=options, text=text)
