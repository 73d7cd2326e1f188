"""Published prices, each with its date, region and source."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import cast

from ..price import Kind, Price
from .files import read_rows


def read_prices() -> Iterator[Price]:
    """Every price of the table, in its order."""
    for row in read_rows("prices.csv"):
        yield Price(
            date=date.fromisoformat(row["date"]),
            provider=row["provider"],
            region=row["region"],
            instance=row["instance_type"],
            gpu_key=row["gpu_key"],
            count=int(row["gpu_count"]),
            usd_per_hour=Decimal(row["usd_per_hour_instance"]),
            kind=cast(Kind, row["pricing"]),
            note=row["note"],
            source=row["source"],
        )
