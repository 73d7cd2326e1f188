"""Cells: what a suite, or a command line, asks to be measured, and how long it is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from vramplan.catalog import find_config, find_stack
from vramplan.errors import InvalidValueError, UnsupportedError
from vramplan.gpu import Gpu
from vramplan.recipe import Recipe
from vramplan.record import Outcome, Request
from vramplan.resolve import resolve
from vramplan.units import GIB

from ..job import FAULTS, Device, Job

EXPECTED: tuple[Outcome, ...] = ("ok", "oom", "oom_driver", "skipped")
"""Outcomes that are results; a cell may name others (`expect`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One thing to be measured. What follows `recipe` on the first lines is its identity, the rest is how."""

    model: str
    recipe: Recipe
    stack: str = "hf-trainer"
    layers: int | None = None
    """Cut to so many; None = all."""
    capacity_gib: float | None = None
    """Total memory of a smaller card that is emulated."""
    expandable_segments: bool = False
    fault: str | None = None

    warm_steps: int = 3
    min_steps: int = 5
    steady_s: float = 0.0
    longest_s: float = 10.0
    timeout_s: float = 300.0
    host_limit_gib: float | None = None
    repeats: int = 1
    grows: bool = False
    """The batch is grown and shrunk from here until both sides of the limit are known (growth)."""
    worth: float = 1.0
    """Against that of others: `wanted` puts the best first."""
    expect: Outcome | None = None
    why: str = ""

    def __post_init__(self) -> None:
        if self.expect is not None and self.expect not in get_args(Outcome):
            raise InvalidValueError("expect", self.expect, "one of " + ", ".join(get_args(Outcome)))
        if self.fault is not None and self.fault not in FAULTS:
            raise InvalidValueError("fault", self.fault, "one of " + ", ".join(FAULTS))
        for name in ("warm_steps", "min_steps", "repeats"):
            if not 1 <= getattr(self, name) <= 10_000:
                raise InvalidValueError(name, getattr(self, name), "a whole number from 1 to 10,000")
        if not 0 < self.timeout_s <= 86_400:
            raise InvalidValueError("timeout_s", self.timeout_s, "a number of seconds up to a day")

    @property
    def settings(self) -> dict[str, Any]:
        """What its request has beside the recipe."""
        found: dict[str, Any] = {}
        if self.capacity_gib is not None:
            found["capacity_bytes"] = int(self.capacity_gib * GIB)
        if self.expandable_segments:
            found["expandable_segments"] = True
        if self.fault is not None:
            found["fault"] = self.fault
        return found

    @property
    def environment(self) -> dict[str, str]:
        """Settings that a process must start with."""
        return {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"} if self.expandable_segments else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A cell with everything resolved for one machine."""

    cell: Cell
    request: Request
    config: Mapping[str, Any]

    def job(self, device: Device, baseline_bytes: int | None) -> Job:
        cell = self.cell
        return Job(
            config=self.config,
            layers=self.request.layers,
            recipe=self.request.recipe,
            device=device,
            baseline_bytes=baseline_bytes,
            capacity_bytes=cell.settings.get("capacity_bytes"),
            warm_steps=cell.warm_steps,
            min_steps=cell.min_steps,
            steady_s=cell.steady_s,
            longest_s=cell.longest_s,
            fault=cell.fault,
        )


def prepare(cell: Cell, gpu: Gpu | None, gpu_key: str | None = None, *, online: bool = False) -> Prepared:
    """Resolve a cell for a card (None: the CPU, or one that is not in the catalogue). Raises VramplanError."""
    identity, config = find_config(cell.model, online=online)
    resolved = resolve(cell.recipe, cell.recipe.method, find_stack(cell.stack), gpu)
    if resolved.gpus > 1:
        raise UnsupportedError(f"the rig measures one GPU, not {resolved.gpus} that work together")
    depth = _depth(config) if cell.layers is None else cell.layers
    if depth > _depth(config):
        raise InvalidValueError("layers", depth, f"a number up to the {_depth(config)} of {identity}")
    return Prepared(
        cell=cell,
        config=dict(config),
        request=Request(
            model=identity,
            layers=depth,
            gpu=gpu.key if gpu is not None else gpu_key,
            recipe=resolved.as_dict(),
            settings=cell.settings,
        ),
    )


def _depth(config: Mapping[str, Any]) -> int:
    """Layers that a config.json names: one of three words, by family."""
    text = config.get("text_config", config)
    for key in ("num_hidden_layers", "n_layer", "num_layers"):
        if isinstance(text.get(key), int):
            return int(text[key])
    raise UnsupportedError("the config names no number of layers")


_NAMED = ("rank", "targets", "quant", "dtype", "autocast", "adapter_dtype", "optimizer", "attention", "loss",
          "lora_dropout", "grad_accum")  # fmt: skip
_SPEAK_FOR_THEMSELVES = ("quant", "optimizer", "attention")


def name_of(cell: Cell) -> str:
    """For people: model, method and what differs from the usual."""
    recipe = cell.recipe
    parts = [cell.model.rpartition("/")[2], recipe.method]
    if cell.layers is not None:
        parts.append(f"{cell.layers}-layers")
    if cell.fault is not None:
        return " ".join([*parts, f"fault={cell.fault}"])
    parts.append(f"b{recipe.batch} s{recipe.seq_len}")
    if cell.stack != "hf-trainer":
        parts.append(cell.stack)
    usual = Recipe(method=recipe.method)
    for knob in _NAMED:
        value = getattr(recipe, knob)
        if value != getattr(usual, knob):
            parts.append(str(value) if knob in _SPEAK_FOR_THEMSELVES else f"{knob.replace('_', '-')}={value}")
    for knob, words in (("checkpointing", "checkpointing"), ("kbit_prep", "kbit-prep")):
        value = getattr(recipe, knob)
        if value is not None:
            parts.append(words if value else f"no-{words}")
    if cell.capacity_gib is not None:
        parts.append(f"on-{cell.capacity_gib:g}-GiB")
    if cell.expandable_segments:
        parts.append("expandable")
    if cell.grows:
        parts.append("grown")
    return " ".join(parts)
