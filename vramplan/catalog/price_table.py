"""Published prices, each with its date, region and source."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from functools import cache
from typing import cast

from ..files import user_path
from ..price import Kind, Price
from .files import shipped_text


def read_prices(gpu_key: str | None = None, file: str | None = None) -> Iterator[Price]:
    """Every price of the table, or those of one card, in its order; then those of `file`, else of the user's own."""
    header, *lines = _lines()
    if gpu_key is not None:  # one card's rows in a tenth of the time
        lines = [line for line in lines if f",{gpu_key}," in line]
    for row in csv.DictReader((header, *lines)):
        if gpu_key in (None, row["gpu_key"]):
            yield _price(row)
    for price in _own(file):
        if gpu_key in (None, price.gpu_key):
            yield price


def _own(file: str | None) -> tuple[Price, ...]:
    file = file or user_price_file()
    if file == user_price_file() and not os.path.exists(file):
        return ()
    from .price_file import read_price_file

    return read_price_file(file)


def user_price_file() -> str:
    """Where prices of one's own are kept: $XDG_CONFIG_HOME/vramplan/prices.csv, else in ~/.config."""
    return user_path("prices.csv")


@cache
def _lines() -> tuple[str, ...]:
    """No cell of the table goes over a line's end (tests/test_prices.py)."""
    return tuple(shipped_text("prices.csv").splitlines())


def _price(row: dict[str, str]) -> Price:
    return Price(
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
