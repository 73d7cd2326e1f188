"""Prices of the user's own: a CSV file with the columns of the catalogue's, checked cell by cell."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal, InvalidOperation

from ..errors import InvalidValueError, UnknownNameError, VramplanError
from ..files import read_text, save_text
from ..price import KINDS, Kind, Price
from .gpu_table import find_gpu
from .price_table import user_price_file

COLUMNS = (
    "date", "provider", "region", "instance_type", "gpu_key", "gpu_count", "usd_per_hour_instance", "usd_per_gpu_hour",
    "pricing", "note", "source",
)  # fmt: skip
REQUIRED = ("date", "provider", "gpu_key", "pricing")
LARGEST_FILE_BYTES = 64 * 2**20
MOST_GPUS = 65_536
LEAST_USD_PER_HOUR, MOST_USD_PER_HOUR = Decimal("0.000001"), 10**6
ROUNDED_USD = Decimal("0.01")
"""By so much a price may be off for being rounded."""


def read_price_file(path: str) -> tuple[Price, ...]:
    """Every price of the file. Raises VramplanError that names the first bad row: half a price list misleads."""
    text = read_text(path, "a price file", LARGEST_FILE_BYTES)
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="surplus")
    try:
        missing = [column for column in REQUIRED if column not in (reader.fieldnames or ())]
        if missing:
            raise VramplanError(f"{path}: no price file: its first line lacks the columns {', '.join(missing)}")
        return tuple(_price(row, f"{path}:{reader.line_num}") for row in reader)
    except csv.Error as error:
        raise VramplanError(f"{path}:{reader.line_num}: {error}") from None


def write_price_file(path: str, prices: Iterable[Price]) -> None:
    """Replace the file at `path`, whole or not at all; its folder is made."""
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_row(price) for price in prices)
    save_text(path, table.getvalue())


def add_prices(new: Iterable[Price]) -> tuple[str, int, int]:
    """Put prices into the user's file; a price of the same day and machine replaces the old one.

    Gives the file, the number of prices that were put in and that of all in it.
    """
    path = user_price_file()
    kept = {_identity(price): price for price in (read_price_file(path) if os.path.exists(path) else ())}
    added = {_identity(price): price for price in new}
    together = kept | added
    write_price_file(path, together.values())
    return path, len(added), len(together)


def _identity(price: Price) -> tuple[str, ...]:
    machine = (price.provider, price.region, price.instance, price.gpu_key, str(price.count))
    return (price.date.isoformat(), *machine, price.kind)


def _row(price: Price) -> Iterator[str]:
    yield from (price.date.isoformat(), price.provider, price.region, price.instance, price.gpu_key, str(price.count))
    yield from (f"{price.usd_per_hour:f}", f"{price.usd_per_gpu_hour:.6f}", price.kind, price.note, price.source)


def _price(row: dict[str, str], where: str) -> Price:
    if "surplus" in row or None in row.values():
        raise VramplanError(f"{where}: too many or too few cells for the header")
    cells = {name: (row.get(name) or "").strip() for name in COLUMNS}
    try:
        for column in ("provider", "gpu_key"):
            if not cells[column]:
                raise VramplanError(f"{column}: missing")
        count = _count(cells["gpu_count"])
        return Price(
            date=_date(cells["date"]),
            provider=cells["provider"],
            region=cells["region"],
            instance=cells["instance_type"] or find_gpu(cells["gpu_key"]).key,
            gpu_key=find_gpu(cells["gpu_key"]).key,
            count=count,
            usd_per_hour=_usd(cells, count),
            kind=_kind(cells["pricing"]),
            note=cells["note"],
            source=cells["source"] or os.path.basename(where.rpartition(":")[0]),
        )
    except VramplanError as error:
        raise VramplanError(f"{where}: {error}") from None


def _date(cell: str) -> date:
    try:
        return date.fromisoformat(cell)
    except ValueError:
        raise InvalidValueError("date", cell, "a date like 2026-11-22") from None


def _count(cell: str) -> int:
    number = int(cell) if cell.isascii() and cell.isdigit() and len(cell) < 9 else 0
    if cell and not 1 <= number <= MOST_GPUS:
        raise InvalidValueError("gpu_count", cell, "a number of GPUs")
    return number if cell else 1


def _usd(cells: dict[str, str], count: int) -> Decimal:
    """Of the machine: its own price, else that of a GPU times their number. Both must agree."""
    if not cells["usd_per_hour_instance"]:
        return _number(cells, "usd_per_gpu_hour") * count
    usd = _number(cells, "usd_per_hour_instance")
    each = _number(cells, "usd_per_gpu_hour", Decimal(0)) if cells["usd_per_gpu_hour"] else usd / count
    if abs(usd - each * count) > ROUNDED_USD * count:
        said = f"{count} GPUs at {cells['usd_per_gpu_hour']} are not a machine at {cells['usd_per_hour_instance']}"
        raise VramplanError(f"usd_per_gpu_hour: {said}")
    return usd


def _number(cells: dict[str, str], column: str, least: Decimal = LEAST_USD_PER_HOUR) -> Decimal:
    try:
        usd = Decimal(cells[column])
    except InvalidOperation:
        usd = Decimal("NaN")
    if not (usd.is_finite() and least <= usd <= MOST_USD_PER_HOUR):
        raise InvalidValueError(column, cells[column], "a price in USD an hour")
    return usd


def _kind(cell: str) -> Kind:
    if cell not in KINDS:
        raise UnknownNameError("pricing", cell, KINDS, hint="one of " + ", ".join(KINDS))
    return cell
