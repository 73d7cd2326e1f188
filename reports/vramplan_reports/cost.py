"""The bill of a job: every line with its quantity and price, the total with its range, hours and energy."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from vramplan.cost import Cost, CostLine, Currency, Energy, Hire
from vramplan.units import GIB

from .figures import many
from .sheet import Block, Cell, Column, Items, Lines, Table

Document = dict[str, Any]


def money(usd: Decimal, currency: Currency | None = None) -> str:
    """$1,234.50, with the other currency behind it: $10.00 (EUR 9.20)"""
    said = f"${usd:,.2f}"
    return said if currency is None else f"{said} ({currency.code} {currency.of(usd):,.2f})"


def bill(cost: Cost) -> Iterator[Block]:
    """The lines as a table, and what has to be said of them."""
    columns = (
        Column(""), Column("USD", "right"), Column("quantity", "right"), Column("at USD", "right"), Column("of"),
        Column("from"), Column("what"),
    )  # fmt: skip
    total = (Cell("total", "strong"), Cell(f"{cost.total:,.2f}", "strong"), *(Cell(""),) * 5)
    yield Table(columns=columns, rows=(*map(_line, cost.lines), (), total))
    between = f"likely between {money(cost.low, cost.currency)} and {money(cost.high, cost.currency)}"
    fast, slow = cost.hours_interval
    yield Lines(
        (
            Cell(f"{money(cost.total, cost.currency)}, {between}", "strong"),
            Cell(f"{cost.hours:,.2f} h (between {fast:,.2f} and {slow:,.2f} h); {hired(cost.hire)}"),
            *((Cell(_energy(cost.energy)),) if cost.energy else ()),
            *((Cell(_checkpoints(cost)),) if cost.work.checkpoints else ()),
        )
    )
    if cost.notes:
        yield Items(cost.notes)


def _line(line: CostLine) -> tuple[Cell, ...]:
    price = "" if line.unit_price is None else f"{line.unit_price:,.4f}"
    texts = (line.label, f"{line.amount:,.2f}", f"{line.quantity:,f}", price, line.unit, line.provenance, line.note)
    return tuple(map(Cell, texts))


def hired(hire: Hire) -> str:
    """1 x p5.48xlarge (8 h100), aws us-east-1, on demand, 2026-10-10"""
    price = hire.price
    place = " ".join(word for word in (price.provider, price.region) if word)
    kind, old = price.kind.replace("_", " "), ", stale" if hire.stale else ""
    machine = f"{hire.instances} × {price.instance} ({price.count} × {price.gpu_key})"
    return f"{machine}, {place}, {kind}, price of {price.date.isoformat()}{old}"


def _energy(energy: Energy) -> str:
    co2 = "" if energy.co2_g is None else f", {energy.co2_g / 1000:,.1f} kg CO2"
    return f"{energy.kwh:,f} kWh{co2} ({energy.provenance}: {energy.formula})"


def _checkpoints(cost: Cost) -> str:
    work = cost.work
    size = f"{work.checkpoint_bytes / GIB:,.2f} GiB of weights"
    state = (
        f" and {work.checkpoint_state_bytes / GIB:,.2f} GiB of optimizer state" if work.checkpoint_state_bytes else ""
    )
    return f"{work.steps:,} steps; {work.checkpoints:,} checkpoints of {size}{state}; {many(work.tokens)} tokens"


def cost_document(cost: Cost) -> Document:
    """JSON of a bill: amounts are texts of exact decimals in USD."""
    work, energy = cost.work, cost.energy
    return {
        "total_usd": str(cost.total),
        "interval_usd": [str(cost.low), str(cost.high)],
        "hours": str(cost.hours),
        "hours_interval": [str(hours) for hours in cost.hours_interval],
        "lines": [_line_document(line) for line in cost.lines],
        "hire": hire_document(cost.hire),
        "work": {
            "tokens": work.tokens,
            "processed_tokens": work.processed_tokens,
            "padding_waste": round(work.padding_waste, 6),
            "steps": work.steps,
            "evaluation_passes": work.evaluation_passes,
            "checkpoints": work.checkpoints,
            "checkpoint_bytes": work.checkpoint_bytes,
            "checkpoint_state_bytes": work.checkpoint_state_bytes,
            "download_bytes": work.download_bytes,
        },
        "energy": None
        if energy is None
        else {
            "kwh": str(energy.kwh),
            "co2_g": None if energy.co2_g is None else round(energy.co2_g, 1),
            "source": energy.provenance,
            "formula": energy.formula,
        },
        "currency": None if cost.currency is None else _converted(cost, cost.currency),
        "notes": list(cost.notes),
    }


def _converted(cost: Cost, currency: Currency) -> Document:
    return {"code": currency.code, "per_usd": str(currency.per_usd), "total": str(currency.of(cost.total))}


def _line_document(line: CostLine) -> Document:
    return {
        "label": line.label,
        "quantity": str(line.quantity),
        "unit": line.unit,
        "unit_price_usd": None if line.unit_price is None else str(line.unit_price),
        "amount_usd": str(line.amount),
        "source": line.provenance,
        "price_date": None if line.price_date is None else line.price_date.isoformat(),
        "note": line.note,
    }


def hire_document(hire: Hire) -> Document:
    price = hire.price
    return {
        "gpus": hire.gpus,
        "instances": hire.instances,
        "idle_gpus": hire.idle_gpus,
        "usd_per_hour": str(hire.usd_per_hour),
        "spread_usd_per_hour": [str(usd) for usd in hire.spread],
        "stale": hire.stale,
        "price": {
            "provider": price.provider,
            "region": price.region,
            "instance": price.instance,
            "gpu": price.gpu_key,
            "count": price.count,
            "usd_per_hour": str(price.usd_per_hour),
            "kind": price.kind,
            "date": price.date.isoformat(),
            "note": price.note,
            "source": price.source,
        },
    }
