"""Files of records, one JSON line each: appended to so that nothing is lost, read so that nothing is fatal."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, BinaryIO

from ..errors import VramplanError
from .data import Record
from .parse import record_from

RECORDS_SUFFIXES = (".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLine:
    """A line of a records file that holds no record."""

    number: int
    reason: str
    """Names file, line and key."""


def write_records(path: str | os.PathLike[str], records: Iterable[Record]) -> None:
    """Append records to a file of JSON lines, each safely on disk before the next. A record that does not fit on the
    disk leaves no part of itself behind."""
    try:
        with open(path, "ab", buffering=0) as file:  # a buffer would be written once more when the file is closed
            for record in records:
                _append(file, record)
    except OSError as error:
        raise VramplanError(f"{path}: {error.strerror}") from None


def _append(file: Any, record: Record) -> None:
    line = json.dumps(record.as_dict(), separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    size = file.seek(0, os.SEEK_END)
    try:
        if size and _last_byte(file.name) != b"\n":  # a line torn by a crash must not spoil this one
            line = b"\n" + line
        while line:
            line = line[file.write(line) :]
        os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            os.ftruncate(file.fileno(), size)
        raise


def _last_byte(path: str) -> bytes:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def read_records(path: str | os.PathLike[str], on_bad: Callable[[BadLine], None] | None = None) -> Iterator[Record]:
    """The records of a file of JSON lines, or of what `bench run` and `bench show` print with --json.

    A line that holds none is given to `on_bad` and passed over; without `on_bad` it raises VramplanError, which names
    file, line and key.
    """
    try:
        with open(path, "rb") as file:
            part, lines = _lines_of(file)
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    record = _read_line(line, f"{path}, {part} {number}")
                except VramplanError as error:
                    if on_bad is None:
                        raise
                    on_bad(BadLine(number=number, reason=str(error)))
                else:
                    yield record
    except OSError as error:
        raise VramplanError(f"{path}: {error.strerror}") from None


def _lines_of(file: BinaryIO) -> tuple[str, Iterable[bytes]]:
    """What a line is called, and the lines; of a JSON document over several lines, its records."""
    first = file.readline()
    if first.strip() != b"{":
        return "line", chain([first], file)
    whole = first + file.read()
    try:
        listed = json.loads(whole)["records"]
        return "record", [json.dumps(record).encode() for record in listed]
    except (ValueError, RecursionError, KeyError, TypeError):
        return "line", whole.splitlines()


def _read_line(line: bytes, where: str) -> Record:
    try:
        values = json.loads(line.decode())
    except UnicodeDecodeError:
        raise VramplanError(f"{where}: not text in UTF-8") from None
    except (ValueError, RecursionError):
        raise VramplanError(f"{where}: not JSON") from None
    return record_from(values, where)
