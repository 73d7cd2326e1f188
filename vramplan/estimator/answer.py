"""One question answered: methods side by side, with verdict, limits and what would help."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import UnknownNameError
from ..recipe import METHODS, Method, Recipe, ResolvedRecipe
from ..resolve import resolve
from ..step.setting import Setting
from ..step.weights import adapters, trainable
from .phases import StepMemory
from .result import Answer, Estimate, Lever, Memory, ParameterCounts, Phase, Verdict
from .search import Evaluator, smallest_cards
from .terms import terms
from .tiers import Tiers, tiers

if TYPE_CHECKING:
    from ..gpu import Gpu
    from ..model import Model
    from ..profile import Profile
    from ..stack import Stack


def answer(
    model: Model,
    gpu: Gpu | None,
    recipe: Recipe,
    *,
    methods: tuple[Method, ...] = METHODS,
    stack: Stack | str = "trl",
    levers: bool = False,
    profile: Profile | None = None,
) -> Answer:
    """Estimate `methods` of training `model` on `gpu` side by side, with the constants of `profile` where it has any.

    A knob of the recipe that a method cannot take (a 4-bit type under full fine-tuning) is refused where that method
    alone was asked for, and passed over otherwise. Raises VramplanError.
    """
    from ..catalog import as_stack, gpus

    for method in methods or ("none",):
        if method not in METHODS:
            raise UnknownNameError("method", str(method), METHODS, hint="a tuple of " + ", ".join(METHODS))
    found = as_stack(stack)
    strict = len(methods) == 1
    resolved = [resolve(recipe, method, found, gpu, strict=strict) for method in methods]
    estimates = tuple(estimate_one(model, r, found, gpu, levers=levers, profile=profile) for r in resolved)
    nothing_fits = gpu is not None and all(e.verdict == "does_not_fit" for e in estimates)
    if not nothing_fits:
        return Answer(model=model, gpu=gpu, estimates=estimates, profile=profile)
    leanest = min(estimates, key=lambda e: e.memory.device_interval_bytes[0])
    cards = smallest_cards(
        (card for card in gpus() if card.cuda), lambda card: _fits(model, recipe, leanest.recipe.method, found, card)
    )
    estimates = tuple(replace(e, levers=_levers(model, e.recipe, found, gpu, profile)) for e in estimates)
    return Answer(
        model=model,
        gpu=gpu,
        estimates=estimates,
        smallest_gpus=cards,
        smallest_gpus_method=leanest.recipe.method,
        profile=profile,
    )


def estimate_one(
    model: Model,
    recipe: ResolvedRecipe,
    stack: Stack,
    gpu: Gpu | None,
    *,
    levers: bool = False,
    limits: bool = True,
    profile: Profile | None = None,
) -> Estimate:
    """One method on one card (or none: then no verdict and no limits). The limits take most of the time."""
    from .notes import extrapolation, notes

    step = StepMemory(Setting(model, recipe, stack, gpu))
    tier = tiers(step, gpu, profile)
    evaluator = Evaluator(model, recipe, stack, gpu, profile)
    capacity = gpu.capacity_bytes if gpu else None
    searched = capacity if limits else None
    return Estimate(
        recipe=recipe,
        parameters=_parameters(step),
        memory=_memory(step, tier),
        verdict=_verdict(tier, capacity),
        headroom_bytes=None if capacity is None else capacity - tier.edge_high_bytes,
        largest_micro_batch=None if searched is None else evaluator.largest_micro_batch(searched),
        longest_seq_len=None if searched is None else evaluator.longest_seq_len(searched),
        notes=(*notes(step), *extrapolation(step, profile)),
        levers=_levers(model, recipe, stack, gpu, profile) if levers else (),
    )


def memory_tiers(
    model: Model, recipe: ResolvedRecipe, stack: Stack, gpu: Gpu | None, profile: Profile | None = None
) -> tuple[Tiers, Verdict | None]:
    """The three tiers and the verdict alone, for many recipes in a row."""
    tier = tiers(StepMemory(Setting(model, recipe, stack, gpu)), gpu, profile)
    return tier, _verdict(tier, gpu.capacity_bytes if gpu else None)


def _parameters(step: StepMemory) -> ParameterCounts:
    c = step.c
    added = sum(part.count * part.elements for part in adapters(c))
    return ParameterCounts(
        total=c.model.parameters + added,
        trainable=sum(part.count * part.elements for part in trainable(c)),
        quantized=sum(m.weights * count for m, count in c.model.linears() if c.quantizes(m)),
    )


def _memory(step: StepMemory, tier: Tiers) -> Memory:
    phases = step.phases
    binding = max(phases, key=lambda name: phases[name])
    return Memory(
        allocated_bytes=tier.allocated_bytes,
        reserved_bytes=tier.reserved_bytes,
        device_bytes=tier.device_bytes,
        device_interval_bytes=tier.device_interval_bytes,
        binding_phase=binding,
        phases=tuple(Phase(name=name, allocated_bytes=size) for name, size in phases.items()),
        terms=terms(step, tier),
    )


def _verdict(tier: Tiers, capacity: int | None) -> Verdict | None:
    if capacity is None:
        return None
    if tier.edge_high_bytes <= capacity:
        return "fits"
    return "tight" if tier.edge_low_bytes <= capacity else "does_not_fit"


def _levers(
    model: Model, recipe: ResolvedRecipe, stack: Stack, gpu: Gpu | None, profile: Profile | None
) -> tuple[Lever, ...]:
    return Evaluator(model, recipe, stack, gpu, profile).levers(gpu.capacity_bytes if gpu else None)


def _fits(model: Model, recipe: Recipe, method: Method, stack: Stack, gpu: Gpu) -> bool:
    resolved = resolve(recipe, method, stack, gpu, strict=False)
    return memory_tiers(model, resolved, stack, gpu)[1] == "fits"
