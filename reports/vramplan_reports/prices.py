"""Prices of the catalogue: never without date, provider, region and kind."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any, NamedTuple

from vramplan.price import STALE_AFTER_DAYS, Price

from .catalogue import Listing
from .sheet import Block, Cell, Column, Lines, Sheet, Table


def _cells(price: Price) -> tuple[str, ...]:
    return (
        f"{price.usd_per_gpu_hour:.2f}",
        price.kind.replace("_", " "),
        f"{price.count} × {price.gpu_key}",
        price.provider,
        price.region,
        price.instance,
        price.date.isoformat(),
    )


def _record(price: Price) -> dict[str, Any]:
    return {
        "gpu": price.gpu_key,
        "count": price.count,
        "usd_per_gpu_hour": str(round(price.usd_per_gpu_hour, 4)),
        "usd_per_hour": str(price.usd_per_hour),
        "kind": price.kind,
        "provider": price.provider,
        "region": price.region,
        "instance": price.instance,
        "date": price.date.isoformat(),
        "note": price.note,
        "source": price.source,
    }


LISTING = Listing(
    name="prices",
    columns=(
        Column("USD/h", "right"), Column("kind", whole=True), Column("GPUs", whole=True), Column("provider"),
        Column("region"), Column("machine"), Column("date", whole=True),
    ),
    cells=_cells,
    record=_record,
    hint="USD per GPU and hour, cheapest first; JSON has the sources.",
)  # fmt: skip


class Prices(NamedTuple):
    """Rows of a listing, and the day from which their age counts."""

    rows: tuple[Price, ...]
    today: date


def sheet(subject: Prices, /) -> Sheet:
    """The listing, with old dates marked and a warning that counts them."""
    return tuple(_blocks(subject))


def _blocks(subject: Prices) -> Iterator[Block]:
    listing = LISTING.sheet(subject.rows)
    for block in listing:
        yield _marked(block, subject) if isinstance(block, Table) else block
    stale = sum(price.is_stale(subject.today) for price in subject.rows)
    if stale:
        said = f"{stale} of {len(subject.rows)} prices are stale: more than {STALE_AFTER_DAYS} days old"
        yield Lines((Cell(f"{said} on {subject.today.isoformat()} (marked *).", "warn"),))


def _marked(table: Table, subject: Prices) -> Table:
    def mark(row: tuple[Cell, ...], price: Price) -> tuple[Cell, ...]:
        return (*row[:-1], Cell(row[-1].text + " *", "warn")) if price.is_stale(subject.today) else row

    return Table(table.columns, tuple(mark(row, price) for row, price in zip(table.rows, subject.rows, strict=True)))


def document(subject: Prices, /) -> dict[str, Any]:
    """The listing's JSON, and of each price its age on that day."""
    found = LISTING.document(subject.rows)
    for record, price in zip(found[LISTING.name], subject.rows, strict=True):
        record["age_days"] = price.age_days(subject.today)
        record["stale"] = price.is_stale(subject.today)
    return found | {"today": subject.today.isoformat(), "stale_after_days": STALE_AFTER_DAYS}
