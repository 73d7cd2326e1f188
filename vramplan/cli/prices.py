"""`vramplan prices`: what GPUs cost, where, and when that was true."""

from __future__ import annotations

import click

from vramplan_reports import prices as report

from ..catalog import find_gpu, prices
from .options import format_options
from .output import show
from .search import matching


@click.command("prices", short_help="List or search GPU prices of the catalogue.")
@click.argument("words", nargs=-1)
@click.option("--gpu", "gpu_name", metavar="KEY", help="Of this GPU only.")
@format_options
def command(words: tuple[str, ...], gpu_name: str | None, output_format: str) -> None:
    """Published prices, cheapest GPU hour first; WORDS keep those whose GPU, provider, region, machine or kind
    holds every one of them."""
    key = None if gpu_name is None else find_gpu(gpu_name).key
    rows = (price for price in prices() if key in (None, price.gpu_key))
    found = matching("price", words, rows, lambda p: (p.gpu_key, p.provider, p.region, p.instance, p.kind))
    show(report.LISTING, sorted(found, key=lambda price: price.usd_per_gpu_hour), output_format)
