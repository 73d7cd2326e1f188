"""The difference of two budgets: the change in money and time first, then which assumption moved it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from vramplan.budget.diff import Difference

from ..document import Document, opening
from ..page.files import Writer, as_json, as_markdown, texts
from ..sheet import Block, Cell, Column, Heading, Lines, Sheet, Table, Tone
from . import words

KIND = "budget_difference"


def sheet(found: Difference, /) -> Sheet:
    """For people."""
    return tuple(_blocks(found))


def _blocks(found: Difference) -> Iterator[Block]:
    old, new = found.old, found.new
    yield Heading(f"{new.scenario.name}: what changed")
    share = f" ({100 * found.usd / old.total.value:+.0f} %)" if old.total.value else ""
    money = f"{signed(found.usd)} USD{share}: {words.usd(old.total.value)} → {words.usd(new.total.value)} USD"
    tone: Tone = "bad" if found.usd > 0 else "good" if found.usd < 0 else "plain"
    lines = [Cell(money, tone), Cell(_time(found), "bad" if (found.days or 0) > 0 else "plain")]
    if found.causes:
        lines.append(Cell(_moved_by(found)))
    lines.append(Cell(words.decision(new), words.decision_tone(new)))
    yield Lines(tuple(lines))
    if found.causes:
        yield Heading("What moved it")
        yield Table(
            columns=(Column("assumption"), Column("old", "right"), Column("new", "right"),
                     Column("USD", "right", True), Column("days", "right", True)),
            rows=tuple(
                (Cell(cause.what), Cell(cause.old), Cell(cause.new), Cell(signed(cause.usd)), Cell(f"{cause.days:+d}"))
                for cause in found.causes
            ),
        )  # fmt: skip
    yield Heading("Jobs")
    yield Table(
        columns=(Column("job"), Column("old USD", "right", True), Column("new USD", "right", True), Column("old"),
                 Column("new")),
        rows=tuple(
            (Cell(job.name), Cell(_usd(job.old_usd)), Cell(_usd(job.new_usd)), Cell(job.old_way), Cell(job.new_way))
            for job in found.jobs
        ),
    )  # fmt: skip


def _moved_by(found: Difference) -> str:
    top = found.causes[0]
    change = f" ({top.old} → {top.new})" if top.old or top.new else ""
    return f"moved most by {top.what}{change}: {signed(top.usd)} USD, {top.days:+d} days"


def _time(found: Difference) -> str:
    ends = f"{words.day(found.old_end)} → {words.day(found.new_end)}"
    return f"no last day to compare: {ends}" if found.days is None else f"{found.days:+d} days: {ends}"


def signed(amount: Decimal) -> str:
    """+12.00"""
    return f"{amount:+,.2f}"


def _usd(amount: Decimal | None) -> str:
    return "-" if amount is None else words.usd(amount)


def document(found: Difference, /) -> Document:
    """JSON (schema_version 1): keys may be added, none changes its meaning."""
    return opening() | {
        "kind": KIND,
        "old": {"scenario": found.old.scenario.path, "usd": f"{found.old.total.value:f}", "end": _day(found.old_end)},
        "new": {"scenario": found.new.scenario.path, "usd": f"{found.new.total.value:f}", "end": _day(found.new_end)},
        "usd": f"{found.usd:f}",
        "days": found.days,
        "causes": [
            {"what": cause.what, "old": cause.old, "new": cause.new, "usd": f"{cause.usd:f}", "days": cause.days}
            for cause in found.causes
        ],
        "jobs": [
            {
                "name": job.name,
                "old_usd": None if job.old_usd is None else f"{job.old_usd:f}",
                "new_usd": None if job.new_usd is None else f"{job.new_usd:f}",
                "old_way": job.old_way,
                "new_way": job.new_way,
            }
            for job in found.jobs
        ],
    }


def _day(day: object) -> str | None:
    return None if day is None else str(day)


WRITERS: dict[str, Writer[Difference]] = {
    ".md": texts(as_markdown(sheet)),
    ".json": texts(as_json(document)),
}
