"""Prices of the user's own: a CSV file with the columns of the catalogue's, checked cell by cell."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal, InvalidOperation

from ..errors import InvalidValueError, UnknownNameError, VramplanError
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
MOST_USD_PER_HOUR = 10**6


def read_price_file(path: str) -> tuple[Price, ...]:
    """Every price of the file. Raises VramplanError that names the first bad row: half a price list misleads."""
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), restkey="surplus")
    try:
        missing = [column for column in REQUIRED if column not in (reader.fieldnames or ())]
        if missing:
            raise VramplanError(f"{path}: no price file: its first line lacks the columns {', '.join(missing)}")
        return tuple(_price(row, f"{path}:{reader.line_num}") for row in reader)
    except csv.Error as error:
        raise VramplanError(f"{path}:{reader.line_num}: {error}") from None


def write_price_file(path: str, prices: Iterable[Price]) -> None:
    """Replace the file at `path`, whole or not at all."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    draft = f"{path}.{os.getpid()}"
    with open(draft, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for price in prices:
            writer.writerow(_row(price))
    os.replace(draft, path)


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


def _text(path: str) -> str:
    if os.path.isdir(path):
        raise VramplanError(f"{path}: a folder, not a price file")
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise VramplanError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > LARGEST_FILE_BYTES:
        raise VramplanError(f"{path}: larger than {LARGEST_FILE_BYTES // 2**20} MiB, so not a price file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise VramplanError(f"{path}: not a text file in UTF-8")
    if not text.strip():
        raise VramplanError(f"{path}: the file is empty")
    return text


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
    """Of the machine: its own price, else that of a GPU times their number."""
    column = "usd_per_hour_instance" if cells["usd_per_hour_instance"] else "usd_per_gpu_hour"
    try:
        usd = Decimal(cells[column])
    except InvalidOperation:
        usd = Decimal("NaN")
    if not (usd.is_finite() and 0 < usd <= MOST_USD_PER_HOUR):
        raise InvalidValueError(column, cells[column], "a price in USD an hour")
    return usd if column == "usd_per_hour_instance" else usd * count


def _kind(cell: str) -> Kind:
    if cell not in KINDS:
        raise UnknownNameError("pricing", cell, KINDS, hint="one of " + ", ".join(KINDS))
    return cell
