"""Money and time in pictures: ways to run a job, cost over the project's life, what moves the total."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from vramplan.budget.result import Budget, JobBudget, Swing, Way

from ..page.chart import ABOVE, BLUE, GREEN, GREY, ORANGE, PURPLE, Chart, Trace, axis, escaped, layout
from . import words

SHOWN_SWINGS = 12
_SYMBOLS = {"full": "square", "lora": "circle", "qlora": "diamond"}
_LABELS = {"full": "middle right", "lora": "top center", "qlora": "bottom center"}
"""Points of one card lie close together; their names do not."""
_METHOD_COLORS = {"full": ORANGE, "lora": GREEN, "qlora": BLUE}


def ways_chart(id: str, job: JobBudget) -> Chart:
    """Every way that fits, by hours and money; the front is joined, the plan ringed."""
    ways = [way for way in job.ways if way.usd and way.hours and way.verdict == "fits"]
    chosen = job.way
    front = sorted((way for way in ways if way.on_front), key=_hours)
    data: list[Trace] = [
        {
            "type": "scatter", "mode": "lines", "name": "none cheaper and quicker", "x": [_hours(way) for way in front],
            "y": [_usd(way) for way in front], "line": {"color": GREY, "width": 2, "dash": "dot"}, "hoverinfo": "skip",
        }
    ]  # fmt: skip
    for method in dict.fromkeys(way.recipe.method for way in ways):
        data.append(_points([way for way in ways if way.recipe.method == method], method, chosen))
    if chosen and chosen.usd and chosen.hours:
        data.append(
            {
                "type": "scatter", "mode": "markers", "name": "planned", "x": [_hours(chosen)], "y": [_usd(chosen)],
                "marker": {"symbol": "circle-open", "size": 24, "color": PURPLE, "line": {"width": 3, "color": PURPLE}},
                "hoverinfo": "skip",
            }
        )  # fmt: skip
    planned = f"{words.hire(chosen)} with {_hours(chosen):,.1f} hours and {_usd(chosen):,.2f} USD" if chosen else "none"
    return Chart(
        id=id,
        title=f"Ways to run {job.plan.name}: hours against USD",
        alt=f"{len(ways)} ways that fit, by machine hours and money; {len(front)} are beaten by no other. "
        f"Planned: {planned}.",
        height=340,
        data=tuple(data),
        layout=layout(340, xaxis=axis("machine hours, all runs", rangemode="tozero"),
                      yaxis=axis("USD", rangemode="tozero"), legend=ABOVE),
    )  # fmt: skip


def _points(ways: Sequence[Way], method: str, chosen: Way | None) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": method,
        "x": [_hours(way) for way in ways],
        "y": [_usd(way) for way in ways],
        "text": [_outside(escaped(way.gpu.key), method) if way is chosen else escaped(way.gpu.key) for way in ways],
        "customdata": [escaped(words.hire(way)) for way in ways],
        "textposition": _LABELS[method],
        "textfont": {"size": 11},
        "cliponaxis": False,
        "marker": {"symbol": _SYMBOLS[method], "size": 11, "color": _METHOD_COLORS[method]},
        "hovertemplate": f"{method} on %{{customdata}}: %{{x:,.1f}} h, %{{y:,.2f}} USD<extra></extra>",
    }


def _outside(name: str, method: str) -> str:
    """Clear of the ring around the plan."""
    return {"top center": f"{name}<br> ", "bottom center": f" <br>{name}"}.get(_LABELS[method], f"   {name}")


def spent_chart(id: str, budget: Budget) -> Chart:
    """Money spent by day: expected, its range, with contingency, and the budget."""
    days = [point.day.isoformat() for point in budget.spent]
    low = [_float(point.usd.low) for point in budget.spent]
    high = [_float(point.usd.high) for point in budget.spent]
    data: list[Trace] = [
        {"type": "scatter", "mode": "lines", "name": "low", "x": days, "y": low, "showlegend": False,
         "line": {"width": 0, "color": BLUE}, "hoverinfo": "skip"},
        {"type": "scatter", "mode": "lines", "name": "likely range", "x": days, "y": high, "fill": "tonexty",
         "line": {"width": 0, "color": BLUE}, "fillcolor": "rgba(63,127,208,0.22)", "hoverinfo": "skip"},
        _line("expected", days, [_float(point.usd.value) for point in budget.spent], BLUE, "solid"),
        _line("with contingency", days, [_float(point.with_contingency) for point in budget.spent], PURPLE, "dash"),
    ]  # fmt: skip
    limit, deadline = budget.scenario.limits.budget_usd, budget.scenario.limits.deadline
    top = max(max(high, default=0.0), _float(budget.total.value))
    if limit is not None and _float(limit) <= 2.5 * top:
        data.append(_line("budget", [days[0], days[-1]], [_float(limit)] * 2, ORANGE, "dot"))
    shapes, marks = [], []
    if deadline is not None and days[0] <= deadline.isoformat() <= days[-1]:
        shapes = [{"type": "line", "x0": deadline.isoformat(), "x1": deadline.isoformat(), "y0": 0, "y1": 1,
                   "yref": "paper", "line": {"color": GREY, "width": 2, "dash": "dot"}}]  # fmt: skip
        marks = [{"x": deadline.isoformat(), "y": 0.03, "yref": "paper", "yanchor": "bottom", "xanchor": "left",
                  "showarrow": False, "text": "deadline", "xshift": 4}]  # fmt: skip
    last = budget.spent[-1]
    return Chart(
        id=id,
        title="Money spent over the project's life, USD",
        alt=f"From {words.day(budget.start)} to {words.day(last.day)} the expected cost rises to "
        f"{words.usd(last.usd.value)} USD, likely {words.spread(last.usd)}, and "
        f"{words.usd(last.with_contingency)} with contingency.",
        height=340,
        data=tuple(data),
        layout=layout(340, xaxis=axis(type="date"), yaxis=axis("USD", rangemode="tozero"), shapes=shapes,
                      annotations=marks, hovermode="x unified", legend=ABOVE),
    )  # fmt: skip


def _line(name: str, x: list[str], y: list[float], color: str, dash: str) -> Trace:
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": x, "y": y,
        "line": {"color": color, "width": 3, "dash": dash}, "hovertemplate": "%{y:,.2f}",
    }  # fmt: skip


def swings_chart(id: str, budget: Budget) -> Chart:
    """A tornado: each assumption at its ends, the largest at the top."""
    expected = _float(budget.subtotal.value)
    shown = budget.swings[:SHOWN_SWINGS]
    height = 110 + 36 * len(shown)
    top = shown[0]
    return Chart(
        id=id,
        title="What the expected cost would be with one assumption at its ends, USD",
        alt=f"Bars around {words.usd(budget.subtotal.value)} USD for {len(shown)} assumptions. The widest is "
        f"{top.label}: "
        f"{words.usd(min(_ends(top)))} to {words.usd(max(_ends(top)))} USD.",
        height=height,
        data=(
            _bars("at its low end", shown, [swing.usd_at_low for swing in shown], [swing.low for swing in shown],
                  expected, BLUE),
            _bars("at its high end", shown, [swing.usd_at_high for swing in shown], [swing.high for swing in shown],
                  expected, ORANGE),
        ),
        layout=layout(
            height, barmode="overlay", bargap=0.35, xaxis=axis(), legend=ABOVE,
            yaxis=axis(autorange="reversed", type="category", ticksuffix=" "),
            shapes=[{"type": "line", "x0": expected, "x1": expected, "y0": 0, "y1": 1, "yref": "paper",
                     "line": {"color": GREY, "width": 2}}],
        ),
    )  # fmt: skip


def _bars(
    name: str, swings: Sequence[Swing], ends: list[Decimal], values: list[str], expected: float, color: str
) -> Trace:
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "base": expected,
        "y": [_wrapped(swing.label) for swing in swings],
        "x": [round(_float(end) - expected, 2) for end in ends],
        "customdata": [[escaped(value), f"{end:,.2f}"] for value, end in zip(values, ends, strict=True)],
        "marker": {"color": color},
        "hovertemplate": "%{y}: %{customdata[0]} gives %{customdata[1]} USD<extra></extra>",
    }


def _wrapped(label: str) -> str:
    """On two lines where it is long: the job, and what of it."""
    first, colon, rest = label.rpartition(": ")
    first = first if len(first) <= 26 else first[:25] + "…"
    return escaped(first) + ":<br>" + escaped(rest) if colon else escaped(label)


def _ends(swing: Swing) -> tuple[Decimal, Decimal]:
    return swing.usd_at_low, swing.usd_at_high


def _usd(way: Way) -> float:
    return 0.0 if way.usd is None else _float(way.usd.value)


def _hours(way: Way) -> float:
    return 0.0 if way.hours is None else _float(way.hours.value)


def _float(number: Decimal) -> float:
    return float(number)
