"""`vramplan accuracy`: what is predicted against what was measured."""

from __future__ import annotations

import click

from vramplan_reports import accuracy as report

from ..accuracy import accuracy
from .options import format_options
from .output import show, write_files


@click.command("accuracy", short_help="Predictions against measured runs: errors, verdicts, what is not described.")
@click.argument("runs", nargs=-1, required=True)
@click.option("--profile", metavar="NAME", help="Predict with a fitted profile where it applies.")
@click.option("--plots", metavar="FOLDER", help="Write pictures, predicted against measured, as SVG.")
@format_options
def command(runs: tuple[str, ...], profile: str | None, plots: str | None, output_format: str) -> None:
    """Predict every run of the files RUNS and compare with what was measured.

    A runs file is CSV with a header; docs/accuracy.md describes the columns. An empty field is unknown: the stack's
    default stands in, and the row says so. Rows that cannot be described are listed with the reason, never guessed.
    Exit code: 0 = compared, 2 = a file is no runs file.
    """
    found = accuracy(runs, profile=profile)
    if plots is not None:
        from vramplan_reports import scatter

        write_files(plots, scatter.plots(found))
    show(report, found, output_format)
