"""Suites, the cells of one, and the cells that a card lacks, for people and programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vramplan_reports.sheet import Block, Cell, Column, Heading, Lines, Sheet, Table

from .runner.cells import Cell as Measured
from .runner.cells import name_of
from .runner.suites import Suite
from .runner.wanted import WantedList

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Suites to be listed; of a single one, its cells."""

    suites: tuple[Suite, ...]
    expected_s: tuple[float | None, ...] = ()
    """Of the cells of a single suite, on the card that was named."""


def document(shown: Listed | WantedList) -> dict[str, Any]:
    """JSON-ready."""
    if isinstance(shown, WantedList):
        cells = [
            {
                "cell": name_of(one.cell), "cell_id": one.cell_id, "held_out": one.held_out, "new_pairs": one.new_pairs,
                "expected_s": round(one.expected_s, 1),
            }
            for one in shown.cells
        ]  # fmt: skip
        counts = {"measured": shown.measured, "too_large": shown.too_large}
        return {
            "schema_version": SCHEMA_VERSION,
            "gpu": shown.gpu.key,
            "minutes": shown.minutes,
            **counts,
            "cells": cells,
        }
    return {
        "schema_version": SCHEMA_VERSION,
        "suites": [
            {"name": s.name, "title": s.title, "needs_cuda": s.needs_cuda, "cells": [name_of(c) for c in s.cells]}
            for s in shown.suites
        ],
    }


def sheet(shown: Listed | WantedList) -> Sheet:
    """The same as tables."""
    return tuple(_wanted(shown) if isinstance(shown, WantedList) else _listed(shown))


def _listed(shown: Listed) -> Iterator[Block]:
    if len(shown.suites) > 1:
        yield Table(
            (Column("suite", whole=True), Column("cells", "right"), Column("needs"), Column("what it is for")),
            tuple(
                (Cell(s.name), Cell(str(len(s.cells))), Cell("GPU" if s.needs_cuda else "-"), Cell(s.title))
                for s in shown.suites
            ),
        )
        yield Lines((Cell("`vramplan bench list SUITE` shows its cells.", "dim"),))
        return
    (suite,) = shown.suites
    yield Heading(f"{suite.name}: {suite.title}")
    expected = shown.expected_s or (None,) * len(suite.cells)
    total, rows, said = 0.0, [], ""
    for number, (cell, seconds) in enumerate(zip(suite.cells, expected, strict=True), 1):
        total += (seconds or 0.0) * cell.repeats
        times = (Cell("-"), Cell("-")) if seconds is None else (Cell(f"{seconds:.0f}"), Cell(f"{total / 60:.1f}"))
        rows.append((Cell(str(number)), *times, Cell(_name(cell)), Cell("" if cell.why == said else cell.why)))
        said = cell.why
    columns = (Column("", "right"), Column("s", "right"), Column("min, sum", "right"), Column("cell"), Column("why"))
    yield Table(columns, tuple(rows))


def _wanted(shown: WantedList) -> Iterator[Block]:
    yield Heading(f"wanted on {shown.gpu.name} ({shown.gpu.key})")
    total, rows = 0.0, []
    for number, one in enumerate(shown.cells, 1):
        total += one.expected_s
        rows.append(
            (
                Cell(str(number)), Cell(f"{one.expected_s:.0f}"), Cell(f"{total / 60:.1f}"), Cell(str(one.new_pairs)),
                Cell("held out" if one.held_out else ""), Cell(_name(one.cell)),
            )
        )  # fmt: skip
    columns = (
        Column("", "right"), Column("s", "right"), Column("min, sum", "right"), Column("new pairs", "right"),
        Column(""), Column("cell"),
    )  # fmt: skip
    yield Table(columns, tuple(rows))
    yield Lines((Cell(f"{shown.measured} cells are measured, {shown.too_large} surely do not fit.", "dim"),))


def _name(cell: Measured) -> str:
    return name_of(cell) + (f" x{cell.repeats}" if cell.repeats > 1 else "")
