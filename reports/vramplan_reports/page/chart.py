"""Charts as plain data for plotly.js, each with words and a table for those who do not see it.

Colours hold 3 : 1 against the page in the light and in the dark (WCAG 2.2, 1.4.11); a style sheet paints what is text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .markup import Html, el, text

Trace = dict[str, Any]

BLUE, ORANGE, GREEN, PURPLE = "#3f7fd0", "#c96a1b", "#2f9460", "#9467cf"
RED, TEAL, GREY, GOLD, PINK = "#d0505a", "#1d8fa0", "#7f8894", "#a3811a", "#c95a9c"
COLORS = (BLUE, ORANGE, GREEN, PURPLE, RED, TEAL, GREY, GOLD, PINK)
LIGHT, DARK = ("#ffffff", "#f5f6f8"), ("#12161c", "#1b212a")
"""Backgrounds of the page and of its panels (page.css)."""
_GRID = "rgba(127,136,148,0.28)"


class Chart(NamedTuple):
    """A chart of fixed height: nothing on the page moves when it is drawn."""

    id: str
    title: str
    alt: str
    """What it shows, in words."""
    height: int
    data: tuple[Trace, ...]
    layout: Mapping[str, Any]


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """An axis that stays where it is: fingers scroll the page, not the chart."""
    fixed = {"fixedrange": True, "gridcolor": _GRID, "zerolinecolor": _GRID, "linecolor": _GRID, "automargin": True}
    return fixed | ({"title": {"text": escaped(title), "standoff": 8, "font": {"size": 13}}} if title else {}) | more


def layout(height: int, **more: Any) -> dict[str, Any]:
    shared = {
        "height": height,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": GREY},
        "margin": {"l": 8, "r": 16, "t": 8, "b": 40},
        "hovermode": "closest",
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top", "traceorder": "normal"},
        "xaxis": axis(),
        "yaxis": axis(),
    }
    return shared | more


ABOVE = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"}
"""A legend over the chart."""


def escaped(words: str) -> str:
    """Text for a place where plotly would read markup."""
    return str(text(words)).replace("&#x27;", "'").replace("&quot;", '"')


def figure(chart: Chart, data: Html | str = "", after: Html | str = "") -> Html:
    """The chart's place on the page; `data` is the table behind it."""
    return el(
        "figure",
        el("figcaption", chart.title),
        el(
            "div", el("noscript", "This chart needs JavaScript; the table below has its figures."), id=chart.id,
            class_="chart", role="img", aria_label=chart.alt, style=f"height:{chart.height}px",
        ),
        after,
        el("details", el("summary", f"Figures: {chart.title}"), data, class_="data") if data else "",
    )  # fmt: skip


def chart_data(charts: list[Chart]) -> dict[str, Any]:
    """What the page's script draws."""
    return {chart.id: {"data": list(chart.data), "layout": dict(chart.layout)} for chart in charts}
