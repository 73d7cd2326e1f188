"""Which cells a card still lacks, best first: those that teach most by the second, until the time is spent.

A cell teaches by the pairs of choices in it that no measured cell has had together (a covering design of strength two,
Cohen et al., "The AETG system", IEEE TSE 1997, greedy): model with method, length with batch, optimizer with dtype, and
so on. Its value is worth x (new pairs) / expected seconds; what is chosen counts as measured for the next choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from vramplan.errors import VramplanError
from vramplan.gpu import Gpu
from vramplan.record import FULL, Record, Request

from .cells import Cell, Prepared, prepare
from .forecast import expected_s, forecast

FACTORS = (
    "method", "stack", "rank", "targets", "quant", "dtype", "autocast", "adapter_dtype", "kbit_prep", "optimizer",
    "batch", "seq_len", "grad_accum", "checkpointing", "attention", "loss", "lora_dropout",
)  # fmt: skip
"""Knobs of a recipe that a cell may teach about, beside model and settings."""
Pair = tuple[tuple[str, Any], tuple[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A cell that is lacking."""

    cell: Cell
    cell_id: str
    held_out: bool
    """Kept from every fit: it tests what the others teach."""
    new_pairs: int
    """Pairs of choices that nothing before it in the list has had together."""
    expected_s: float
    """Of all its repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedList:
    gpu: Gpu
    minutes: float | None
    cells: tuple[Wanted, ...]
    measured: int
    """Cells of the suites that the records hold."""
    too_large: int
    """Cells that surely do not fit on the card."""


def wanted(cells: Iterable[Cell], gpu: Gpu, records: Iterable[Record] = (), minutes: float | None = None) -> WantedList:
    """Cells that `records` of this card lack, best first, within `minutes`. A cell that grows its batch is counted as
    one run of its first batch."""
    there = [r for r in records if r.request.gpu == gpu.key and r.kind == "cuda" and r.outcome in ("ok", *FULL)]
    ids = {record.cell_id for record in there}
    seen = {pair for record in there for pair in _pairs(record.request)}
    open_cells, measured, too_large = _open(cells, gpu, ids)
    left, chosen = None if minutes is None else 60 * minutes, list[Wanted]()
    candidates = [(one, frozenset(_pairs(one.request)), expected_s(one, gpu) * one.cell.repeats) for one in open_cells]
    while candidates:
        fitting = [c for c in candidates if left is None or c[2] <= left]
        if not fitting:
            break
        best = max(fitting, key=lambda c: c[0].cell.worth * (1 + len(c[1] - seen)) / c[2])
        one, pairs, seconds = best
        candidates.remove(best)
        left = None if left is None else left - seconds
        chosen.append(
            Wanted(
                cell=one.cell, cell_id=one.request.cell_id, held_out=one.request.held_out,
                new_pairs=len(pairs - seen), expected_s=seconds,
            )
        )  # fmt: skip
        seen |= pairs
    return WantedList(gpu=gpu, minutes=minutes, cells=tuple(chosen), measured=measured, too_large=too_large)


def _open(cells: Iterable[Cell], gpu: Gpu, ids: set[str]) -> tuple[list[Prepared], int, int]:
    """Cells that are not measured and may fit; how many are measured, and how many are too large. Cells of the edge are
    never too large, and what the planner or the card cannot do at all is left out."""
    found: dict[str, Prepared] = {}
    measured = too_large = 0
    for cell in cells:
        try:
            one = prepare(cell, gpu)
        except VramplanError:
            continue
        if one.request.cell_id in ids:
            measured += 1
        elif not cell.grows and forecast(one, gpu).fits is False:
            too_large += 1
        else:
            found.setdefault(one.request.cell_id, one)
    return list(found.values()), measured, too_large


def _pairs(request: Request) -> set[Pair]:
    """Every two choices of a cell."""
    recipe: Mapping[str, Any] = request.recipe
    choices = [(name, recipe.get(name)) for name in FACTORS]
    choices.append(("model", (request.model, request.layers)))
    choices += [(name, value) for name, value in sorted(request.settings.items()) if name != "fault"]
    return set(combinations(choices, 2))
