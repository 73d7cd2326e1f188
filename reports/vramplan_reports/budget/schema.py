"""JSON Schema of a budget's JSON (`budget.schema.json` is this, published)."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
MONEY: Schema = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "description": "A decimal number as text; USD"}
DAY: Schema = {"type": "string", "format": "date"}
ANSWER: Schema = {"enum": ["yes", "likely", "no", None]}
VERDICT: Schema = {"enum": ["fits", "tight", "does_not_fit"]}


def _object(**properties: Schema) -> Schema:
    """Every key is there; more may come."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


RANGE = _object(value=MONEY, low=MONEY, high=MONEY)
SPEED = _object(
    tokens_per_s_per_gpu=NUMBER, interval=_list(NUMBER), step_time_s=NUMBER, bound_by=TEXT,
    source={"enum": ["fitted", "assumed", "exact"]},
)  # fmt: skip
HIRE = _object(
    provider=TEXT, region=TEXT, instance=TEXT, kind=TEXT, date=DAY, stale=FLAG, instances=WHOLE, usd_per_hour=MONEY,
    spread=_list(MONEY), source=TEXT,
)  # fmt: skip
WAY = _object(
    gpu=TEXT, gpus=WHOLE, method=TEXT, verdict=VERDICT, need_bytes=WHOLE, capacity_bytes=WHOLE, speed=_or_null(SPEED),
    hire=_or_null(HIRE), usd=_or_null(RANGE), hours=_or_null(RANGE), on_front=FLAG,
)  # fmt: skip
TERM = _object(name=TEXT, group=TEXT, bytes=WHOLE, phases=_list(TEXT), source=TEXT, formula=TEXT)
MEMORY = _object(
    allocated_bytes=WHOLE, reserved_bytes=WHOLE, device_bytes=WHOLE, device_interval_bytes=_list(WHOLE),
    binding_phase=TEXT, phases=_list(_object(name=TEXT, allocated_bytes=WHOLE)), terms=_list(TERM),
)  # fmt: skip
COMMAND = _object(what=TEXT, command=TEXT)
JOB = _object(
    name=TEXT, note=TEXT, model=_object(id=TEXT, parameters=WHOLE), stack=TEXT, problem=_or_null(TEXT),
    way=_or_null(WAY), recipe=_or_null({"type": "object"}), memory=_or_null(MEMORY), usd=_or_null(RANGE),
    hours=_or_null(RANGE), start=_or_null(DAY), end=_or_null(DAY), kwh=_or_null(MONEY), co2_kg=_or_null(MONEY),
    steps=_or_null(WHOLE), tokens=_or_null(WHOLE), processed_tokens=_or_null(WHOLE), ways=_list(WAY),
    heat=_list(_object(batch=WHOLE, seq_len=WHOLE, need_bytes=WHOLE, verdict=VERDICT)), notes=_list(TEXT),
    commands=_list(COMMAND), config=_or_null(_object(name=TEXT, text=TEXT)),
)  # fmt: skip
LINE = _object(
    job=TEXT, label=TEXT, quantity=MONEY, unit=TEXT, unit_price_usd=_or_null(MONEY), amount_usd=MONEY,
    provenance={"enum": ["measured", "fitted", "published", "assumed"]}, price_date=_or_null(DAY), note=TEXT,
)  # fmt: skip
SWING = _object(
    label=TEXT, key=TEXT, low=TEXT, value=TEXT, high=TEXT, usd_at_low=MONEY, usd_at_high=MONEY,
    end_at_low=_or_null(DAY), end_at_high=_or_null(DAY), reason=TEXT,
    source={"enum": ["fitted", "published", "assumed"]},
)  # fmt: skip
COUNTS = _object(
    measured=WHOLE, fitted=WHOLE, exact=WHOLE, published=WHOLE, assumed=WHOLE, left_out=_list(TEXT)
)  # fmt: skip


def budget_schema() -> Schema:
    """Of `report build --json`."""
    total = _object(
        subtotal_usd=RANGE, contingency_usd=MONEY, usd=RANGE, hours=RANGE, kwh=_or_null(MONEY), co2_kg=_or_null(MONEY)
    )  # fmt: skip
    limits = _object(
        budget_usd=_or_null(MONEY), deadline=_or_null(DAY), gpus=_list(TEXT), providers=_list(TEXT),
        regions=_list(TEXT), kinds=_list(TEXT), machines=WHOLE,
    )  # fmt: skip
    head: Schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "vramplan budget",
        "description": "What `vramplan report build --json` prints. Money in USD as text, hours of paid machines.",
    }
    return head | _object(
        schema_version={"const": 1},
        vramplan_version=TEXT,
        kind={"const": "budget"},
        project=_object(name=TEXT, date=DAY, owner=TEXT, summary=TEXT, scenario=TEXT),
        limits=limits,
        total=total,
        schedule=_object(start=DAY, end=_or_null(DAY), end_interval=_or_null(_list(DAY))),
        affordable=ANSWER,
        on_time=ANSWER,
        jobs=_list(JOB),
        lines=_list(LINE),
        swings=_list(SWING),
        spent=_list(_object(day=DAY, usd=RANGE, with_contingency_usd=MONEY)),
        assumptions=_list(_object(what=TEXT, value=TEXT, reason=TEXT, where=TEXT)),
        sources=_list(_object(what=TEXT, source=TEXT, date=_or_null(DAY), stale=FLAG)),
        counts=COUNTS,
        notes=_list(TEXT),
        commands=_list(COMMAND),
        measured=_or_null({"type": "object"}),
    )
