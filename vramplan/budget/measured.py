"""What was measured on a card: every cell of its records once, with what it costs, and how good the predictions are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from statistics import median
from typing import Any

from ..accuracy import Accuracy, accuracy
from ..catalog import find_gpu, prices
from ..cost.hire import hires
from ..cost.rate import usd_per_million_tokens
from ..errors import VramplanError
from ..gpu import Gpu
from ..record import Kind, Outcome, PhaseRecord, Record, read_records
from ..record.file import BadLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Money for a million tokens at the measured speed."""

    usd_per_million_tokens: Decimal
    usd_per_hour: Decimal
    provider: str
    kind: str
    day: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One request and all its runs. Bytes and speeds are medians of those that ran; None = not measured."""

    id: str
    kind: Kind
    model: str
    layers: int
    gpu: str | None
    recipe: Mapping[str, Any]
    runs: int
    outcomes: tuple[Outcome, ...]
    allocated_bytes: int | None
    reserved_bytes: int | None
    device_bytes: int | None
    tokens_per_s: float | None
    step_time_cv: float | None
    energy_j_per_token: float | None
    mfu: float | None
    phases: tuple[PhaseRecord, ...]
    """Of the first run: the largest of each phase."""
    rate: Rate | None

    @property
    def ran(self) -> bool:
        return "ok" in self.outcomes

    @property
    def alike(self) -> tuple[Any, ...]:
        """What makes cells of two cards comparable: everything but the card."""
        return self.model, self.layers, tuple(sorted((key, str(value)) for key, value in self.recipe.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A cell and its like on another card."""

    cell: Cell
    other: Cell

    @property
    def speedup(self) -> float | None:
        """How many times the tokens a second of the other card."""
        if not (self.cell.tokens_per_s and self.other.tokens_per_s):
            return None
        return self.cell.tokens_per_s / self.other.tokens_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A report of measured runs."""

    files: tuple[str, ...]
    cards: tuple[str, ...]
    """Names of the cards, as the catalogue has them."""
    cells: tuple[Cell, ...]
    environment: Mapping[str, tuple[str, ...]]
    """Name -> values that occur: card, driver, versions."""
    days: tuple[str, str]
    """First and last day of a run."""
    accuracy: Accuracy
    flags: Mapping[str, int]
    """What the runner remarked -> in how many runs."""
    bad_lines: tuple[str, ...]
    against: str = ""
    """File of the records beside."""
    other_cards: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()


def measured(paths: Iterable[str | os.PathLike[str]], against: str | os.PathLike[str] | None = None) -> Measured:
    """What the files of records at `paths` say, beside those of another card. Raises VramplanError."""
    names = tuple(os.fspath(path) for path in paths)
    bad: list[str] = []
    records = [record for name in names for record in _read(name, bad)]
    if not records:
        raise VramplanError(f"{', '.join(names)}: no measured runs" + (f"; the first line: {bad[0]}" if bad else ""))
    cells = _cells(records)
    others = () if against is None else _cells(list(_read(os.fspath(against), bad)))
    if against is not None and not others:
        raise VramplanError(f"--against {os.fspath(against)}: no measured runs")
    like = {cell.alike: cell for cell in others}
    days = sorted(record.created[:10] for record in records)
    flags = [flag for record in records for flag in record.flags]
    return Measured(
        files=names,
        cards=_cards(cells),
        cells=cells,
        environment=_environment(records),
        days=(days[0], days[-1]),
        accuracy=accuracy(names),
        flags={flag: flags.count(flag) for flag in sorted(set(flags))},
        bad_lines=tuple(bad),
        against="" if against is None else os.fspath(against),
        other_cards=_cards(others),
        pairs=tuple(Pair(cell=cell, other=like[cell.alike]) for cell in cells if cell.alike in like),
    )


def _read(name: str, bad: list[str]) -> Iterable[Record]:
    def note(line: BadLine) -> None:
        bad.append(line.reason)

    return read_records(name, note)


def _cells(records: list[Record]) -> tuple[Cell, ...]:
    """By method, model, length and batch."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.cell_id, []).append(record)
    cells = (_cell(id, group) for id, group in groups.items())
    return tuple(sorted(cells, key=lambda cell: (cell.model, *(_order(cell, knob) for knob in _SORTED_BY), cell.id)))


_SORTED_BY = ("method", "seq_len", "batch", "rank")


def _order(cell: Cell, knob: str) -> tuple[int, str]:
    value = cell.recipe.get(knob)
    return (value, "") if isinstance(value, int) else (0, str(value))


def _cell(id: str, group: list[Record]) -> Cell:
    ran = [record for record in group if record.outcome == "ok"]
    first = (ran or group)[0]
    tokens_per_s = _median([record.tokens_per_s for record in ran if not record.busy])
    return Cell(
        id=id,
        kind=first.kind,
        model=first.request.model,
        layers=first.request.layers,
        gpu=first.request.gpu,
        recipe=first.request.recipe,
        runs=len(group),
        outcomes=tuple(dict.fromkeys(record.outcome for record in group)),
        allocated_bytes=_whole([record.allocated_bytes for record in ran]),
        reserved_bytes=_whole([record.reserved_bytes for record in ran]),
        device_bytes=_whole([record.device_bytes for record in ran if not record.busy]),
        tokens_per_s=tokens_per_s,
        step_time_cv=_median([record.step_time_cv for record in ran]),
        energy_j_per_token=_median([record.energy_j_per_token for record in ran]),
        mfu=_median([record.mfu for record in ran]),
        phases=_largest(first.phases),
        rate=None if tokens_per_s is None else _rate(first, tokens_per_s),
    )


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _whole(values: list[int | None]) -> int | None:
    found = _median([*values])
    return None if found is None else round(found)


def _largest(phases: tuple[PhaseRecord, ...]) -> tuple[PhaseRecord, ...]:
    """Each phase at its highest, in the order in which they first ran."""
    found: dict[str, PhaseRecord] = {}
    for phase in phases:
        known = found.get(phase.name)
        if known is None or phase.allocated_bytes > known.allocated_bytes:
            found[phase.name] = phase
    return tuple(found.values())


def _rate(record: Record, tokens_per_s: float) -> Rate | None:
    """By the record's own price, else the best listed one on the day of the run; None where the card has none."""
    if record.price is not None:
        usd, price = record.price.usd_per_hour, record.price
        said = (price.provider, price.kind, price.date)
    else:
        found = hires(prices(record.request.gpu or ""), record.request.gpu or "", today=_day(record))
        if not found:
            return None
        usd, best = found[0].usd_per_hour, found[0].price
        said = (best.provider, best.kind, best.date.isoformat())
    provider, kind, day = said
    rate = usd_per_million_tokens(usd, tokens_per_s, 1)
    return Rate(usd_per_million_tokens=rate, usd_per_hour=usd, provider=provider, kind=kind, day=day)


def _day(record: Record) -> date:
    try:
        return date.fromisoformat(record.created[:10])
    except ValueError:
        raise VramplanError(f"record {record.cell_id}: {record.created!r} is no day") from None


def _cards(cells: tuple[Cell, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys("CPU" if cell.gpu is None else _name(cell.gpu) for cell in cells))


def _name(key: str) -> str:
    try:
        gpu: Gpu = find_gpu(key)
    except VramplanError:
        return key
    return gpu.name


def _environment(records: list[Record]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for record in records:
        versions = record.effective.versions if record.effective else {}
        for name, value in (*record.machine.items(), *versions.items()):
            values = found.setdefault(name, [])
            if str(value) not in values:
                values.append(str(value))
    return {name: tuple(values) for name, values in sorted(found.items())}
