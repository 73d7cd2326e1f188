"""Plans in a few words: cards, times, and why one beats another."""

from __future__ import annotations

from decimal import Decimal

from vramplan.plan.result import Pick, Plan, Plans

from .cost import money


def name_of(plans: Plans) -> str:
    return plans.model.alias or plans.model.id


def cards_of(plan: Plan) -> str:
    return f"{plan.gpus} x {plan.gpu.key}"


def time_of(hours: Decimal) -> str:
    """40 s, 12 min, 4.9 h, 3.2 d"""
    if hours * 60 < 2:
        return f"{hours * 3600:.0f} s"
    if hours < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours:.1f} h" if hours < 72 else f"{hours / 24:.1f} d"


def method_of(plan: Plan) -> str:
    """full, or full fsdp where the model is in parts."""
    parts = plan.recipe.sharding if plan.recipe.sharding not in ("none", "ddp") else ""
    return f"{plan.recipe.method} {parts}".rstrip()


def why(pick: Pick) -> str:
    """What a pick has over the best plan with other cards, and what that one has over it."""
    plan, other = pick.plan, pick.runner_up
    if other is None:
        return f"{pick.kind}: {cards_of(plan)}, the only cards that meet the wishes."
    saved, sooner = other.usd - plan.usd, other.hours - plan.hours
    cost = f"{money(abs(saved))} ({share_of(abs(saved), other.usd)}) {'less' if saved >= 0 else 'more'}"
    time = f"{time_of(abs(sooner))} {'sooner' if sooner >= 0 else 'later'}"
    parts = f"{time}, at {cost}," if pick.kind == "fastest" else f"{cost} and {time}"
    there = f"{cards_of(other)} at {other.cost.hire.price.provider} ({money(other.usd)}, {time_of(other.hours)})"
    return f"{pick.kind}: {cards_of(plan)} is {parts} than the next best cards, {there}."


def share_of(part: Decimal, whole: Decimal) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"
