"""The rows of a cross-check for people: worst first, what could not be told, and how far the two ways are apart."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .many import percentiles
from .timeline import PHASES, STEP_PHASES

if TYPE_CHECKING:
    from rich.console import Console

    from .cross_check import Row, Told

LISTED_FROM = 0.001
"""Error of the peak from which a row is listed."""
LASTING = ("weights", "adapters", "gradients", "optimizer")
RUNNING = "what runs"


def show(rows: list[Row]) -> float | None:
    """Print the rows and the summary. The worst error of a peak, as a share; None where no row was told."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 150)
    told = sorted((row for row in rows if not row.error), key=lambda row: -abs(row.miss("peak")))
    listed = [row for row in told if abs(row.miss("peak")) > LISTED_FROM or row.state_differences()]
    table = Table("model", "case", "dry GiB", "peak %", *(f"{p.partition('_')[0]} %" for p in STEP_PHASES), "states B")
    for row in listed:
        assert row.dry is not None
        errors = (f"{100 * row.miss(p):+.2f}" for p in ("peak", *STEP_PHASES))
        states = ", ".join(f"{name} {size:+,}" for name, size in row.state_differences().items())
        size = f"{row.dry.phases['peak'] / 2**30:.2f}"
        table.add_row(row.model.rpartition("/")[2], row.case, size, *errors, states)
    if listed:
        console.print(table)
    if len(listed) < len(told):
        console.print(f"{len(told) - len(listed)} recipes within {100 * LISTED_FROM:.1f} % are not listed", style="dim")
    for reason, untold in _by_reason(rows).items():
        names = sorted({row.model.rpartition("/")[2] for row in untold})
        console.print(f"not told, {len(untold)} recipes of {', '.join(names)}: {reason}", style="dim")
    if not told:
        return None
    _summary(console, told)
    return max(abs(row.miss("peak")) for row in told)


def _summary(console: Console, told: list[Row]) -> None:
    from rich.table import Table

    console.print(f"\n{len(told)} recipes of {len({row.model for row in told})} models. Errors of the estimate, %:")
    table = Table("", "median", "90th", "worst")
    for phase in ("peak", *PHASES):
        table.add_row(phase, *_cells(row.miss(phase) for row in told))
    for group in (*LASTING, RUNNING):
        table.add_row(f"{group}, of the peak", *_cells(_of_peak(row, group) for row in told))
    console.print(table)
    unequal = [row for row in told if row.state_differences()]
    console.print(f"weights, adapters, gradients, optimizer states: equal to the byte in {len(told) - len(unequal)}")


def _of_peak(row: Row, group: str) -> float:
    """Difference of a group at the peak, as a share of the peak."""
    assert row.estimate is not None and row.dry is not None
    return (_held(row.estimate, group) - _held(row.dry, group)) / row.dry.phases["peak"]


def _held(told: Told, group: str) -> int:
    """Bytes of a group at the peak. The two ways tell workspaces, logits and other activations apart differently."""
    if group != RUNNING:
        return told.at_peak.get(group, 0)
    return sum(size for name, size in told.at_peak.items() if name not in LASTING)


def _cells(errors: Iterable[float]) -> list[str]:
    return [f"{100 * value:.3f}" for value in percentiles(errors)]


def _by_reason(rows: list[Row]) -> dict[str, list[Row]]:
    """The rows that one way could not tell, by what it said; what is said of one model counts as said of all."""
    found: dict[str, list[Row]] = {}
    for row in sorted((row for row in rows if row.error), key=lambda row: row.error):
        found.setdefault(row.error.replace(row.model, "the model"), []).append(row)
    return found
