"""Measured runs as a sheet and as JSON."""

from __future__ import annotations

from collections.abc import Iterator

from vramplan.budget.measured import Cell as Measurement
from vramplan.budget.measured import Measured

from .. import accuracy
from ..budget.words import said_tier
from ..document import Document, opening
from ..figures import gib
from ..sheet import Block, Cell, Column, Heading, Items, Lines, Sheet, Table

KIND = "measured"
_NONE = "-"
SHOWN_VERSIONS = ("gpu", "driver", "cuda", "python", "torch", "transformers", "peft", "bitsandbytes", "trl")


def sheet(found: Measured, /) -> Sheet:
    """For people."""
    return tuple(_blocks(found))


def title(found: Measured) -> str:
    against = f" against {', '.join(found.other_cards)}" if found.other_cards else ""
    return f"Measured on {', '.join(found.cards)}{against}"


def opening_lines(found: Measured) -> tuple[str, ...]:
    """How much was measured, and how well it was predicted."""
    ran = sum(cell.ran for cell in found.cells)
    full = len(found.cells) - ran
    first, last = found.days
    lines = [
        f"{len(found.cells)} cells, {sum(cell.runs for cell in found.cells)} runs, {first} to {last}: {ran} ran"
        + (f", {full} did not" if full else "")
    ]
    if found.other_cards and not found.pairs:
        lines.append(f"no cell was measured on {', '.join(found.other_cards)} too: nothing can be set beside")
    for tier in found.accuracy.tiers:
        spread = tier.overall
        lines.append(
            f"{said_tier(tier.tier)} was predicted within {100 * spread.median:.1f} % (median of {spread.count}), "
            f"at worst {100 * spread.worst:+.1f} %"
        )
    return tuple(lines)


def _blocks(found: Measured) -> Iterator[Block]:
    yield Heading(title(found))
    yield Lines(tuple(map(Cell, opening_lines(found))))
    yield Heading("Cells")
    columns = (
        Column("model"), Column("method"), Column("batch", "right"), Column("length", "right"), Column("outcome"),
        Column("GiB", "right", True), Column("tokens/s", "right", True), Column("USD / M tokens", "right", True),
        Column("J / token", "right", True),
    )  # fmt: skip
    yield Table(columns=columns, rows=tuple(tuple(map(Cell, row(cell))) for cell in found.cells))
    if found.pairs:
        yield Heading(f"Against {', '.join(found.other_cards)}")
        columns = (Column("model"), Column("method"), Column("batch", "right"), Column("length", "right"),
                   Column("tokens/s", "right"), Column("there", "right"), Column("times", "right"),
                   Column("USD / M", "right"), Column("there", "right"))  # fmt: skip
        yield Table(columns=columns, rows=tuple(tuple(map(Cell, pair_row(found, n))) for n in range(len(found.pairs))))
    yield Heading("Environment")
    yield Items(tuple(f"{name}: {values}" for name, values in environment(found)))
    if remarks := remarks_of(found):
        yield Heading("Remarks")
        yield Items(remarks)


def row(cell: Measurement) -> tuple[str, ...]:
    """Of the table of cells."""
    model = cell.model.rpartition("/")[2]
    return (
        model,
        knob(cell, "method"),
        knob(cell, "batch"),
        knob(cell, "seq_len"),
        ", ".join(outcome.replace("_", " ") for outcome in cell.outcomes),
        memory(cell),
        _NONE if cell.tokens_per_s is None else f"{cell.tokens_per_s:,.0f}",
        _NONE if cell.rate is None else f"{cell.rate.usd_per_million_tokens:,.4f}",
        _NONE if cell.energy_j_per_token is None else f"{cell.energy_j_per_token:.3f}",
    )


def pair_row(found: Measured, position: int) -> tuple[str, ...]:
    pair = found.pairs[position]
    here, there = row(pair.cell), row(pair.other)
    times = _NONE if pair.speedup is None else f"{pair.speedup:.2f}"
    return (*here[:4], here[6], there[6], times, here[7], there[7])


def memory(cell: Measurement) -> str:
    """Of the device, else what is known of it."""
    found = cell.device_bytes or cell.reserved_bytes or cell.allocated_bytes
    return _NONE if found is None else gib(found, 2)


def knob(cell: Measurement, name: str) -> str:
    value = cell.recipe.get(name)
    return f"{value:,}" if type(value) is int else _NONE if value is None else str(value)


def environment(found: Measured) -> tuple[tuple[str, str], ...]:
    """The card and the packages that move numbers first, then the others."""
    names = [*(name for name in SHOWN_VERSIONS if name in found.environment)]
    names += [name for name in found.environment if name not in names]
    return tuple((name, ", ".join(found.environment[name])) for name in names)


def remarks_of(found: Measured) -> tuple[str, ...]:
    said = [f"{flag.replace('_', ' ')}: {count} runs" for flag, count in found.flags.items()]
    return (*said, *(f"passed over: {line}" for line in found.bad_lines))


def document(found: Measured, /) -> Document:
    """JSON (schema_version 1): keys may be added, none changes its meaning."""
    return opening() | {
        "kind": KIND,
        "files": list(found.files),
        "cards": list(found.cards),
        "days": list(found.days),
        "cells": [_cell(cell) for cell in found.cells],
        "against": {
            "cards": list(found.other_cards),
            "pairs": [
                {"cell_id": pair.cell.id, "other_cell_id": pair.other.id, "speedup": pair.speedup,
                 "other": _cell(pair.other)}
                for pair in found.pairs
            ],
        },
        "environment": {name: list(values) for name, values in found.environment.items()},
        "flags": dict(found.flags),
        "bad_lines": list(found.bad_lines),
        "accuracy": accuracy.document(found.accuracy),
    }  # fmt: skip


def _cell(cell: Measurement) -> Document:
    return {
        "cell_id": cell.id,
        "kind": cell.kind,
        "model": cell.model,
        "layers": cell.layers,
        "gpu": cell.gpu,
        "recipe": dict(cell.recipe),
        "runs": cell.runs,
        "outcomes": list(cell.outcomes),
        "allocated_bytes": cell.allocated_bytes,
        "reserved_bytes": cell.reserved_bytes,
        "device_bytes": cell.device_bytes,
        "tokens_per_s": cell.tokens_per_s,
        "step_time_cv": cell.step_time_cv,
        "energy_j_per_token": cell.energy_j_per_token,
        "mfu": cell.mfu,
        "phases": [
            {"name": phase.name, "allocated_bytes": phase.allocated_bytes, "reserved_bytes": phase.reserved_bytes}
            for phase in cell.phases
        ],
        "rate": None
        if cell.rate is None
        else {
            "usd_per_million_tokens": f"{cell.rate.usd_per_million_tokens:f}",
            "usd_per_hour": f"{cell.rate.usd_per_hour:f}",
            "provider": cell.rate.provider,
            "kind": cell.rate.kind,
            "date": cell.rate.day,
        },
    }
