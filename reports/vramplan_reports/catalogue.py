"""The catalogue's tables: lists of models, cards, stacks and prices, and one row with all that is known of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .document import opening
from .figures import gib
from .sheet import Cell, Column, Heading, Lines, Sheet, Table

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[Row]):
    """How the rows of one table are listed."""

    name: str
    """Plural, and the key of the rows in JSON."""
    columns: tuple[Column, ...]
    cells: Callable[[Row], tuple[str, ...]]
    record: Callable[[Row], dict[str, Any]]
    hint: str
    """What to do next."""

    def sheet(self, rows: Sequence[Row], /) -> Sheet:
        table = Table(columns=self.columns, rows=tuple(tuple(map(Cell, self.cells(row))) for row in rows))
        return (table, Lines((Cell(f"{len(rows)} listed. {self.hint}", "dim"),)))

    def document(self, rows: Sequence[Row], /) -> dict[str, Any]:
        return opening() | {self.name: [self.record(row) for row in rows]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail(Generic[Row]):
    """How one row is shown: every field of its record that has a value."""

    name: str
    """Singular, and the key of the record in JSON."""
    title: Callable[[Row], str]
    record: Callable[[Row], dict[str, Any]]

    def sheet(self, row: Row, /) -> Sheet:
        fields = ((key, _said(key, value)) for key, value in self.record(row).items())
        rows = tuple((Cell(_label(key), "dim"), Cell(said)) for key, said in fields if said)
        return (Heading(self.title(row)), Table(columns=(Column(""), Column("")), rows=rows))

    def document(self, row: Row, /) -> dict[str, Any]:
        return opening() | {self.name: self.record(row)}


def _label(key: str) -> str:
    """capacity_bytes -> capacity: the unit stands with the number."""
    return key.removesuffix("_bytes").replace("_per_s", "/s").replace("_", " ")


def _said(key: str, value: object) -> str:
    if value is None or isinstance(value, bool):
        return "" if value is None else "yes" if value else "no"
    if isinstance(value, int):
        return f"{gib(value, 2)} GiB" if key.endswith("_bytes") else f"{value:,}"
    if isinstance(value, float):
        return f"{value:,g}"
    if isinstance(value, list | tuple):
        return "\n".join(map(str, value))
    if isinstance(value, dict):
        parts = ((inner, _said(inner, said).replace("\n", ", ")) for inner, said in value.items())
        return "\n".join(f"{inner}: {part}" for inner, part in parts if part)
    return str(value)
