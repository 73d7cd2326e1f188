"""A heat map in characters: how full a card is, cell by cell, in a table that every format can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .sheet import Cell, Column, Table, Tone

SHADES = " ░▒▓█"
"""Up to a quarter of the card, a half, three quarters, all of it."""
MARKS = {"tight": "~", "does_not_fit": " "}
TONES: dict[str, Tone] = {"fits": "good", "tight": "warn", "does_not_fit": "dim"}


class Heat(NamedTuple):
    """Bytes needed over bytes there, and the verdict."""

    share: float
    verdict: str


def heat_table(
    corner: str, rows: Sequence[str], columns: Sequence[str], cells: Mapping[tuple[str, str], Heat]
) -> Table:
    """A row of `cells` (row, column) for each of `rows`; a cell that is missing stays empty."""
    return Table(
        columns=(Column(corner, "right"), *(Column(name, "right", whole=True) for name in columns)),
        rows=tuple((Cell(row), *(_cell(cells.get((row, column))) for column in columns)) for row in rows),
    )


def _cell(heat: Heat | None) -> Cell:
    """Shade and percent; what does not fit has no shade."""
    if heat is None:
        return Cell("")
    percent = f"{100 * heat.share:.0f}" if heat.share < 10 else ">999"
    if heat.verdict != "fits":
        return Cell(f"{MARKS[heat.verdict]} {percent:>3}", TONES[heat.verdict])
    shade = SHADES[min(4, 1 + int(heat.share * 4 - 1e-9))]
    return Cell(f"{shade} {percent:>3}", TONES[heat.verdict])


LEGEND = "Percent of the card at the cautious end: shaded fits, ~ is tight, bare does not fit."
