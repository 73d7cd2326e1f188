"""A budget as JSON (schema_version 1, `budget.schema.json`): keys may be added, none changes its meaning.

Money is text in USD with two decimals, as it was reckoned: JSON's numbers are not decimal.
"""

from __future__ import annotations

import os
from datetime import date
from decimal import Decimal

from vramplan.budget.result import (
    Assumption,
    Budget,
    Command,
    HeatCell,
    JobBudget,
    Range,
    SourceOf,
    SpentBy,
    Swing,
    Way,
)
from vramplan.cost.bill import CostLine

from ..document import Document, memory_document, opening

KIND = "budget"


def document(budget: Budget, /) -> Document:
    """Everything a reader of the page sees, and nothing that depends on the clock."""
    plan = budget.scenario
    return opening() | {
        "kind": KIND,
        "project": {
            "name": plan.name,
            "date": _day(plan.date),
            "owner": plan.owner,
            "summary": plan.summary,
            "scenario": os.path.basename(plan.path),
        },
        "limits": {
            "budget_usd": _text(plan.limits.budget_usd),
            "deadline": _day(plan.limits.deadline),
            "gpus": list(plan.limits.gpus),
            "providers": list(plan.limits.providers),
            "regions": list(plan.limits.regions),
            "kinds": list(plan.limits.kinds),
            "machines": plan.limits.machines,
        },
        "total": {
            "subtotal_usd": _range(budget.subtotal),
            "contingency_usd": _text(budget.contingency),
            "usd": _range(budget.total),
            "hours": _range(budget.hours),
            "kwh": _text(budget.kwh),
            "co2_kg": _text(budget.co2_kg),
        },
        "schedule": {
            "start": _day(budget.start),
            "end": _day(budget.end),
            "end_interval": None if budget.end_interval is None else [_day(day) for day in budget.end_interval],
        },
        "affordable": budget.affordable,
        "on_time": budget.on_time,
        "jobs": [_job(job) for job in budget.jobs],
        "lines": [{"job": job} | _line(line) for job, line in budget.lines],
        "swings": [_swing(swing) for swing in budget.swings],
        "spent": [_spent(point) for point in budget.spent],
        "assumptions": [_assumption(one) for one in budget.assumptions],
        "sources": [_source(one) for one in budget.sources],
        "counts": _counts(budget),
        "notes": list(budget.notes),
        "commands": [_command(one) for one in budget.commands],
        "measured": _measured(budget),
    }


def _job(job: JobBudget) -> Document:
    return {
        "name": job.plan.name,
        "note": job.plan.note,
        "model": {"id": job.model.id, "parameters": job.model.parameters},
        "stack": job.plan.stack,
        "problem": job.problem,
        "way": None if job.way is None else _way(job.way),
        "recipe": None if job.way is None else job.way.recipe.as_dict(),
        "memory": None if job.estimate is None else memory_document(job.estimate.memory),
        "usd": _range(job.usd),
        "hours": _range(job.hours),
        "start": _day(job.start),
        "end": _day(job.end),
        "kwh": _text(job.kwh),
        "co2_kg": _text(job.co2_kg),
        "steps": None if job.work is None else job.work.steps,
        "tokens": None if job.work is None else job.work.tokens,
        "processed_tokens": None if job.work is None else job.work.processed_tokens,
        "ways": [_way(way) for way in job.ways],
        "heat": [_heat(cell) for cell in job.heat],
        "notes": list(job.notes),
        "commands": [_command(one) for one in job.commands],
        "config": None if job.config is None else {"name": job.config.name, "text": job.config.text},
    }


def _way(way: Way) -> Document:
    speed, hire = way.speed, way.hire
    return {
        "gpu": way.gpu.key,
        "gpus": int(way.recipe.gpus),
        "method": way.recipe.method,
        "verdict": way.verdict,
        "need_bytes": way.need_bytes,
        "capacity_bytes": way.gpu.capacity_bytes,
        "speed": None
        if speed is None
        else {
            "tokens_per_s_per_gpu": speed.tokens_per_s_per_gpu,
            "interval": list(speed.interval),
            "step_time_s": speed.step_time_s,
            "bound_by": speed.bound_by,
            "source": speed.source,
        },
        "hire": None
        if hire is None
        else {
            "provider": hire.price.provider,
            "region": hire.price.region,
            "instance": hire.price.instance,
            "kind": hire.price.kind,
            "date": _day(hire.price.date),
            "stale": hire.stale,
            "instances": hire.instances,
            "usd_per_hour": _text(hire.usd_per_hour),
            "spread": [_text(end) for end in hire.spread],
            "source": hire.price.source,
        },
        "usd": _range(way.usd),
        "hours": _range(way.hours),
        "on_front": way.on_front,
    }


def _line(line: CostLine) -> Document:
    return {
        "label": line.label,
        "quantity": _text(line.quantity),
        "unit": line.unit,
        "unit_price_usd": _text(line.unit_price),
        "amount_usd": _text(line.amount),
        "provenance": line.provenance,
        "price_date": _day(line.price_date),
        "note": line.note,
    }


def _swing(swing: Swing) -> Document:
    return {
        "label": swing.label,
        "key": swing.key,
        "low": swing.low,
        "value": swing.value,
        "high": swing.high,
        "usd_at_low": _text(swing.usd_at_low),
        "usd_at_high": _text(swing.usd_at_high),
        "end_at_low": _day(swing.end_at_low),
        "end_at_high": _day(swing.end_at_high),
        "reason": swing.reason,
        "source": swing.source,
    }


def _heat(cell: HeatCell) -> Document:
    return {
        "batch": cell.batch,
        "seq_len": cell.seq_len,
        "need_bytes": cell.need_bytes,
        "verdict": cell.verdict,
    }


def _spent(point: SpentBy) -> Document:
    return {
        "day": _day(point.day),
        "usd": _range(point.usd),
        "with_contingency_usd": _text(point.with_contingency),
    }


def _assumption(one: Assumption) -> Document:
    return {"what": one.what, "value": one.value, "reason": one.reason, "where": one.where}


def _source(one: SourceOf) -> Document:
    return {"what": one.what, "source": one.source, "date": _day(one.day), "stale": one.stale}


def _command(one: Command) -> Document:
    return {"what": one.what, "command": one.text}


def _counts(budget: Budget) -> Document:
    counts = budget.counts
    return {
        "measured": counts.measured,
        "fitted": counts.fitted,
        "exact": counts.exact,
        "published": counts.published,
        "assumed": counts.assumed,
        "left_out": list(counts.left_out),
    }


def _measured(budget: Budget) -> Document | None:
    if budget.measured is None:
        return None
    from .. import accuracy

    found: Document = accuracy.document(budget.measured)
    return found


def _range(found: Range | None) -> Document | None:
    if found is None:
        return None
    return {"value": _text(found.value), "low": _text(found.low), "high": _text(found.high)}


def _text(number: Decimal | None) -> str | None:
    return None if number is None else f"{number:f}"


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()
