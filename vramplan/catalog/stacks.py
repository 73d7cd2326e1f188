"""Software stacks by name: `trl`, `transformers-4.48`, or a stack with something on top, `transformers-4.48+foak`.

In `stacks.json` a stack `extends` another and overrides its knobs, knobs of one method (full, lora, qlora) and habits;
every value is a pair of [value, where it comes from]. (JSON, because reading TOML costs an estimate 8 ms.)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from ..errors import UnknownNameError, VramplanError
from ..recipe import METHODS
from ..stack import Stack
from .files import shipped_text


@cache
def _tables() -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = json.loads(shipped_text("stacks.json"))
    return tables


def find_stack(name: str) -> Stack:
    """The stack called `name`; `BASE+TOP` puts a `+TOP` entry on a base. Raises UnknownNameError."""
    base, *tops = name.split("+")
    names = [base, *("+" + top for top in tops)]
    for part in names:
        if part not in _tables():
            known = (key for key in _tables() if key.startswith("+") == part.startswith("+"))
            raise UnknownNameError("stack", part, known, hint="`vramplan stacks` lists them")
    return _build(name, [layer for part in names for layer in _lineage(part)])


def stacks() -> Iterator[Stack]:
    """Every stack of the catalogue, in the file's order; `+TOP` entries are left out."""
    for name in _tables():
        if not name.startswith("+"):
            yield find_stack(name)


def stack_tops() -> Iterator[tuple[str, str]]:
    """`+TOP` entries: name and title."""
    for name, table in _tables().items():
        if name.startswith("+"):
            yield name, table["title"]


def _lineage(name: str) -> list[dict[str, Any]]:
    """A stack's tables, the most general first."""
    table = _tables()[name]
    parent = table.get("extends")
    return [*(_lineage(parent) if parent else []), table]


def _build(name: str, layers: list[dict[str, Any]]) -> Stack:
    own = layers[-1] if "+" not in name else next(t for t in reversed(layers) if "versions" in t)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    knobs: dict[str, Any] = {}
    by_method: dict[str, dict[str, Any]] = {method: {} for method in METHODS}
    for layer in layers:
        _take(layer.get("knobs", {}), knobs, sources, "")
        _take(layer.get("habits", {}), values, sources, "")
        for method in METHODS:
            _take(layer.get(method, {}), by_method[method], sources, f"{method}.")
        for key in ("unsupported", "notes"):
            if key in layer:
                values[key] = tuple(layer[key]) if key == "notes" else layer[key]
    try:
        return Stack(
            name=name, title=own["title"], versions=own["versions"], source=own["source"],
            defaults=knobs, method_defaults=by_method, sources=sources, **values,
        )  # fmt: skip
    except (TypeError, KeyError) as error:
        raise VramplanError(f"stacks.json: stack {name!r}: {error}") from None


def _take(table: dict[str, Any], into: dict[str, Any], sources: dict[str, str], prefix: str) -> None:
    for knob, (value, source) in table.items():
        into[knob] = value
        sources[prefix + knob] = source
