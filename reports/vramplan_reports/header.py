"""What every answer opens with: the model and the card that were resolved, and the recipe with all its knobs."""

from __future__ import annotations

from collections.abc import Iterator

from vramplan.estimate.result import Answer, Estimate

from .figures import gib, many
from .sheet import Block, Cell, Heading, Lines

_VERDICTS: dict[str, Cell] = {
    "fits": Cell("fits", "good"),
    "tight": Cell("tight", "warn"),
    "does_not_fit": Cell("does not fit", "bad"),
}
_LEFT_OUT = {"sharding": "none", "gpus": 1}
"""Knobs not worth a word at this value."""


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


def knobs(estimates: tuple[Estimate, ...]) -> tuple[str, ...]:
    """The knobs on which all recipes agree, under the names of their options: `batch 1`, `seq-len 2048`."""
    return tuple(f"{knob} {values[0]}" for knob, values in _values(estimates) if len(set(values)) == 1)


def differing_knobs(estimates: tuple[Estimate, ...]) -> Iterator[tuple[str, list[str]]]:
    """The others, each with its value for every recipe."""
    return ((knob, values) for knob, values in _values(estimates) if len(set(values)) > 1)


def _values(estimates: tuple[Estimate, ...]) -> Iterator[tuple[str, list[str]]]:
    recipes = [estimate.recipe.as_dict() for estimate in estimates]
    for knob in recipes[0]:
        values = [recipe[knob] for recipe in recipes]
        if knob != "method" and (knob not in _LEFT_OUT or set(values) != {_LEFT_OUT[knob]}):
            yield knob.replace("_", "-"), [_said(value) for value in values]


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if value == "" or (type(value) is int and value == 0):
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)
