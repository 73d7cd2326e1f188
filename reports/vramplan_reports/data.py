"""A data file: how long its examples are, what cannot be used, and what an epoch of it is to a trainer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vramplan.data import BadLine, Epoch, Inspection

from .document import opening
from .figures import many
from .sheet import Block, Cell, Column, Heading, Items, Lines, Sheet, Table

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


def sheet(subject: Inspection, /) -> Sheet:
    return tuple(_blocks(subject))


def _blocks(subject: Inspection) -> Iterator[Block]:
    file = subject.file
    lengths = file.lengths
    yield Heading(f"{file.path}: {lengths.examples:,} examples, {many(lengths.tokens)} tokens")
    schemas = ", ".join(f"{name} {count:,}" for name, count in file.schemas.items())
    yield Lines((Cell(f"{file.format}, {file.size_bytes:,} bytes; {schemas}"), Cell(f"counted by {file.counted_by}")))
    names = ("shortest", *(f"{100 * share:.0f} %" for share in QUANTILES[1:-1]), "longest", "mean")
    values = (*(f"{lengths.quantile(share):,}" for share in QUANTILES), f"{lengths.mean:,.0f}")
    yield Heading("Tokens of an example")
    columns = tuple(Column(name, "right") for name in names)
    yield Table(columns=columns, rows=(tuple(Cell(value) for value in values),))
    yield Heading(f"An epoch at seq-len {subject.seq_len:,}, batch {subject.batch:,}")
    yield _epochs(subject)
    if bad := tuple(f"{_place(line)}: {line.reason}" for line in file.bad_lines):
        named = sum(line.count for line in file.bad_lines)
        yield Heading("Bad lines" + (f", the first {named} of {file.bad:,}" if file.bad > named else ""))
        yield Items(bad)
    if notes := file.notes:
        yield Items(notes)


def _epochs(subject: Inspection) -> Table:
    columns = (
        Column(""), Column("sequences", "right"), Column("steps", "right"), Column("tokens", "right"),
        Column("with padding", "right"), Column("padding", "right"), Column("cut off", "right"),
    )  # fmt: skip
    rows = tuple(
        (
            Cell(name, "strong" if once == subject.asked else "plain"),
            Cell(f"{once.sequences:,}"),
            Cell(f"{once.steps:,}"),
            Cell(many(once.tokens)),
            Cell(many(once.processed_tokens)),
            Cell(f"{100 * once.padding_waste:.1f} %"),
            Cell(f"{100 * once.cut_tokens / (once.tokens + once.cut_tokens):.1f} %"),
        )
        for name, once in subject.ways
    )
    return Table(columns=columns, rows=rows)


def _place(line: BadLine) -> str:
    if line.count == 1:
        return f"line {line.line:,}"
    return f"lines {line.line:,} to {line.line + line.count - 1:,}"


def document(subject: Inspection, /) -> dict[str, Any]:
    file = subject.file
    lengths = file.lengths
    return opening() | {
        "file": file.path,
        "format": file.format,
        "size_bytes": file.size_bytes,
        "examples": lengths.examples,
        "tokens": lengths.tokens,
        "counted_by": file.counted_by,
        "exact": file.exact,
        "schemas": file.schemas,
        "empty": file.empty,
        "lengths": {
            "mean": round(lengths.mean, 3),
            "quantiles": {f"{share:g}": lengths.quantile(share) for share in QUANTILES},
        },
        "seq_len": subject.seq_len,
        "batch": subject.batch,
        "epoch": _epoch(subject.asked),
        "ways": [{"name": name} | _epoch(once) for name, once in subject.ways],
        "bad": file.bad,
        "bad_lines": [{"line": line.line, "count": line.count, "reason": line.reason} for line in file.bad_lines],
        "notes": list(file.notes),
    }


def _epoch(once: Epoch) -> dict[str, Any]:
    return {
        "examples": once.examples,
        "sequences": once.sequences,
        "tokens": once.tokens,
        "processed_tokens": once.processed_tokens,
        "padding_waste": round(once.padding_waste, 6),
        "cut_examples": once.cut_examples,
        "cut_tokens": once.cut_tokens,
        "steps": once.steps,
    }
