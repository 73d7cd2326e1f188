"""Prices of the catalogue: never without date, provider, region and kind."""

from __future__ import annotations

from typing import Any

from vramplan.price import Price

from .catalogue import Listing
from .sheet import Column


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
