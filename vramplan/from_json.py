"""Dataclasses from JSON objects, which are not trusted: every key known, every value of its type, errors with place."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from typing import Any

from .errors import InvalidValueError, UnknownNameError, VramplanError

_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "a text"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "true or false"),
    "Decimal": ((str,), "a decimal number in quotes"),
    "tuple[str, ...]": ((list,), "a list of texts"),
}
"""Annotation -> what JSON has for it, and how that is called. Others are built by the caller, and taken as they are."""


def json_object(values: object, where: str) -> dict[str, Any]:
    """A copy of `values`; raises VramplanError where it is no JSON object."""
    if not isinstance(values, dict):
        raise VramplanError(f"{where}: holds a JSON {type(values).__name__}, not an object")
    return dict(values)


def build_part(kind: type[Any], values: object, where: str) -> Any:
    """A `kind`, a dataclass, from its JSON object; `where` names it in errors. Raises VramplanError."""
    annotations = {field.name: str(field.type) for field in fields(kind)}
    given = {
        name: _value(value, annotations[name], f"{where}, {name}")
        for name, value in known_keys(values, annotations, where).items()
    }
    try:
        return kind(**given)
    except TypeError as error:
        missing = str(error).partition("argument")[2].lstrip("s: ")
        raise VramplanError(f"{where}: missing {missing or error}") from None


def known_keys(values: object, known: Collection[str], where: str) -> dict[str, Any]:
    """A copy of `values`; raises VramplanError where it is no JSON object, or has a key that is not `known`."""
    given = json_object(values, where)
    for name in given:
        if name not in known:
            raise UnknownNameError(f"key in {where}:", name, known)
    return given


def _value(value: Any, annotation: str, where: str) -> Any:
    plain = annotation.removesuffix(" | None")
    if value is None and plain != annotation:
        return None
    if plain.startswith("Mapping["):
        return json_object(value, where)
    if plain not in _TYPES:
        return value
    types, said = _TYPES[plain]
    right = type(value) in types and (plain != "float" or abs(value) <= sys.float_info.max)  # False for nan
    if isinstance(value, list):
        right = right and all(isinstance(item, str) for item in value)
    if not right:
        raise InvalidValueError(where, value, said)
    if plain == "Decimal":
        try:
            return Decimal(value)
        except InvalidOperation:
            raise InvalidValueError(where, value, said) from None
    return tuple(value) if isinstance(value, list) else value
