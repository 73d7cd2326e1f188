"""Cost lines for a spreadsheet: CSV, and a workbook. No cell of it is ever a formula that somebody else wrote.

A text that begins with = + - @, a tab or a carriage return would be taken for a formula by spreadsheets (OWASP, CSV
injection): an apostrophe before it makes it text again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime, time
from decimal import Decimal
from typing import Any

from vramplan.budget.result import Budget, JobBudget
from vramplan.errors import UnsupportedError

DANGEROUS = ("=", "+", "-", "@", "\t", "\r")
COLUMNS = (
    "job", "line", "quantity", "unit", "unit_price_usd", "amount_usd", "provenance", "price_date", "note",
)  # fmt: skip
Value = str | Decimal | int | None
Row = tuple[Value, ...]


def safe(value: str) -> str:
    """Text that no spreadsheet reads as a formula."""
    text = "".join(letter for letter in value if letter >= " " or letter in "\t\r\n")
    return f"'{text}" if text.lstrip(" \n").startswith(DANGEROUS) else text


def rows(budget: Budget) -> list[Row]:
    """A row for each line, the contingency last: the amounts add up to the total."""
    found: list[Row] = []
    for job, line in budget.lines:
        day = line.price_date.isoformat() if line.price_date else ""
        found.append(
            (job, line.label, line.quantity, line.unit, line.unit_price, line.amount, line.provenance, day, line.note)
        )
    plan = budget.scenario.contingency
    reason = plan.reason if plan else ""
    amount = budget.contingency
    found.append(("", "contingency", Decimal(1), "set aside", amount, amount, "assumed", "", reason))
    return found


def render_csv(budget: Budget) -> str:
    """Cost lines with a header; line ends as RFC 4180 has them."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([_cell(value) for value in row] for row in rows(budget))
    return text.getvalue()


def _cell(value: Value) -> str:
    if value is None:
        return ""
    return safe(value) if isinstance(value, str) else f"{value:f}" if isinstance(value, Decimal) else str(value)


def write_xlsx(path: str, budget: Budget) -> None:
    """A workbook of cost lines, jobs, what moves the total, assumptions and sources; dated as the plan is."""
    try:
        import xlsxwriter
    except ImportError as error:
        raise UnsupportedError("workbooks need XlsxWriter: pip install 'vramplan[reports]'") from error
    book = xlsxwriter.Workbook(path)
    plan = budget.scenario
    book.set_properties({"title": safe(plan.name), "created": datetime.combine(plan.date, time())})
    for name, columns, found in _sheets(budget):
        _write(book, name, columns, found)
    book.close()


def _sheets(budget: Budget) -> Iterable[tuple[str, Sequence[str], list[Row]]]:
    yield "Cost lines", COLUMNS, rows(budget)
    yield (
        "Jobs",
        ("job", "model", "method", "gpu", "provider", "kind", "verdict", "hours", "usd", "usd_low", "usd_high",
         "begins", "done", "problem"),
        [_job(job) for job in budget.jobs],
    )  # fmt: skip
    yield (
        "What moves it",
        ("assumption", "low", "expected", "high", "usd_at_low", "usd_at_high", "because"),
        [(s.label, s.low, s.value, s.high, s.usd_at_low, s.usd_at_high, s.reason) for s in budget.swings],
    )
    yield (
        "Assumptions", ("what", "value", "because", "stated_in"),
        [(a.what, a.value, a.reason, a.where) for a in budget.assumptions],
    )  # fmt: skip
    yield (
        "Sources", ("what", "source", "date"),
        [(s.what, s.source, s.day.isoformat() if s.day else "") for s in budget.sources],
    )  # fmt: skip


def _job(job: JobBudget) -> Row:
    way, price = job.way, job.way.hire.price if job.way and job.way.hire else None
    return (
        job.plan.name, job.model.id, way.recipe.method if way else "", way.gpu.key if way else "",
        price.provider if price else "", price.kind if price else "", way.verdict if way else "",
        job.hours.value if job.hours else None, job.usd.value if job.usd else None, job.usd.low if job.usd else None,
        job.usd.high if job.usd else None, job.start.isoformat() if job.start else "",
        job.end.isoformat() if job.end else "", job.problem or "",
    )  # fmt: skip


def _write(book: Any, name: str, columns: Sequence[str], found: list[Row]) -> None:
    sheet = book.add_worksheet(name)
    bold, money = book.add_format({"bold": True}), book.add_format({"num_format": "#,##0.00"})
    sheet.freeze_panes(1, 0)
    for column, title in enumerate(columns):
        sheet.write_string(0, column, title, bold)
        longest = max([len(title), *(len(str(row[column] or "")) for row in found)])
        sheet.set_column(column, column, min(longest + 2, 60))
    for line, row in enumerate(found, 1):
        for column, value in enumerate(row):
            if isinstance(value, str):
                sheet.write_string(line, column, safe(value))
            elif isinstance(value, Decimal | int):
                sheet.write_number(line, column, float(value), money if "usd" in columns[column] else None)
