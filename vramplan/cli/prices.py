"""`vramplan prices`: what GPUs cost, where, and when that was true."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from vramplan_reports import prices as report

from ..catalog import find_gpu, prices
from ..errors import UnknownNameError, VramplanError
from ..price import KINDS, current_date
from .options import Name, Whole, format_options
from .output import show
from .quantities import Amount
from .search import matching

if TYPE_CHECKING:
    from datetime import date

    from ..price import Price


@click.command("prices", short_help="List, search, import or refresh GPU prices.")
@click.argument("words", nargs=-1)
@click.option("--gpu", "gpu_name", metavar="KEY", help="Of this GPU only.")
@click.option("--provider", metavar="NAME", help="Of this provider only.")
@click.option("--region", metavar="NAME", help="In this region only.")
@click.option("--kind", type=Name(KINDS), metavar="NAME", help=f"Of this kind only: {', '.join(KINDS)}.")
@click.option("--count", type=Whole("gpus"), help="Of machines with so many GPUs.")
@click.option("--max-age", type=Amount(36_500), metavar="DAYS", help="Not older than so many days.")
@click.option("--prices", "price_file", metavar="FILE", help="Price file in place of your own.")
@format_options
def command(
    words: tuple[str, ...], gpu_name: str | None, price_file: str | None, output_format: str, **filters: Any
) -> None:
    """Published prices and your own, cheapest GPU hour first; WORDS keep those whose GPU, provider, region, machine or
    kind holds every one of them.

    `prices import FILE.csv` checks a price list of yours and keeps it; `prices refresh` fetches today's offers (extra
    [prices], network). Both are kept in ~/.config/vramplan/prices.csv.
    """
    if words[:1] in (("import",), ("refresh",)):
        return _take(words)
    key = None if gpu_name is None else find_gpu(gpu_name).key
    today = current_date()
    rows = _kept(prices(key, price_file), today, **filters)
    found = matching("price", words, rows, lambda p: (p.gpu_key, p.provider, p.region, p.instance, p.kind))
    ordered = tuple(sorted(found, key=lambda price: price.usd_per_gpu_hour))
    show(report, report.Prices(rows=ordered, today=today), output_format)


def _kept(
    rows: Iterable[Price],
    today: date,
    *,
    provider: str | None,
    region: str | None,
    kind: str | None,
    count: int | None,
    max_age: int | None,
) -> list[Price]:
    """Prices that every option lets through. Raises VramplanError where there is none."""
    listed = tuple(rows)
    for what, name in (("provider", provider), ("region", region)):
        names = {getattr(price, what) for price in listed}
        if name is not None and name not in names:
            raise UnknownNameError(what, name, names)
    wanted = {"provider": provider, "region": region, "kind": kind, "count": count}
    kept = [
        price
        for price in listed
        if (max_age is None or price.age_days(today) <= max_age)
        and all(value in (None, getattr(price, field)) for field, value in wanted.items())
    ]
    if not kept:
        raise VramplanError(f"none of {len(listed)} prices passes these options")
    return kept


def _take(words: tuple[str, ...]) -> None:
    """Put prices from a file, or today's, into the user's own file."""
    from ..catalog.price_file import add_prices, read_price_file

    skipped = 0
    if words[0] == "import":
        if len(words) != 2:
            raise VramplanError("prices import takes one file: vramplan prices import FILE.csv")
        new = read_price_file(words[1])
    else:
        if len(words) != 1:
            raise VramplanError(f"prices refresh takes no words; leave out {words[1]!r}")
        from ..catalog.price_refresh import current_prices

        new, skipped = current_prices(current_date())
    path, added, together = add_prices(new)
    left_out = f"; {skipped:,} offers of unknown cards left out" if skipped else ""
    click.echo(f"{added:,} prices put into {path} ({together:,} in all{left_out})")
