"""What every answer opens with: the model and the card that were resolved, and the recipe with all its knobs."""

from __future__ import annotations

from collections.abc import Iterator

from vramplan.estimator.result import Answer, Estimate, Lever
from vramplan.recipe import ResolvedRecipe

from .figures import gib, many
from .sheet import Block, Cell, Heading, Lines

_VERDICTS: dict[str, Cell] = {
    "fits": Cell("fits", "good"),
    "tight": Cell("tight", "warn"),
    "does_not_fit": Cell("does not fit", "bad"),
}
_LEFT_OUT = {"sharding": "none", "gpus": "1"}
"""Knobs not worth a word at this value."""
_OF_ADAPTERS = ("rank", "targets", "adapter_dtype", "lora_dropout")
_ABSENT = "-"


def title(answer: Answer) -> Iterator[Block]:
    """The model as resolved, and the card."""
    model = answer.model
    asked = f"{model.alias} = " if model.alias and model.alias != model.id else ""
    yield Heading(f"{asked}{model.id}")
    shape = f"{many(model.parameters)} parameters, {model.layers} layers, {model.model_type}"
    yield Lines((Cell(shape), Cell(_card(answer))))


def _card(answer: Answer) -> str:
    if answer.gpu is None:
        return "no card named: --gpu KEY adds the verdict"
    gpu = answer.gpu
    return f"on one {gpu.name} ({gpu.key}), {gib(gpu.capacity_bytes)} GiB"


def verdict(estimate: Estimate) -> Cell:
    return _VERDICTS[estimate.verdict] if estimate.verdict else Cell("")


def change(lever: Lever) -> str:
    """A lever as one would type it: `--seq-len 1024`, `--no-kbit-prep`."""
    knob = lever.knob.replace("_", "-")
    switch = {"on": f"--{knob}", "off": f"--no-{knob}"}
    return switch.get(lever.value, f"--{knob} {lever.value}")


def knobs(estimates: tuple[Estimate, ...]) -> tuple[str, ...]:
    """The knobs on which all recipes agree, under the names of their options: `batch 1`, `seq-len 2048`."""
    return tuple(f"{knob} {_common(values)}" for knob, values in _values(estimates) if _common(values))


def differing_knobs(estimates: tuple[Estimate, ...]) -> Iterator[tuple[str, list[str]]]:
    """The others, each with its value for every recipe."""
    return ((knob, values) for knob, values in _values(estimates) if not _common(values))


def _common(values: list[str]) -> str | None:
    """The one value of all recipes that have this knob at all."""
    different = set(values) - {_ABSENT}
    return different.pop() if len(different) == 1 else None


def _values(estimates: tuple[Estimate, ...]) -> Iterator[tuple[str, list[str]]]:
    """Knobs that some recipe has, with their values in words."""
    for knob in estimates[0].recipe.as_dict():
        values = [_said(knob, e.recipe) for e in estimates]
        if knob != "method" and set(values) - {_ABSENT} and set(values) != {_LEFT_OUT.get(knob)}:
            yield knob.replace("_", "-"), values


def _said(knob: str, recipe: ResolvedRecipe) -> str:
    if knob in _OF_ADAPTERS and not recipe.has_adapters:
        return _ABSENT
    value = getattr(recipe, knob)
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
