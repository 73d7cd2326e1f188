"""Reads data files as a stream: JSONL, JSON, CSV, plain text, Parquet. Untrusted; a bad line is named, none is lost."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, Literal, TypeAlias, get_args

from ..errors import VramplanError
from .fields import KNOWN_FIELDS

Format: TypeAlias = Literal["jsonl", "json", "csv", "text", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv", ".txt": "text",
    ".text": "text", ".md": "text", ".parquet": "parquet",
}  # fmt: skip
LARGEST_LINE_BYTES = 64 * 2**20
"""One example; a longer line is something else."""
LARGEST_JSON_BYTES = 512 * 2**20
"""A JSON array is read whole; a larger one should be JSON lines."""
START_BYTES = 4096
"""Enough to tell what a file is."""
WIDE = 4
"""Where more than one byte in so many is zero, characters have two bytes or four; fewer are damage to some lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One example with the line (or row) where it stands, from 1."""

    line: int
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLine:
    """What could not be read; `count` examples or lines from `line` on."""

    line: int
    reason: str
    count: int = 1


Progress: TypeAlias = Callable[[int], None]
"""Called with the bytes read so far."""


def data_format(path: str) -> Format:
    """By the file's name, or by its first bytes where the name says nothing. Raises VramplanError."""
    if os.path.isdir(path):
        raise VramplanError(f"{path}: a folder, not a data file; name one of its files")
    try:
        with open(path, "rb") as file:
            start = file.read(START_BYTES)
    except FileNotFoundError:
        raise VramplanError(f"{path or repr(path)}: no such file") from None
    except (OSError, ValueError) as error:
        raise VramplanError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not start.strip() and len(start) < START_BYTES:
        raise VramplanError(f"{path}: the file is empty")
    found = SUFFIXES.get(os.path.splitext(path)[1].lower())
    if start.startswith(b"PAR1"):
        return "parquet"
    wide = found is not None and start.count(0) > len(start) // WIDE
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or (found != "parquet" and wide):
        raise VramplanError(f"{path}: not in UTF-8 (UTF-16, perhaps): iconv -f UTF-16 -t UTF-8 converts it")
    if found == "json" and not start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        return "jsonl"
    if found is None:
        raise VramplanError(f"{path}: what is it? A name that ends in {', '.join(SUFFIXES)} would say")
    return found


def examples(path: str, form: Format, progress: Progress, fields: tuple[str, ...] = ()) -> Iterator[Example | BadLine]:
    """Every example of the file in its order, or what is wrong with its line."""
    if form == "parquet":
        from .parquet import parquet_examples

        yield from parquet_examples(path, progress, fields)
    elif form == "json":
        yield from _json_array(path)
    else:
        with open(path, "rb") as file:
            lines = _lines(file, progress)
            if form == "csv":
                yield from _rows(lines, path)
            else:
                yield from (_json_lines if form == "jsonl" else _texts)(lines)


def _lines(file: IO[bytes], progress: Progress) -> Iterator[tuple[int, str | BadLine]]:
    """Lines with their numbers, decoded; a line that is too long is passed over piece by piece."""
    number = 0
    while data := file.readline(LARGEST_LINE_BYTES):
        number += 1
        progress(file.tell())
        if len(data) == LARGEST_LINE_BYTES and not data.endswith(b"\n"):
            while (rest := file.readline(LARGEST_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield number, BadLine(line=number, reason=f"longer than {LARGEST_LINE_BYTES // 2**20} MiB")
            continue
        try:
            yield number, data.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            yield number, BadLine(line=number, reason=f"not UTF-8 at byte {error.start + 1}")


Lines: TypeAlias = Iterator[tuple[int, str | BadLine]]


def _texts(lines: Lines) -> Iterator[Example | BadLine]:
    """Every line an example, as the `text` loader of the datasets package has it."""
    for number, line in lines:
        yield line if isinstance(line, BadLine) else Example(line=number, fields={"text": line.rstrip("\r\n")})


def _json_lines(lines: Lines) -> Iterator[Example | BadLine]:
    for number, line in lines:
        if isinstance(line, BadLine):
            yield line
        elif line.strip():
            yield _json_example(number, line)


def _json_example(number: int, line: str) -> Example | BadLine:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return BadLine(line=number, reason=f"not JSON: {error.msg.removesuffix(' at')}")
    except (ValueError, RecursionError):
        return BadLine(line=number, reason="not JSON: nested too deeply, or a number too long")
    return _object(number, value)


def _object(number: int, value: Any) -> Example | BadLine:
    if not isinstance(value, dict):
        return BadLine(line=number, reason=f"not an object but {type(value).__name__}")
    return Example(line=number, fields=value)


def _json_array(path: str) -> Iterator[Example | BadLine]:
    """Elements count as lines."""
    if os.path.getsize(path) > LARGEST_JSON_BYTES:
        raise VramplanError(f"{path}: a JSON array of more than 512 MiB; make it JSON lines (jq -c '.[]')")
    try:
        with open(path, encoding="utf-8-sig") as file:
            values = json.load(file)
    except UnicodeDecodeError:
        raise VramplanError(f"{path}: not a text file in UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise VramplanError(f"{path}: not JSON: {error}; nothing of it can be used") from None
    for number, value in enumerate(values, 1):
        yield _object(number, value)


class _Feed:
    """Good lines for the CSV reader; remembers the bad ones and where the row being read began."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.bad: list[BadLine] = []
        self.first = self.last = 0

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        for number, line in self.lines:
            self.first, self.last = self.first or number, number
            if not isinstance(line, BadLine):
                return line
            self.bad.append(line)
            self.first = 0
        raise StopIteration


def _rows(lines: Lines, path: str) -> Iterator[Example | BadLine]:
    """Rows of a CSV file by the names in its first line. A quote that is never closed costs what stands behind it."""
    feed = _Feed(lines)
    delimiter = "\t" if path.lower().endswith(".tsv") else ","
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    before = csv.field_size_limit(LARGEST_LINE_BYTES)
    try:
        header = _header(reader, feed, path)
        while (row := _row(reader, feed, header)) is not None:
            yield from feed.bad
            feed.bad.clear()
            yield from row
        yield from feed.bad
    finally:
        csv.field_size_limit(before)


def _header(reader: Iterator[list[str]], feed: _Feed, path: str) -> list[str]:
    try:
        header = [cell.strip() for cell in next(reader, [])]
    except csv.Error as error:
        raise VramplanError(f"{path}:1: its header cannot be read: {error}") from None
    if feed.bad:
        raise VramplanError(f"{path}:1: its header cannot be read: {feed.bad[0].reason}")
    return header


def _row(reader: Iterator[list[str]], feed: _Feed, header: list[str]) -> list[Example | BadLine] | None:
    """The next row (nothing for a blank line); None at the end."""
    feed.first = 0
    try:
        cells = next(reader)
    except StopIteration:
        return None
    except csv.Error as error:
        return [BadLine(line=feed.first, reason=f"not CSV: {error}", count=feed.last - feed.first + 1)]
    if cells and len(cells) != len(header):
        return [BadLine(line=feed.first, reason=f"{len(cells)} cells for {len(header)} columns")]
    return [Example(line=feed.first, fields=dict(zip(header, cells, strict=True)))] if cells else []


def wanted_columns(names: list[str], fields: tuple[str, ...]) -> list[str]:
    """The columns worth reading."""
    return [name for name in names if name in (fields or KNOWN_FIELDS)]
