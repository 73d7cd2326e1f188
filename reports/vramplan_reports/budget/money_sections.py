"""The sections of the money: what is rented, cost over time, what moves it, every line of the bill."""

from __future__ import annotations

from vramplan.budget.result import Budget

from ..page.chart import Chart, figure
from ..page.markup import Html, el, join
from ..page.table import Col, table
from . import words
from .money_charts import spent_chart, swings_chart


def costs(budget: Budget, charts: list[Chart]) -> Html:
    """What is rented, then the curve of the money."""
    rented = words.rentals(budget)
    if not rented:
        return Html("")
    chart = spent_chart("chart-spent", budget)
    charts.append(chart)
    total = [("Contingency", "", "", words.usd(budget.contingency)), ("Total", "", "", words.usd(budget.total.value))]
    others = [(line.label, "", "", words.usd(line.amount)) for line in budget.other_lines]
    return join(
        table(
            "What is rented, and what is paid",
            (Col("machines", wrap=True), Col("USD per hour", True), Col("hours", True), Col("USD", True)),
            [
                *((name, f"{rate:,f}", f"{amount:,.1f}", words.usd(usd)) for name, rate, amount, usd in rented),
                *others,
            ],
            foot=total,
        ),
        _energy(budget),
        figure(chart, _spent_table(budget)),
    )


def _energy(budget: Budget) -> Html:
    if budget.kwh is None:
        return Html("")
    co2 = "" if budget.co2_kg is None else f" and {budget.co2_kg:,.1f} kg of CO2"
    return el("p", f"Electricity of the cards: about {budget.kwh:,.0f} kWh{co2}.", class_="soft")


def _spent_table(budget: Budget) -> Html:
    return table(
        "Money spent by the end of a day, USD",
        (Col("day"), Col("expected", True), Col("low", True), Col("high", True), Col("with contingency", True)),
        (
            (
                words.day(point.day), words.usd(point.usd.value), words.usd(point.usd.low), words.usd(point.usd.high),
                words.usd(point.with_contingency),
            )
            for point in budget.spent
        ),
    )  # fmt: skip


def sensitivity(budget: Budget, charts: list[Chart]) -> Html:
    """The tornado and its figures."""
    if not budget.swings:
        return Html("")
    chart = swings_chart("chart-swings", budget)
    charts.append(chart)
    return join(
        el(
            "p",
            f"Each assumption alone at its ends, the others as expected. Taken together, as independent of each other, "
            f"the expected {words.usd(budget.subtotal.value)} USD may become {words.usd(budget.subtotal.low)} to "
            f"{words.usd(budget.subtotal.high)}.",
        ),
        figure(
            chart,
            table(
                "Assumptions at their ends",
                (
                    Col("assumption"), Col("low"), Col("expected"), Col("high"), Col("USD at low", True),
                    Col("USD at high", True), Col("done at low", True), Col("done at high", True),
                    Col("because", long=True),
                ),
                (
                    (
                        swing.label, swing.low, swing.value, swing.high, words.usd(swing.usd_at_low),
                        words.usd(swing.usd_at_high), words.day(swing.end_at_low), words.day(swing.end_at_high),
                        swing.reason,
                    )
                    for swing in budget.swings
                ),
            ),
        ),
    )  # fmt: skip


def lines(budget: Budget) -> Html:
    """Every line of the bill."""
    columns = (
        Col("job"), Col("line", wrap=True), Col("quantity", True), Col("unit", wrap=True), Col("unit price", True),
        Col("USD", True), Col("from"), Col("price of", True), Col("note", long=True),
    )  # fmt: skip
    rows = (
        (
            job or "Other costs", line.label, f"{line.quantity:,f}", line.unit,
            "-" if line.unit_price is None else f"{line.unit_price:,f}", words.usd(line.amount), line.provenance,
            words.day(line.price_date), line.note,
        )
        for job, line in budget.lines
    )  # fmt: skip
    foot = [
        ("Expected", "", "", "", "", words.usd(budget.subtotal.value), "", "", ""),
        ("Contingency", "", "", "", "", words.usd(budget.contingency), "", "", ""),
        ("Total", "", "", "", "", words.usd(budget.total.value), "", "", ""),
    ]
    return table("Amount = quantity × unit price, rounded to the cent", columns, rows, foot=foot)
