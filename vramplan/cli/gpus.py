"""`vramplan gpus`: which cards are known, and what is known of one."""

from __future__ import annotations

import click

from vramplan_reports import gpus as report

from ..catalog import find_gpu, gpus
from .options import format_options
from .output import show
from .search import matching


@click.command("gpus", short_help="List, search or show GPUs of the catalogue.")
@click.argument("words", nargs=-1)
@click.option("--show", "name", metavar="GPU", help="Everything about one GPU, with its sources.")
@format_options
def command(words: tuple[str, ...], name: str | None, output_format: str) -> None:
    """GPUs of the catalogue; WORDS keep those whose key, name, vendor or architecture holds every one of them."""
    if name is None:
        listed = matching("GPU", words, gpus(), lambda g: (g.key, g.name, g.vendor, g.architecture, *g.aliases))
        return show(report.LISTING, listed, output_format)
    show(report.DETAIL, find_gpu(name), output_format)
