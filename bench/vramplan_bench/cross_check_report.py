"""The rows of a cross-check for people: worst first, what could not be told, and how far the two ways are apart."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .many import percentiles
from .timeline import STEP_PHASES

if TYPE_CHECKING:
    from rich.console import Console

    from .cross_check import Row


def show(rows: list[Row]) -> float | None:
    """Print the rows and the summary. The worst error of a peak, as a share; None where no row was told."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 150)
    told = sorted((row for row in rows if not row.error), key=lambda row: -abs(row.miss("peak")))
    table = Table("model", "case", "dry GiB", "peak %", *(f"{p.partition('_')[0]} %" for p in STEP_PHASES), "states B")
    for row in told:
        assert row.dry is not None
        errors = (f"{100 * row.miss(p):+.2f}" for p in ("peak", *STEP_PHASES))
        states = ", ".join(f"{name} {size:+,}" for name, size in row.state_differences().items())
        size = f"{row.dry.phases['peak'] / 2**30:.2f}"
        table.add_row(row.model.rpartition("/")[2], row.case, size, *errors, states)
    console.print(table)
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
    for phase in ("peak", *STEP_PHASES):
        table.add_row(phase, *_cells(abs(row.miss(phase)) for row in told))
    groups = {name for row in told if row.dry for name in row.dry.at_peak}
    for group in sorted(groups):
        table.add_row(f"{group} at the peak, of the peak", *_cells(_of_peak(row, group) for row in told))
    console.print(table)
    unequal = [row for row in told if row.state_differences()]
    console.print(f"weights, adapters, gradients, optimizer states: equal to the byte in {len(told) - len(unequal)}")


def _of_peak(row: Row, group: str) -> float:
    assert row.estimate is not None and row.dry is not None
    return abs(row.estimate.at_peak.get(group, 0) - row.dry.at_peak.get(group, 0)) / row.dry.phases["peak"]


def _cells(errors: Iterable[float]) -> list[str]:
    return [f"{100 * value:.3f}" for value in percentiles(errors)]


def _by_reason(rows: list[Row]) -> dict[str, list[Row]]:
    """The rows that one way could not tell, by what it said; what is said of one model counts as said of all."""
    found: dict[str, list[Row]] = {}
    for row in sorted((row for row in rows if row.error), key=lambda row: row.error):
        found.setdefault(row.error.replace(row.model, "the model"), []).append(row)
    return found
