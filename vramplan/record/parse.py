"""A record from its JSON: every key known, every value of its type; errors name the place."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal, InvalidOperation
from typing import Any, get_args

from ..errors import InvalidValueError, VramplanError
from .data import SCHEMA_VERSION, Effective, Kind, Outcome, PhaseRecord, PricedRun, Record, Request, StepRecord


def record_from(values: object, where: str) -> Record:
    """A record from its JSON; `where` names it in errors."""
    v = _object(values, where)
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


def _object(values: object, where: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise VramplanError(f"{where}: holds a JSON {type(values).__name__}, not an object")
    return dict(values)


def _each(kind: type[Any], values: object, where: str) -> tuple[Any, ...]:
    if not isinstance(values, list):
        raise InvalidValueError(where, values, "a list")
    return tuple(build_part(kind, value, f"{where}[{i}]") for i, value in enumerate(values))


_NUMBER = (int, float)
_PLAIN: dict[str, tuple[type, ...]] = {
    "int": (int,), "str": (str,), "bool": (bool,), "int | None": (int, type(None)), "str | None": (str, type(None)),
    "float | None": (*_NUMBER, type(None)), "Mapping[str, str]": (dict,), "Mapping[str, int]": (dict,),
    "Mapping[str, Any]": (dict,), "tuple[str, ...]": (list,), "Decimal": (str,),
}  # fmt: skip


def build_part(kind: type[Any], values: object, where: str) -> Any:
    """A dataclass from its JSON object: every key known, every required one there, plain values of the right type."""
    given = _object(values, where)
    known = {f.name: str(f.type) for f in fields(kind)}
    unknown = [key for key in given if key not in known]
    if unknown:
        raise VramplanError(f"{where}: unknown key {unknown[0]!r}")
    for name, value in given.items():
        given[name] = _value(value, known[name], f"{where}, {name}")
    try:
        return kind(**given)
    except TypeError as error:
        missing = str(error).partition("argument")[2].lstrip("s: ")
        raise VramplanError(f"{where}: missing {missing or error}") from None


def _value(value: Any, kind: str, where: str) -> Any:
    types = _PLAIN.get(kind)
    if types is not None and (not isinstance(value, types) or (isinstance(value, bool) and bool not in types)):
        expected = "an object" if types == (dict,) else f"of type {kind}"
        raise InvalidValueError(where, value, expected)
    if kind == "tuple[str, ...]":
        return tuple(map(str, value))
    if kind == "Decimal":
        try:
            return Decimal(value)
        except InvalidOperation:
            raise InvalidValueError(where, value, "a decimal number") from None
    return value
