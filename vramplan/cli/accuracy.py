"""`vramplan accuracy`: what is predicted against what was measured."""

from __future__ import annotations

import click

from vramplan_reports import accuracy as report

from ..accuracy import accuracy
from .options import format_options
from .output import show


@click.command("accuracy", short_help="Predictions against measured runs: errors, verdicts, what is not described.")
@click.argument("runs", nargs=-1, required=True)
@format_options
def command(runs: tuple[str, ...], output_format: str) -> None:
    """Predict every run of the files RUNS and compare with what was measured.

    A runs file is CSV with a header; docs/accuracy.md describes the columns. An empty field is unknown: the stack's
    default stands in, and the row says so. Rows that cannot be described are listed with the reason, never guessed.
    Exit code: 0 = compared, 2 = a file is no runs file.
    """
    show(report, accuracy(runs), output_format)
