"""`vramplan data`: how long the examples of a data file are, and what they are to a trainer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from vramplan_reports import data as report

from .job_options import DATA_OPTIONS, FORM_OPTIONS, read_data_file, with_options
from .options import Whole, format_options
from .output import show

if TYPE_CHECKING:
    from ..data import Packing


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a data file and of the batches that are made of it."""
    batches = (
        click.option("--seq-len", type=Whole("seq_len"), default=2048, show_default=True, help="Tokens per sequence."),
        click.option("--batch", type=Whole("batch"), default=1, show_default=True, help="Sequences per forward pass."),
        click.option("--per-step", type=Whole("batch"), help="Sequences per optimizer step.  [default: --batch]"),
    )
    return with_options((*DATA_OPTIONS, *batches, *FORM_OPTIONS), command)


@click.command("data", short_help="Lengths, padding and packing of a data file.")
@click.argument("file")
@data_options
@format_options
def command(
    file: str,
    seq_len: int,
    batch: int,
    per_step: int | None,
    packing: Packing,
    group_by_length: bool,
    output_format: str,
    **words: Any,
) -> None:
    """Lengths of the examples of FILE (JSONL, JSON, CSV, text, Parquet), padding and packing at a length and a batch.

    Reads what TRL reads: `messages` or `conversations`, `prompt` and `completion`, `text`; --field names others. A line
    that cannot be used is named, the rest counts.
    """
    from ..data import inspect_data

    show(
        report,
        inspect_data(
            read_data_file(file, **words),
            seq_len=seq_len,
            batch=batch,
            sequences_per_step=per_step,
            packing=packing,
            group_by_length=group_by_length,
        ),
        output_format,
    )
