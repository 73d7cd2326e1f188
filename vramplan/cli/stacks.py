"""`vramplan stacks`: which training software is known, and the defaults and habits of one."""

from __future__ import annotations

import click

from vramplan_reports import stacks as report

from ..catalog import find_stack, stacks
from .options import format_options
from .output import show
from .search import matching


@click.command("stacks", short_help="List, search or show stacks: training software as defaults.")
@click.argument("words", nargs=-1)
@click.option("--show", "name", metavar="STACK", help="Everything about one stack, with its sources.")
@format_options
def command(words: tuple[str, ...], name: str | None, output_format: str) -> None:
    """Stacks of the catalogue; WORDS keep those whose name, title or versions hold every one of them."""
    if name is None:
        listed = matching("stack", words, stacks(), lambda stack: (stack.name, stack.title, stack.versions))
        return show(report.LISTING, listed, output_format)
    show(report.DETAIL, find_stack(name), output_format)
