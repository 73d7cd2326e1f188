"""A budget as a sheet: for a terminal, and as Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Iterator

from vramplan.budget.result import Budget, JobBudget

from ..figures import gib
from ..header import VERDICTS
from ..sheet import Block, Cell, Column, Flow, Heading, Items, Lines, Sheet, Table, Tone
from . import words
from .document import document

__all__ = ["document", "sheet"]

_SHOWN_SWINGS = 8


def sheet(budget: Budget, /) -> Sheet:
    """The decision first, then jobs, lines, what moves the total, assumptions, sources, commands."""
    return tuple(_blocks(budget))


def _blocks(budget: Budget) -> Iterator[Block]:
    plan = budget.scenario
    yield Heading(plan.name)
    said = [Cell(plan.summary)] if plan.summary else []
    by = f" by {plan.owner}" if plan.owner else ""
    yield Lines((*said, Cell(f"plan of {words.day(plan.date)}{by}, money in USD", "dim")))
    yield Lines((Cell(words.decision(budget), words.decision_tone(budget)),))
    yield Table(
        columns=(Column("", whole=True), Column("", whole=True), Column("")),
        rows=tuple(
            (Cell(fact.title), Cell(fact.figure, _strong(fact)), Cell(fact.detail)) for fact in words.facts(budget)
        ),
    )
    if budget.notes:
        yield Items(budget.notes)
    yield Heading("Jobs")
    yield _jobs(budget)
    yield Heading("Cost lines")
    yield _lines(budget)
    if budget.swings:
        yield Heading("What moves the total")
        yield _swings(budget)
    if notes := tuple(f"{job.plan.name}: {note}" for job in budget.jobs for note in job.notes):
        yield Heading("Notes")
        yield Items(tuple(dict.fromkeys(notes)))
    yield from _grounds(budget)


def _strong(fact: words.Fact) -> Tone:
    return "strong" if fact.tone == "plain" else fact.tone


def _jobs(budget: Budget) -> Table:
    columns = (
        Column("job"), Column("model"), Column("method"), Column("on"), Column("GiB", "right"),
        Column("hours", "right", True), Column("USD", "right", True), Column("done", "right", True),
    )  # fmt: skip
    return Table(columns=columns, rows=tuple(_job(job) for job in budget.jobs))


def _job(job: JobBudget) -> tuple[Cell, ...]:
    way = job.way
    if way is None or job.usd is None or job.hours is None:
        return (
            Cell(job.plan.name),
            Cell(words.model(job.model.id)),
            Cell("-"),
            Cell(job.problem or "", "bad"),
            *(Cell("-"),) * 4,
        )
    tight = " (tight)" if way.verdict == "tight" else ""
    return (
        Cell(job.plan.name),
        Cell(words.model(job.model.id)),
        Cell(way.recipe.method),
        Cell(words.hire(way)),
        Cell(f"{gib(way.need_bytes)} of {gib(way.gpu.capacity_bytes)}{tight}", VERDICTS[way.verdict].tone),
        Cell(f"{job.hours.value:,.1f}"),
        Cell(words.usd(job.usd.value)),
        Cell(words.day(job.end)),
    )


def _lines(budget: Budget) -> Table:
    columns = (
        Column("line"), Column("quantity", "right", True), Column("unit"), Column("unit price", "right", True),
        Column("USD", "right", True), Column("from"), Column("price of", "right", True),
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    last = None
    for job, line in budget.lines:
        if job != last:
            rows += [(Cell(job or "Other costs", "strong"), *(Cell(""),) * 6)]
            last = job
        day = line.price_date.isoformat() if line.price_date else "-"
        unit_price = "-" if line.unit_price is None else f"{line.unit_price:,f}"
        rows.append(
            (
                Cell(f"  {line.label}"), Cell(f"{line.quantity:,f}"), Cell(line.unit), Cell(unit_price),
                Cell(words.usd(line.amount)), Cell(line.provenance), Cell(day),
            )
        )  # fmt: skip
    rows += [_sum("Expected", words.usd(budget.subtotal.value))]
    rows += [_sum("Contingency", words.usd(budget.contingency))]
    rows += [_sum("Total", words.usd(budget.total.value))]
    return Table(columns=columns, rows=tuple(rows))


def _sum(label: str, amount: str) -> tuple[Cell, ...]:
    return (Cell(label, "strong"), *(Cell(""),) * 3, Cell(amount, "strong"), Cell(""), Cell(""))


def _swings(budget: Budget) -> Table:
    columns = (Column("assumption"), Column("from", "right"), Column("to", "right"), Column("USD from", "right", True),
               Column("USD to", "right", True), Column("because"))  # fmt: skip
    rows = tuple(
        (
            Cell(swing.label), Cell(swing.low), Cell(swing.high), Cell(words.usd(swing.usd_at_low)),
            Cell(words.usd(swing.usd_at_high)), Cell(swing.reason),
        )
        for swing in budget.swings[:_SHOWN_SWINGS]
    )  # fmt: skip
    return Table(columns=columns, rows=rows)


def _grounds(budget: Budget) -> Iterator[Block]:
    yield Heading("Assumptions")
    yield Table(
        columns=(Column("what"), Column("value", "right"), Column("because")),
        rows=tuple((Cell(one.what), Cell(one.value), Cell(one.reason)) for one in budget.assumptions),
    )
    yield Heading("Sources")
    yield Items(
        tuple(
            f"{one.what}: {one.source}" + (f" ({one.day}{', stale' if one.stale else ''})" if one.day else "")
            for one in budget.sources
        )
    )
    yield Heading("The same again")
    of_jobs = (f"{job.plan.name}: {job.commands[0].text}" for job in budget.jobs if job.commands)
    yield Items((*(f"{one.what}: {one.text}" for one in budget.commands), *of_jobs))
    yield Flow((words.footer(budget),))
