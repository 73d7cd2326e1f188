"""What configuration files say about a fine-tune: plain data. None = left open, so that a stack or a person decides."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..errors import VramplanError, one_line
from ..recipe import AttentionKernel, Autocast, Dtype, Loss, Method, Optimizer, Quant, Recipe, Sharding


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """The knobs of `Recipe` that files decide."""

    rank: int | None = None
    targets: str | None = None
    quant: Quant | None = None
    dtype: Dtype | None = None
    autocast: Autocast | None = None
    adapter_dtype: Dtype | None = None
    kbit_prep: bool | None = None
    optimizer: Optimizer | None = None
    batch: int | None = None
    seq_len: int | None = None
    grad_accum: int | None = None
    checkpointing: bool | None = None
    attention: AttentionKernel | None = None
    loss: Loss | None = None
    lora_dropout: float | None = None
    sharding: Sharding | None = None
    gpus: int | None = None

    def decided(self) -> dict[str, Any]:
        """Knob -> value, without those left open."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file that was read, and what became of its keys."""

    path: str
    kind: str
    """Whose configuration it is, for people: `TRL`, `axolotl`, ..."""
    understood: tuple[str, ...]
    without_influence: tuple[str, ...]
    """Keys of the tool that change neither memory nor speed."""
    unknown: tuple[str, ...]
    """Keys that the tool does not have, each with place and nearest known key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsettled:
    """What the files leave in dispute: a contradiction, or a value that cannot be described. An explicit option for
    one of `knobs` settles it."""

    knobs: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What one or several files say together."""

    files: tuple[SourceFile, ...]
    knobs: Knobs
    sources: Mapping[str, str]
    """Knob -> file, line and key it comes from, or the default of the tool that applies."""
    methods: tuple[Method, ...]
    """Ways of training that the files leave possible; empty = all."""
    model: str | None
    """Hub id or path, as written."""
    stack: str | None
    warnings: tuple[str, ...]
    """What moves memory or time and cannot be described."""
    unsettled: tuple[Unsettled, ...]

    def check(self, typed: Collection[str] = ()) -> None:
        """Raise VramplanError for the first thing in dispute that no option of `typed` settles."""
        open_ = [u for u in self.unsettled if not set(u.knobs) & set(typed)]
        if open_:
            more = f" (and {len(open_) - 1} more)" if len(open_) > 1 else ""
            options = " or ".join("MODEL" if k == "model" else "--" + k.replace("_", "-") for k in open_[0].knobs)
            raise VramplanError(f"{open_[0].text}{more}\n  {options} on the command line settles it")

    def recipe(self, method: Method | None = None, **typed: Any) -> Recipe:
        """The recipe with `typed` knobs over it. `method` is needed where the files leave several possible."""
        self.check({*typed, *(("method",) if method else ())})
        if method is None:
            if len(self.methods) != 1:
                raise VramplanError("the files leave the method open: " + ", ".join(self.methods or ("any",)))
            method = self.methods[0]
        return Recipe(method=method, **(self.for_methods((method,)).knobs.decided() | typed))

    def for_methods(self, methods: tuple[Method, ...]) -> Intake:
        """Without the knobs that make no sense where a person asks for other methods than the files do."""
        if not self.methods or not methods or set(methods) <= set(self.methods):
            return self
        return replace(self, knobs=replace(self.knobs, quant=None, adapter_dtype=None))

    def notes(self, typed: Collection[str] = ()) -> tuple[str, ...]:
        """What a person should know beside the answer: what came from where, what was not understood."""
        found = []
        for file in self.files:
            taken = [
                f"{knob.replace('_', '-')} {_shown(value)}"
                for knob, value in self._values().items()
                if knob not in typed and self.sources.get(knob, "").startswith(file.path + ":")
            ]
            idle = len(file.without_influence)
            rest = f"; {idle} other key{'s do' if idle > 1 else ' does'} not change a step" if idle else ""
            found.append(f"From {file.path} ({file.kind}): {', '.join(taken) or 'nothing'}{rest}.")
            if file.unknown:
                found.append("Unknown keys, passed over: " + "; ".join(file.unknown) + ".")
        defaults: dict[str, list[str]] = {}
        for knob, value in self._values().items():
            source = self.sources.get(knob, "")
            if knob not in typed and source.startswith("default of "):
                defaults.setdefault(source, []).append(f"{knob.replace('_', '-')} {_shown(value)}")
        found += [f"{source[0].upper()}{source[1:]}: {', '.join(knobs)}." for source, knobs in defaults.items()]
        over = [knob.replace("_", "-") for knob in self._values() if knob in typed]
        if over:
            found.append(f"The command line decides instead of the files: {', '.join(over)}.")
        return (*found, *self.warnings)

    def _values(self) -> dict[str, Any]:
        ahead = {"model": self.model, "method": " or ".join(self.methods) or None, "stack": self.stack}
        return {k: v for k, v in ahead.items() if v is not None} | self.knobs.decided()


def _shown(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else one_line(value, 200)
