"""Measured runs as one self-contained page."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from vramplan.budget.measured import Cell, Measured
from vramplan.units import GIB

from ..budget import grounds
from ..figures import gib
from ..page.chart import ABOVE, BLUE, COLORS, GREEN, GREY, ORANGE, Chart, Trace, axis, escaped, figure, layout
from ..page.markup import Html, el, join
from ..page.skeleton import page
from ..page.table import Col, table
from .summary import environment, knob, opening_lines, pair_row, remarks_of, row, title

_METHOD_COLORS = {"full": ORANGE, "lora": GREEN, "qlora": BLUE}
_MOST_BARS = 24


def render(found: Measured) -> str:
    """The page. The same records give the same bytes."""
    charts: list[Chart] = []
    sections = [
        ("speed", "Speed and cost", _speed(found, charts)),
        ("against", f"Against {', '.join(found.other_cards)}", _against(found)),
        ("memory", "Memory by phase", _memory(found, charts)),
        ("accuracy", "Measured against predicted", grounds.measured(found.accuracy, charts)),
        ("cells", "Every cell", _cells(found)),
        ("environment", "Environment", _environment(found)),
    ]
    lead, *rest = opening_lines(found)
    header = join(
        el("h1", title(found)),
        el("p", f"From {', '.join(found.files)}.", class_="byline"),
        el("p", lead, class_="decision"),
        el("ul", *(el("li", line) for line in rest), class_="notes"),
    )
    beside = ("--against", found.against) if found.against else ()
    again = shlex.join(("vramplan", "report", "bench", *found.files, *beside, "-o", "report.html"))
    return page(
        title=title(found),
        header=header,
        sections=[section for section in sections if section[2]],
        footer=el("p", "The same again: ", el("code", again)),
        charts=charts,
    )


def _speed(found: Measured, charts: list[Chart]) -> Html:
    """Tokens a second and their price, by length, a line for each model, method and batch."""
    parts = []
    for id, heading, unit, value in (
        ("tokens", "Tokens a second by length", "tokens/s", lambda cell: cell.tokens_per_s),
        ("usd", "Cost of a million tokens by length", "USD / M tokens", _usd),
    ):
        chart = _by_length(f"chart-{id}", heading, unit, found.cells, value)
        if chart:
            charts.append(chart)
            there = el("p", el("a", "Figures: the table of every cell", href="#cells"))
            parts.append(figure(chart, after=there))
    return join(*parts)


def _usd(cell: Cell) -> float | None:
    return None if cell.rate is None else float(cell.rate.usd_per_million_tokens)


def _by_length(
    id: str, heading: str, unit: str, cells: tuple[Cell, ...], value: Callable[[Cell], float | None]
) -> Chart | None:
    groups: dict[tuple[str, str, str], list[tuple[int, float]]] = {}
    for cell in cells:
        figure_, length = value(cell), cell.recipe.get("seq_len")
        if figure_ is not None and isinstance(length, int):
            key = (cell.model.rpartition("/")[2], knob(cell, "method"), knob(cell, "batch"))
            groups.setdefault(key, []).append((length, round(figure_, 4)))
    if not groups:
        return None
    symbols = ("circle", "square", "diamond", "triangle-up", "x", "star")
    models = list(dict.fromkeys(model for model, _, _ in groups))
    data: list[Trace] = []
    for (model, method, batch), points in groups.items():
        ordered = sorted(points)
        data.append(
            {
                "type": "scatter", "mode": "lines+markers", "name": escaped(f"{model} {method} batch {batch}"),
                "x": [length for length, _ in ordered], "y": [figure_ for _, figure_ in ordered],
                "line": {"color": _METHOD_COLORS.get(method, GREY), "width": 2},
                "marker": {"size": 9, "symbol": symbols[models.index(model) % len(symbols)]},
                "hovertemplate": f"%{{x:,}}: %{{y:,.4~g}} {unit}<extra>%{{fullData.name}}</extra>",
            }
        )  # fmt: skip
    best = max(y for points in groups.values() for _, y in points)
    height = 360 + 12 * len(groups)
    return Chart(
        id=id,
        title=heading,
        alt=f"{len(groups)} lines of {unit} over the length of sequences; the highest point is {best:,.4g}. "
        "The table of every cell has the figures.",
        height=height,
        data=tuple(data),
        layout=layout(height, xaxis=axis("tokens per sequence", type="log", dtick=0.30103),
                      yaxis=axis(unit, rangemode="tozero"), legend=ABOVE),
    )  # fmt: skip


def _against(found: Measured) -> Html:
    if not found.pairs:
        return Html("")
    columns = (
        Col("model"), Col("method"), Col("batch", True), Col("length", True), Col("tokens/s", True), Col("there", True),
        Col("times", True), Col("USD / M tokens", True), Col("USD there", True),
    )  # fmt: skip
    rows = (pair_row(found, position) for position in range(len(found.pairs)))
    return table(f"The same cells on {', '.join(found.other_cards)}", columns, rows)


def _memory(found: Measured, charts: list[Chart]) -> Html:
    """Peaks of the phases, a group of bars for each cell."""
    shown = [cell for cell in found.cells if cell.ran and cell.phases][:_MOST_BARS]
    if not shown:
        return Html("")
    names = list(dict.fromkeys(phase.name for cell in shown for phase in cell.phases))
    labels = [_label(cell, position) for position, cell in enumerate(shown, 1)]
    rows = [{phase.name: phase.allocated_bytes for phase in cell.phases} for cell in shown]
    data: tuple[Trace, ...] = tuple(
        {
            "type": "bar", "orientation": "h", "name": escaped(name.replace("_", " ")), "y": labels,
            "x": [round(row[name] / GIB, 4) if name in row else None for row in rows],
            "marker": {"color": COLORS[position % len(COLORS)]},
            "hovertemplate": "%{y}: %{x:.2f} GiB<extra>%{fullData.name}</extra>",
        }
        for position, name in enumerate(names)
    )  # fmt: skip
    height = 120 + max(len(shown) * (8 * len(names) + 14), 120)
    chart = Chart(
        id="chart-phases",
        title="Allocated memory by phase, GiB",
        alt=f"Bars of the peak of allocated memory in {len(names)} phases for {len(shown)} cells; the largest is "
        f"{gib(max(max(row.values()) for row in rows), 2)} GiB.",
        height=height,
        data=data,
        layout=layout(height, barmode="group", yaxis=axis(autorange="reversed", type="category", ticksuffix=" "),
                      legend=ABOVE),
    )  # fmt: skip
    charts.append(chart)
    columns = (Col("cell"), *(Col(name.replace("_", " "), True) for name in names))
    body = (
        (label, *(gib(row[name], 2) if name in row else "-" for name in names))
        for label, row in zip(labels, rows, strict=True)
    )
    return figure(chart, table("GiB allocated in each phase", columns, body))


def _label(cell: Cell, position: int) -> str:
    model = cell.model.rpartition("/")[2][:18]
    return escaped(f"{position}. {model} {knob(cell, 'method')} {knob(cell, 'batch')} × {knob(cell, 'seq_len')}")


def _cells(found: Measured) -> Html:
    columns = (
        Col("model"), Col("method"), Col("batch", True), Col("length", True), Col("outcome"), Col("GiB", True),
        Col("tokens/s", True), Col("USD / M tokens", True), Col("J / token", True),
    )  # fmt: skip
    return table(
        "Medians of all runs of a cell; GiB of the device where it was measured", columns, map(row, found.cells)
    )


def _environment(found: Measured) -> Html:
    remarks = remarks_of(found)
    return join(
        table("Card, driver, packages", (Col("what"), Col("value", long=True)), environment(found)),
        el("ul", *(el("li", remark) for remark in remarks), class_="notes") if remarks else "",
    )
