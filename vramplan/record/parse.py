"""A record from its JSON: every key known, every value of its type; errors name the place."""

from __future__ import annotations

from typing import Any, get_args

from ..errors import InvalidValueError
from ..from_json import build_part, json_object
from .data import SCHEMA_VERSION, Effective, Kind, Outcome, PhaseRecord, PricedRun, Record, Request, StepRecord


def record_from(values: object, where: str) -> Record:
    """A record from its JSON; `where` names it in errors."""
    v = json_object(values, where)
    version = v.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise InvalidValueError(
            f"{where}, schema_version", version, f"{SCHEMA_VERSION}, the one that this version reads"
        )
    cell_id = v.pop("cell_id", None)
    if v.get("kind") not in get_args(Kind):
        raise InvalidValueError(f"{where}, kind", v.get("kind"), "one of " + ", ".join(get_args(Kind)))
    if v.get("outcome") not in get_args(Outcome):
        raise InvalidValueError(f"{where}, outcome", v.get("outcome"), "one of " + ", ".join(get_args(Outcome)))
    v["request"] = build_part(Request, v.get("request"), f"{where}, request")
    if v.get("effective") is not None:
        v["effective"] = build_part(Effective, v["effective"], f"{where}, effective")
    v["phases"] = _each(PhaseRecord, v.get("phases"), f"{where}, phases")
    v["steps"] = _each(StepRecord, v.get("steps"), f"{where}, steps")
    if v.get("price") is not None:
        v["price"] = build_part(PricedRun, v["price"], f"{where}, price")
    record: Record = build_part(Record, v, where)
    if cell_id != record.cell_id:
        raise InvalidValueError(f"{where}, cell_id", cell_id, f"the id of this request, {record.cell_id}")
    return record


def _each(kind: type[Any], values: object, where: str) -> tuple[Any, ...]:
    if not isinstance(values, list):
        raise InvalidValueError(where, values, "a list")
    return tuple(build_part(kind, value, f"{where}[{i}]") for i, value in enumerate(values))
