"""The question in one call: what the command line asks, and what `from vramplan import estimate` gives."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING

from .catalog import NO_PROFILE, as_gpu, as_model, as_stack, find_profile, profile_for
from .errors import InvalidValueError
from .estimator import answer
from .gpu import Gpu
from .model import Model
from .recipe import METHODS, Method, Recipe

if TYPE_CHECKING:
    from .estimator.result import Answer, Estimate
    from .profile import Profile
    from .stack import Stack


def estimate(
    model: Model | str | PathLike[str],
    gpu: Gpu | str | None = None,
    recipe: Recipe | None = None,
    *,
    methods: tuple[Method, ...] | None = None,
    stack: Stack | str = "trl",
    levers: bool = False,
    online: bool = False,
    profile: Profile | str | None = None,
) -> Answer:
    """Memory, verdict, limits, speed and cost of fine-tuning `model` on `gpu`.

    `model` is an alias, a hub id of the catalogue, a folder or file with a config.json, or a `Model`; `gpu` a key or
    name of the catalogue, a `Gpu`, or None for memory without a verdict. Without `methods` the recipe's own method is
    answered, and without a recipe full, LoRA and QLoRA with the defaults of `stack`. `levers` also works out what
    single changes of the recipe would save, which takes longer than the estimate itself; `online` may ask the hub.
    `profile` is a fitted profile, its name or its file; None takes the one called after card and stack where there is
    one, `"none"` takes none. Raises `VramplanError` with a message for people where the question cannot be answered.
    Bytes are per GPU.
    """
    if methods is None:
        methods = METHODS if recipe is None else (recipe.method,)
    card = as_gpu(gpu)
    found = answer(
        as_model(model, online=online),
        card,
        recipe or Recipe(),
        methods=methods,
        stack=stack,
        levers=levers,
        profile=chosen_profile(profile, card, stack),
    )
    return with_rates(found, stack, explained=levers)


def with_rates(found: Answer, stack: Stack | str, *, explained: bool = False) -> Answer:
    """The answer with speed and cost beside the memory; `explained` adds the terms of the time. Without a card neither
    is known; without the card's peaks or a price a note says so."""
    gpu = found.gpu
    if gpu is None:
        return found
    from .catalog import prices
    from .cost import hires, rate_of
    from .speed import speed, speed_notes, why_no_speed

    habits = as_stack(stack)
    gpus = found.estimates[0].recipe.gpus
    hired = hires(prices(gpu.key), gpu.key, gpus)
    notes = speed_notes(found.model, gpu, gpus)
    if not hired and not why_no_speed(gpu, gpus):
        notes = (*notes, f"No cost: no price of the {gpu.name} is known.")
    rated: list[Estimate] = []
    for estimate in found.estimates:
        fast = speed(found.model, estimate.recipe, habits, gpu, found.profile, explained=explained)
        cost = rate_of(fast, hired[0]) if fast and hired else None
        rated.append(replace(estimate, speed=fast, cost=cost, notes=(*estimate.notes, *notes)))
    return replace(found, estimates=tuple(rated))


def chosen_profile(profile: Profile | str | None, gpu: Gpu | None, stack: Stack | str) -> Profile | None:
    """What `profile` asks for: itself, the one of that name or file, or the one called after card and stack.

    Raises VramplanError where it is not known, or of another card; another stack is an extrapolation (a note says so).
    """
    if profile is None:
        return None if gpu is None else profile_for(gpu.key, stack if isinstance(stack, str) else stack.name)
    if profile == NO_PROFILE:
        return None
    found = find_profile(profile) if isinstance(profile, str) else profile
    if gpu is None or gpu.key != found.gpu_key:
        asked = "no card was named" if gpu is None else f"asked for {gpu.key}"
        raise InvalidValueError("--profile", found.name, f"of this card: it was fitted on {found.gpu_key}, {asked}")
    return found
