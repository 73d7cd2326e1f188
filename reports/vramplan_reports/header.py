"""What every answer opens with: the model and the card that were resolved, and the recipe with all its knobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vramplan.estimator.result import Answer, Estimate, Lever
from vramplan.gpu import Gpu
from vramplan.model import Model
from vramplan.recipe import ResolvedRecipe

from .figures import gib, many
from .sheet import Block, Cell, Heading, Lines

if TYPE_CHECKING:
    from vramplan.profile import Profile

VERDICTS: dict[str, Cell] = {
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
    gpus = answer.estimates[0].recipe.gpus if answer.estimates else 1
    return opening_of(answer.model, answer.gpu, answer.profile, gpus)


def opening_of(model: Model, gpu: Gpu | None, profile: Profile | None = None, gpus: int = 1) -> Iterator[Block]:
    """`title`, without an answer."""
    asked = f"{model.alias} = " if model.alias and model.alias != model.id else ""
    yield Heading(f"{asked}{model.id}")
    shape = f"{many(model.parameters)} parameters, {model.layers} layers, {model.model_type}"
    card = Cell(on_card(gpu, gpus) if gpu else "no card named: --gpu KEY adds the verdict")
    measured = () if profile is None else (Cell(with_profile(profile)),)
    yield Lines((Cell(shape), card, *measured))


def with_profile(profile: Profile) -> str:
    """Which measurements an answer rests on."""
    return f"with profile {profile.name} ({len(profile.record_ids)} runs, fitted {profile.created})"


def on_card(gpu: Gpu, gpus: int = 1) -> str:
    count, each = ("one", "") if gpus == 1 else (f"{gpus} x", " each")
    return f"on {count} {gpu.name} ({gpu.key}), {gib(gpu.capacity_bytes)} GiB{each}"


def verdict(estimate: Estimate) -> Cell:
    return VERDICTS[estimate.verdict] if estimate.verdict else Cell("")


def change(lever: Lever) -> str:
    """A lever as one would type it: `--seq-len 1024`, `--no-kbit-prep`."""
    knob = lever.knob.replace("_", "-")
    switch = {"on": f"--{knob}", "off": f"--no-{knob}"}
    return switch.get(lever.value, f"--{knob} {lever.value}")


def knobs(estimates: tuple[Estimate, ...]) -> tuple[str, ...]:
    """The knobs on which all recipes agree, under the names of their options: `batch 1`, `seq-len 2048`."""
    return knob_values(tuple(e.recipe for e in estimates))


def differing_knobs(estimates: tuple[Estimate, ...]) -> Iterator[tuple[str, list[str]]]:
    """The others, each with its value for every recipe."""
    return differing_values(tuple(e.recipe for e in estimates))


def knob_values(recipes: tuple[ResolvedRecipe, ...]) -> tuple[str, ...]:
    """`knobs`, of recipes without estimates."""
    return tuple(f"{knob} {_common(values)}" for knob, values in _values(recipes) if _common(values))


def differing_values(recipes: tuple[ResolvedRecipe, ...]) -> Iterator[tuple[str, list[str]]]:
    """`differing_knobs`, of recipes without estimates."""
    return ((knob, values) for knob, values in _values(recipes) if not _common(values))


def _common(values: list[str]) -> str | None:
    """The one value of all recipes that have this knob at all."""
    different = set(values) - {_ABSENT}
    return different.pop() if len(different) == 1 else None


def _values(recipes: tuple[ResolvedRecipe, ...]) -> Iterator[tuple[str, list[str]]]:
    """Knobs that some recipe has, with their values in words."""
    for knob in recipes[0].as_dict():
        values = [_said(knob, recipe) for recipe in recipes]
        if knob != "method" and set(values) - {_ABSENT} and set(values) != {_LEFT_OUT.get(knob)}:
            yield knob.replace("_", "-"), values


def _said(knob: str, recipe: ResolvedRecipe) -> str:
    if knob in _OF_ADAPTERS and not recipe.has_adapters:
        return _ABSENT
    value = getattr(recipe, knob)
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
