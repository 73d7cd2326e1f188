"""JSON of `vramplan plan` (schema_version 1); money as texts of exact decimals in USD."""

from __future__ import annotations

from vramplan.plan.command import estimate_command
from vramplan.plan.result import Plan, Plans

from .cost import cost_document
from .document import Document, gpu_document, model_document, opening
from .plan_words import name_of, why


def document(plans: Plans, /) -> Document:
    """schema_version 1; money as texts of exact decimals in USD."""
    wishes, market = plans.wishes, plans.market
    return opening() | {
        "model": model_document(plans.model),
        "stack": plans.stack,
        "wishes": {
            "budget_usd": None if wishes.budget_usd is None else str(wishes.budget_usd),
            "deadline_s": wishes.deadline_s,
            "methods": list(wishes.methods),
            "no_quantization": wishes.no_quantization,
            "effective_batch": wishes.sequences_per_step,
            "effective_batch_assumed": wishes.effective_batch is None,
            "gpus": list(wishes.counts),
            "kinds": list(market.kinds),
            "providers": list(market.providers),
            "regions": list(market.regions),
        },
        "searched": {
            "cards": plans.cards,
            "fitting": plans.fitting,
            "offers": plans.offers,
            "left_out": list(plans.left_out),
        },
        "found": plans.found,
        "picks": [
            {
                "kind": pick.kind,
                "plan": _plan_document(plans, pick.plan),
                "runner_up": None if pick.runner_up is None else _plan_document(plans, pick.runner_up),
                "why": why(pick),
            }
            for pick in plans.picks
        ],
        "front": [_plan_document(plans, plan) for plan in plans.front],
        "by_method": [_plan_document(plans, plan) for plan in plans.by_method],
        "nearest": None if plans.nearest is None else _plan_document(plans, plans.nearest),
        "relaxations": [
            {
                "constraint": found.constraint,
                "asked": found.asked,
                "needed": found.needed,
                "excess": found.excess,
                "plan": _plan_document(plans, found.plan),
            }
            for found in plans.relaxations
        ],
    }


def _plan_document(plans: Plans, plan: Plan) -> Document:
    speed = plan.speed
    return {
        "gpu": gpu_document(plan.gpu) | {"count": plan.gpus},
        "method": plan.recipe.method,
        "recipe": plan.recipe.as_dict(),
        "command": list(estimate_command(name_of(plans), plan.gpu, plan.recipe)),
        "verdict": plan.verdict,
        "need_bytes": plan.need_bytes,
        "jobs_side_by_side": plan.side_by_side,
        "speed": {
            "tokens_per_s_per_gpu": speed.tokens_per_s_per_gpu,
            "interval": list(speed.interval),
            "step_time_s": speed.step_time_s,
            "bound_by": speed.bound_by,
            "source": speed.source,
        },
        "cost": cost_document(plan.cost),
        "notes": list(plan.notes),
    }
