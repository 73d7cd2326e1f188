"""Stacks of the catalogue: the software that trains, as the defaults it brings."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from vramplan.stack import Stack

from .catalogue import Detail, Listing
from .sheet import Column


def _record(stack: Stack) -> dict[str, Any]:
    """The knobs' defaults, and those habits that this stack does not share with most."""
    record = {f.name: getattr(stack, f.name) for f in fields(stack) if getattr(stack, f.name) != f.default}
    record["defaults"] = dict(stack.defaults)
    record["method_defaults"] = {method: dict(knobs) for method, knobs in stack.method_defaults.items()}
    return record


def _cells(stack: Stack) -> tuple[str, ...]:
    return (stack.name, stack.title, "not yet" if stack.unsupported else "yes")


LISTING = Listing(
    name="stacks",
    columns=(Column("stack", whole=True), Column("what it is"), Column("estimated", whole=True)),
    cells=_cells,
    record=_record,
    hint="--show STACK tells the defaults and habits of one.",
)

DETAIL = Detail(name="stack", title=lambda stack: f"{stack.name}: {stack.title}", record=_record)
