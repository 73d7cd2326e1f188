"""Measured records for people and programs: what was asked, what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vramplan import __version__
from vramplan.record import BadLine, Record
from vramplan_reports.figures import gib
from vramplan_reports.sheet import Block, Cell, Column, Heading, Items, Sheet, Table, Tone

from .runner.cells import Cell as Measured
from .runner.cells import name_of

SCHEMA_VERSION = 1
_TONES: dict[str, Tone] = {"ok": "good", "oom": "warn", "oom_driver": "warn", "skipped": "dim"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Records, and what of the file or the suite is not among them."""

    title: str
    records: Sequence[Record]
    passed_over: Sequence[tuple[Measured, str]] = ()
    bad_lines: Sequence[BadLine] = ()
    interrupted: bool = False


def document(shown: Records) -> dict[str, Any]:
    """JSON-ready."""
    return {
        "schema_version": SCHEMA_VERSION,
        "vramplan_version": __version__,
        "records": [record.as_dict() for record in shown.records],
        "passed_over": [{"cell": name_of(cell), "reason": why} for cell, why in shown.passed_over],
        "bad_lines": [{"line": line.number, "reason": line.reason} for line in shown.bad_lines],
        "interrupted": shown.interrupted,
    }


def sheet(shown: Records) -> Sheet:
    """The same as tables and remarks."""
    return tuple(_blocks(shown))


def _blocks(shown: Records) -> Iterator[Block]:
    yield Heading(shown.title)
    if shown.records:
        yield Table(_MEMORY, tuple(map(_memory, shown.records)))
    timed = [record for record in shown.records if record.tokens_per_s is not None]
    if timed:
        yield Heading("time")
        yield Table(_TIME, tuple(map(_time, timed)))
    notes = tuple(_notes(shown))
    if notes:
        yield Items(notes)


_MEMORY = (
    Column("cell", whole=True), Column("model"), Column("method"), Column("batch", "right", True),
    Column("outcome", whole=True), Column("allocated", "right"), Column("reserved", "right"), Column("device", "right"),
)  # fmt: skip
_TIME = (
    Column("cell", whole=True), Column("tokens/s", "right"), Column("step, ms", "right"), Column("varies", "right"),
    Column("of peak", "right"), Column("W", "right"), Column("mJ/token", "right"), Column("USD/M tokens", "right"),
)  # fmt: skip


def _memory(record: Record) -> tuple[Cell, ...]:
    recipe = record.request.recipe
    return (
        Cell(record.cell_id[:8]),
        Cell(record.request.model.rpartition("/")[2]),
        Cell(str(recipe.get("method", "-"))),
        Cell(f"{recipe.get('batch', '?')}x{recipe.get('seq_len', '?')}"),
        Cell(record.outcome, _TONES.get(record.outcome, "bad")),
        *(
            Cell("-" if size is None else gib(size, 2))
            for size in (record.allocated_bytes, record.reserved_bytes, record.device_bytes)
        ),
    )


def _time(record: Record) -> tuple[Cell, ...]:
    def shown(value: float | None, form: str, factor: float = 1.0, unit: str = "") -> str:
        return "-" if value is None else format(value * factor, form) + unit

    return (
        Cell(record.cell_id[:8]),
        Cell(shown(record.tokens_per_s, ",.0f")),
        Cell(shown(record.step_time_s, ",.1f", 1000)),
        Cell(shown(record.step_time_cv, ".1f", 100, " %"), "warn" if "unstable_time" in record.flags else "plain"),
        Cell(shown(record.mfu, ".0f", 100, " %")),
        Cell(shown(record.power_w, ",.0f")),
        Cell(shown(record.energy_j_per_token, ",.1f", 1000)),
        Cell("-" if record.price is None else f"{record.price.usd_per_million_tokens:.3f}"),
    )


def _notes(shown: Records) -> Iterator[str]:
    if shown.records:
        yield "Memory in GiB; batch x length. An OOM is a lower bound: it has no peak."
    for record in shown.records:
        if record.reason:
            yield f"{record.cell_id[:8]} {record.outcome}: {record.reason}"
    flagged = sorted({flag for record in shown.records for flag in record.flags})
    for flag in flagged:
        cells = ", ".join(record.cell_id[:8] for record in shown.records if flag in record.flags)
        yield f"{flag.replace('_', ' ')}: {cells}"
    if any(record.busy for record in shown.records):
        yield "busy: others used the GPU while " + ", ".join(r.cell_id[:8] for r in shown.records if r.busy) + " ran"
    for price in sorted({(p.date, p.provider, p.instance, p.kind) for r in shown.records if (p := r.price)}):
        yield f"price of {price[0]}: {price[1]} {price[2]}, {price[3].replace('_', ' ')}"
    for why in dict.fromkeys(why for _, why in shown.passed_over):
        yield f"{sum(one == why for _, one in shown.passed_over)} passed over: {why}"
    for line in shown.bad_lines:
        yield f"passed over, {line.reason}"
    if shown.interrupted:
        yield "interrupted: the same command goes on where this one stopped"
