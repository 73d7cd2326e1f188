"""What a budget rests on: measurements, assumptions, sources, and the commands that give it again."""

from __future__ import annotations

import os

from vramplan.accuracy import Accuracy, Row
from vramplan.budget.result import Budget, Command

from ..figures import gib
from ..page.chart import ABOVE, BLUE, GREEN, GREY, ORANGE, Chart, Trace, axis, escaped, figure, layout
from ..page.markup import Html, el, join
from ..page.table import Col, table
from . import words

_GIB = 2**30
_METHOD_COLORS = {"full": ORANGE, "lora": GREEN, "qlora": BLUE}


def assumptions(budget: Budget) -> Html:
    rows = ((one.what, one.value, one.reason, one.where) for one in budget.assumptions)
    columns = (Col("what", long=True), Col("value"), Col("because", long=True), Col("stated in"))
    return table("What was taken to be so, and why", columns, rows)


def sources(budget: Budget) -> Html:
    rows = (
        (one.what, one.source, f"{words.day(one.day)}{' (stale)' if one.stale else ''}" if one.day else "")
        for one in budget.sources
    )
    return table("Published figures", (Col("what", long=True), Col("source", long=True), Col("of", True)), rows)


def commands(budget: Budget) -> Html:
    return join(
        el(
            "p", "Every figure of this page comes from one of these commands, or those of its job, typed in its folder."
        ),
        code_lines("again-commands", budget.commands, "commands of this report"),
    )


def code_lines(id: str, found: tuple[Command, ...], what: str) -> Html:
    """Commands to copy, each under what it answers."""
    return code(id, "\n".join(f"# {one.what}\n{one.text}" for one in found), what)


def code(id: str, text: str, what: str) -> Html:
    """Text to copy. The button appears where there is JavaScript."""
    return el(
        "div",
        el("pre", el("code", text, id=id), tabindex="0", role="region", aria_label=what),
        el("button", "Copy", type="button", class_="copy", data_copies=id, hidden=True, aria_label=f"Copy: {what}"),
        class_="code",
    )


def measured(found: Accuracy, charts: list[Chart]) -> Html:
    """Device memory of measured runs against what is predicted for them."""
    pairs = [
        (row, row.predicted.device_bytes, row.measured.device_bytes)
        for row in found.rows
        if row.predicted and row.measured and row.measured.ran and row.measured.device_bytes
    ]
    spreads = table(
        "Errors of predictions, percent of the measured figure",
        (Col("tier"), Col("runs", True), Col("median", True), Col("90th percentile", True), Col("worst", True)),
        (
            (
                words.said_tier(tier.tier), f"{tier.overall.count:,}", f"{100 * tier.overall.median:.2f}",
                f"{100 * tier.overall.percentile_90:.2f}", f"{100 * tier.overall.worst:+.2f}",
            )
            for tier in found.tiers
        ),
    )  # fmt: skip
    files = ", ".join(map(os.path.basename, found.files))
    said = f"{found.answered} of {len(found.rows)} runs in {files} could be compared."
    if not pairs:
        return join(el("p", said), spreads if found.tiers else "")
    chart = measured_chart("chart-measured", pairs)
    charts.append(chart)
    rows = (
        (row.id, row.model, row.method, gib(there, 2), gib(said_bytes, 2), f"{100 * (said_bytes / there - 1):+.1f} %")
        for row, said_bytes, there in pairs
    )
    behind = table(
        "Device memory, GiB",
        (Col("run"), Col("model"), Col("method"), Col("measured", True), Col("predicted", True), Col("error", True)),
        rows,
    )
    return join(el("p", said), spreads, figure(chart, behind))


def measured_chart(id: str, pairs: list[tuple[Row, int, int]]) -> Chart:
    """Predicted against measured; on the line they agree."""
    top = max(max(predicted, there) for _, predicted, there in pairs) / _GIB * 1.08
    data: list[Trace] = [
        {"type": "scatter", "mode": "lines", "name": "equal", "x": [0, top], "y": [0, top],
         "line": {"color": GREY, "dash": "dot", "width": 2}, "hoverinfo": "skip"}
    ]  # fmt: skip
    for method in dict.fromkeys(row.method for row, _, _ in pairs):
        mine = [pair for pair in pairs if pair[0].method == method]
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": escaped(method),
                "x": [round(there / _GIB, 3) for _, _, there in mine],
                "y": [round(predicted / _GIB, 3) for _, predicted, _ in mine],
                "text": [escaped(f"{row.id}, {row.model}") for row, _, _ in mine],
                "marker": {"size": 9, "color": _METHOD_COLORS.get(method, GREY)},
                "hovertemplate": "%{text}: measured %{x:.2f}, predicted %{y:.2f} GiB<extra></extra>",
            }
        )  # fmt: skip
    worst = max(pairs, key=lambda pair: abs(pair[1] / pair[2] - 1))
    return Chart(
        id=id,
        title="Device memory, measured against predicted, GiB",
        alt=f"{len(pairs)} runs near the line on which prediction and measurement are equal; the farthest is off by "
        f"{100 * (worst[1] / worst[2] - 1):+.1f} percent.",
        height=380,
        data=tuple(data),
        layout=layout(
            380, xaxis=axis("measured", range=[0, top]), yaxis=axis("predicted", range=[0, top]),
            legend=ABOVE,
        ),
    )  # fmt: skip
