"""`vramplan models`: which models are known, and what is known of one."""

from __future__ import annotations

import click

from vramplan_reports import models as report

from ..catalog import aliases, find_model, models
from .options import format_options
from .output import show
from .search import matching


@click.command("models", short_help="List, search or show models of the catalogue.")
@click.argument("words", nargs=-1)
@click.option("--show", "name", metavar="MODEL", help="Everything about one model, with its sources.")
@format_options
def command(words: tuple[str, ...], name: str | None, output_format: str) -> None:
    """Models of the catalogue; WORDS keep those whose id, type or short name holds every one of them."""
    if name is None:
        named = report.named_models(models(), aliases())
        found = matching("model", words, named, lambda row: (row.id, row.entry.model_type, *row.aliases))
        return show(report.LISTING, found, output_format)
    model = find_model(name)
    entry = next((entry for entry in models() if entry.id == model.id), None)
    show(report.DETAIL, report.ShownModel(model=model, entry=entry), output_format)
