"""Runs files: measured fine-tunes, one a row, as CSV. Untrusted, so a bad row is told by line and spoils no other.

An empty field means unknown, never a default. Columns are found by name; those that nobody here reads are passed over.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from .errors import InvalidValueError, UnknownNameError, VramplanError
from .files import read_text
from .recipe import CHOICES, LIMITS

LARGEST_FILE_BYTES = 64 * 2**20
"""A hundred thousand rows; a larger file is something else."""
REQUIRED = ("id", "model", "gpu", "method", "micro_batch", "seq_len", "stack", "outcome")
"""Columns without which no row can be answered; any other may be missing, which is unknown in every row."""
LARGEST_BYTES = 2**50
"""Of one GPU: a memory figure above it is a mistake of unit."""

Outcome = Literal["ok", "oom", "presumed_oom", "fits"]
"""`ok` ran and was measured; `fits` ran; `oom` did not; `presumed_oom`: the source left the result empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One measured run. None = unknown; sizes in bytes per GPU; words as the file has them."""

    id: str
    where: str
    """File and line."""
    outcome: Outcome
    model: str | None = None
    layers: int | None = None
    """Where the depth was cut; a runs file has no such column, nor those of `kind` and `context_bytes`, a record of the
    rig does."""
    kind: Literal["dry", "cpu", "cuda"] | None = None
    context_bytes: int | None = None
    """Of the device, before a tensor is made."""
    gpu: str | None = None
    gpus: int | None = None
    sharding: str | None = None
    method: str | None = None
    """`full`, `lora`, `qlora`, or another tuner's name."""
    rank: int | None = None
    targets: str | None = None
    quant: str | None = None
    weights_dtype: str | None = None
    autocast: str | None = None
    adapter_dtype: str | None = None
    kbit_prep: bool | None = None
    optimizer: str | None = None
    micro_batch: int | None = None
    seq_len: int | None = None
    grad_accum: int | None = None
    checkpointing: str | None = None
    """`true`, `false`, or the name of a partial form."""
    attention: str | None = None
    loss: str | None = None
    lora_dropout: float | None = None
    stack: str | None = None
    capacity_bytes: int | None = None
    """What the run could use, where the source says so."""
    allocated_bytes: int | None = None
    reserved_bytes: int | None = None
    device_bytes: int | None = None
    tokens_per_s_per_gpu: float | None = None
    notes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """A row that cannot be read."""

    id: str
    """As far as it could be made out; the place in the file where it could not."""
    where: str
    reason: str


def read_runs(path: str | os.PathLike[str]) -> tuple[Run | BadRow, ...]:
    """Rows of the runs file at `path`, in its order.

    Raises VramplanError where there is no such file, or it is not a runs file at all, or not one row can be read.
    """
    name = os.fspath(path)
    rows = tuple(_without_repetition(_rows(read_text(name, "a runs file", LARGEST_FILE_BYTES), name)))
    if not rows:
        raise VramplanError(f"{name}: the file holds no runs, only a header")
    if all(isinstance(row, BadRow) for row in rows):
        first = rows[0]
        assert isinstance(first, BadRow)
        raise VramplanError(f"{name}: not one of {len(rows)} rows can be read; the first: {first.reason}")
    return rows


def _rows(text: str, name: str) -> Iterator[Run | BadRow]:
    reader = csv.reader(io.StringIO(text, newline=""))
    header = _header(_next(reader), name)
    while True:
        where = f"{name}:{reader.line_num + 1}"
        cells = _next(reader)
        if cells is None:
            return
        if isinstance(cells, csv.Error):
            yield BadRow(id=where, where=where, reason=f"{where}: {cells}")
        elif cells:
            yield _row(dict(zip(header, cells, strict=False)), len(cells) - len(header), where)


def _next(reader: Iterator[list[str]]) -> list[str] | csv.Error | None:
    """The next row's cells, or what is wrong with it (the reader goes on behind it); None at the end."""
    try:
        return next(reader)
    except StopIteration:
        return None
    except csv.Error as error:
        return error


def _header(cells: list[str] | csv.Error | None, name: str) -> list[str]:
    columns = [cell.strip() for cell in cells] if isinstance(cells, list) else []
    missing = [column for column in REQUIRED if column not in columns]
    if missing:
        raise VramplanError(f"{name}: no runs file: its first line lacks the columns {', '.join(missing)}")
    twice = sorted({column for column in columns if columns.count(column) > 1 and column in ("id", *_PARSERS)})
    if twice:
        raise VramplanError(f"{name}: two columns are called {', '.join(twice)}")
    return columns


def _row(cells: dict[str, str], surplus: int, where: str) -> Run | BadRow:
    id = cells.get("id", "").strip()
    try:
        if surplus:
            raise VramplanError(f"{abs(surplus)} cells too {'many' if surplus > 0 else 'few'} for the header")
        if not id:
            raise VramplanError("id: missing")
        values = {column: parse(column, cells[column].strip()) for column, parse in _PARSERS.items() if column in cells}
        if values["outcome"] is None:
            raise VramplanError("outcome: missing")
        return Run(id=id, where=where, **{column: value for column, value in values.items() if value is not None})
    except VramplanError as error:
        return BadRow(id=id or where, where=where, reason=f"{where}: {error}")


def _without_repetition(rows: Iterable[Run | BadRow]) -> Iterator[Run | BadRow]:
    """One id, one run: the second of two in one file is a mistake, of the file or of whoever joined it."""
    first: dict[str, str] = {}
    for row in rows:
        if isinstance(row, Run) and row.id in first:
            yield BadRow(id=row.id, where=row.where, reason=f"{row.where}: same id as {first[row.id]}")
            continue
        if isinstance(row, Run):
            first[row.id] = row.where
        yield row


def _word(column: str, text: str) -> str | None:
    return text or None


def _one_of(*names: str) -> Callable[[str, str], str | None]:
    def parse(column: str, text: str) -> str | None:
        if text and text not in names:
            raise UnknownNameError(column, text, names, hint="one of " + ", ".join(names))
        return text or None

    return parse


def _flag(column: str, text: str) -> bool | None:
    if text not in ("", "true", "false"):
        raise InvalidValueError(column, text, "true or false")
    return text == "true" if text else None


_WHOLE = re.compile(r"([0-9]{1,18})(?:\.0*)?")
"""Also 4096.0: a table that went through pandas with a gap in the column has every number so."""


def _whole(most: int) -> Callable[[str, str], int | None]:
    def parse(column: str, text: str) -> int | None:
        if not text:
            return None
        match = _WHOLE.fullmatch(text)
        number = int(match[1]) if match else 0
        if not 1 <= number <= most:
            raise InvalidValueError(column, text, f"a whole number from 1 to {most:,}")
        return number

    return parse


def _number(below: float, said: str) -> Callable[[str, str], float | None]:
    def parse(column: str, text: str) -> float | None:
        try:
            number = float(text) if text else 0.0
        except ValueError:
            number = -1.0
        if not 0 <= number < below:  # also refuses nan
            raise InvalidValueError(column, text, said)
        return number if text else None

    return parse


_SIZE = _whole(LARGEST_BYTES)
_PARSERS: dict[str, Callable[[str, str], Any]] = {
    "outcome": _one_of(*get_args(Outcome)),
    "model": _word,
    "gpu": _word,
    "gpus": _whole(LIMITS["gpus"]),
    "sharding": _one_of(*CHOICES["sharding"], "fsdp+offload"),
    "method": _word,
    "rank": _whole(LIMITS["rank"]),
    "targets": _word,
    "quant": _one_of(*CHOICES["quant"], "gptq-int4", "gptq-int8"),
    "weights_dtype": _one_of(*CHOICES["dtype"]),
    "autocast": _one_of(*CHOICES["autocast"], "fp8"),
    "adapter_dtype": _one_of(*CHOICES["adapter_dtype"]),
    "kbit_prep": _flag,
    "optimizer": _word,
    "micro_batch": _whole(LIMITS["batch"]),
    "seq_len": _whole(LIMITS["seq_len"]),
    "grad_accum": _whole(LIMITS["grad_accum"]),
    "checkpointing": _one_of("true", "false", "offload", "selective-op", "selective-layer"),
    "attention": _one_of(*CHOICES["attention"]),
    "loss": _one_of(*CHOICES["loss"]),
    "lora_dropout": _number(1.0, "a probability from 0 to below 1"),
    "stack": _word,
    "capacity_bytes": _SIZE,
    "allocated_bytes": _SIZE,
    "reserved_bytes": _SIZE,
    "device_bytes": _SIZE,
    "tokens_per_s_per_gpu": _number(1e12, "a number of tokens a second"),
    "notes": _word,
}
"""Column -> how its text is read. Methods, optimizers, models and stacks are open lists: an unknown one is a run that
cannot be described, not a mistake in the file."""
