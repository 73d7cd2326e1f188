"""Dry run against measurement: every run of a runs file that the installed libraries can repeat, at full depth.

    python -m vramplan_bench.published ../shared/corpus/runs.csv               rows of the stack of today
    python -m vramplan_bench.published RUNS --keep rows.jsonl                  kept row by row; goes on where it stopped

The step is the one that the run's stack takes (autocast or not, outputs held or dropped, its kernels on its card), the
allocator is replayed, and its peaks are compared with those that were published. Nothing is fitted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from vramplan.accuracy import question, read_files
from vramplan.catalog import find_config
from vramplan.errors import VramplanError
from vramplan.runs import Run

from .many import keep_in, kept, percentiles, tell_all

STACK = "transformers-5"
"""The stack whose loop and libraries are the installed ones, and which has published peaks."""
TIERS = ("tensors", "allocated", "reserved")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A published run and its dry run. Bytes; None = not published. `error` where the step cannot be built."""

    id: str
    model: str
    case: str
    measured_allocated_bytes: int | None = None
    measured_reserved_bytes: int | None = None
    tensors_bytes: int = 0
    """Peak of the step's tensors alone."""
    allocated_bytes: int = 0
    """With the ends of blocks that the allocator does not split off, as torch counts."""
    reserved_bytes: int = 0
    error: str = ""

    def miss(self, tier: str) -> float | None:
        """Relative error of `tensors`, `allocated` or `reserved`; None where nothing was published."""
        measured = self.measured_reserved_bytes if tier == "reserved" else self.measured_allocated_bytes
        return None if measured is None or self.error else float(getattr(self, f"{tier}_bytes")) / measured - 1


def tell(run: Run) -> Row:
    """Repeat one run without storage."""
    from .answer import quiet_libraries
    from .dry import dry_run
    from .follow import STEPS
    from .imitation import card_of
    from .replay import replay

    shape = f"{run.micro_batch}x{run.seq_len}"
    row = Row(id=run.id, model=run.model or "", case=" ".join(filter(None, (run.method, shape, run.attention))))
    try:
        asked = question(run)
        quiet_libraries()
        _, config = find_config(row.model)
        result = dry_run(config, asked.recipe, card=card_of(asked.gpu), loop=asked.stack, full_depth=True)
    except Exception as error:  # a step that the libraries refuse is a row too
        return replace(row, error=str(error).partition("\n")[0])
    replayed = replay(result.run.tracker, step=STEPS, warmup_bytes=result.facts.weights_bytes)
    return replace(
        row,
        measured_allocated_bytes=run.allocated_bytes,
        measured_reserved_bytes=run.reserved_bytes,
        tensors_bytes=result.peak_bytes,
        allocated_bytes=replayed.allocated_bytes,
        reserved_bytes=replayed.reserved_bytes,
    )


def published(paths: Iterable[str], stack: str) -> list[Run]:
    """The runs of a stack on one GPU with a published peak of allocated or reserved bytes."""
    return [
        run
        for run in read_files(paths)
        if isinstance(run, Run) and run.stack == stack and run.gpus == 1
        and (run.allocated_bytes or run.reserved_bytes)
    ]  # fmt: skip


def show(rows: list[Row]) -> None:
    """Print the rows, worst first, and the summary."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table("run", "model", "recipe", *(f"{tier} %" for tier in TIERS))
    told = sorted((row for row in rows if not row.error), key=lambda row: -abs(row.miss("allocated") or 0))
    for row in told:
        misses = (row.miss(tier) for tier in TIERS)
        shown = ("" if miss is None else f"{100 * miss:+.2f}" for miss in misses)
        table.add_row(row.id, row.model.rpartition("/")[2], row.case, *shown)
    console.print(table)
    for row in rows:
        if row.error:
            console.print(f"not told: {row.id}: {row.error}", style="dim")
    for tier in TIERS:
        errors = [error for row in told if (error := row.miss(tier)) is not None]
        if errors:
            middle, ninetieth, worst = (f"{100 * value:.3f} %" for value in percentiles(errors))
            console.print(f"{tier}: {len(errors)} runs, median {middle}, 90th {ninetieth}, worst {worst}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", metavar="RUNS", help="runs files")
    parser.add_argument("--stack", default=STACK, help=f"the stack whose runs are repeated ({STACK})")
    parser.add_argument("--keep", metavar="FILE", help="JSON lines to add rows to; those it has are not told again")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    try:
        runs = published(options.runs, options.stack)
    except VramplanError as error:
        parser.error(str(error))
    had = {values["id"]: Row(**values) for values in kept(options.keep)} if options.keep else {}
    keep = (lambda row: keep_in(options.keep, asdict(row))) if options.keep else None
    left = [run for run in runs if run.id not in had]
    show([had[run.id] for run in runs if run.id in had] + tell_all(tell, left, options.workers, keep))
    return 0


if __name__ == "__main__":
    sys.exit(main())
