"""Pictures with plotly, each a page that needs no network. The same data give the same page."""

from __future__ import annotations

from typing import Any, NamedTuple

from vramplan.errors import UnsupportedError


class HeatMap(NamedTuple):
    """`values` (percent of the card; None = no cell) and `notes` by row (y), then column (x)."""

    title: str
    x: tuple[str, ...]
    y: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    notes: tuple[tuple[str, ...], ...]
    x_title: str = "seq-len"
    y_title: str = "batch"


_COLORS = ((0.0, "#e9f2e4"), (0.75, "#5f9e6e"), (0.75, "#e6b85c"), (1.0, "#b8433a"))
"""Green up to the card's size, which lies at three quarters of the scale of 0 to 133 %."""
_SCALE_END = 400 / 3


def _plotly() -> Any:
    try:
        import plotly.graph_objects as graph
    except ImportError as error:
        raise UnsupportedError("--html needs plotly: pip install 'vramplan[reports]'") from error
    return graph


def write_heat_maps(path: str, title: str, maps: list[HeatMap]) -> None:
    """One under the other."""
    graph = _plotly()
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=len(maps), cols=1, subplot_titles=[heat.title for heat in maps])
    for row, heat in enumerate(maps, 1):
        figure.add_trace(_trace(graph, heat, first=row == 1), row=row, col=1)
        figure.update_xaxes(title_text=heat.x_title, type="category", row=row, col=1)
        figure.update_yaxes(title_text=heat.y_title, type="category", row=row, col=1)
    figure.update_layout(title=title, height=420 * len(maps) + 120, template="plotly_white")
    write_figure(path, figure)


def _trace(graph: Any, heat: HeatMap, *, first: bool) -> Any:
    return graph.Heatmap(
        x=heat.x, y=heat.y, z=heat.values, customdata=heat.notes, zmin=0, zmax=_SCALE_END, colorscale=_COLORS,
        texttemplate="%{z:.0f}", xgap=2, ygap=2, showscale=first,
        hovertemplate=f"{heat.x_title} %{{x}}, {heat.y_title} %{{y}}: %{{z:.1f}} %, %{{customdata}}<extra></extra>",
        colorbar={"title": "% of card"},
    )  # fmt: skip


def write_figure(path: str, figure: Any) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(figure.to_html(include_plotlyjs=True, div_id="picture"))


class Dot(NamedTuple):
    """A plan in the field of time and money, with its ranges; `kind` names the best in some sense."""

    hours: float
    usd: float
    hours_range: tuple[float, float]
    usd_range: tuple[float, float]
    kind: str
    label: str


def write_front(path: str, title: str, dots: list[Dot]) -> None:
    """Time across, money up, both logarithmic; whiskers are the ranges."""
    graph = _plotly()
    figure = graph.Figure()
    figure.add_trace(
        graph.Scatter(
            x=[dot.hours for dot in dots], y=[dot.usd for dot in dots], mode="lines+markers+text",
            text=[dot.kind for dot in dots], textposition="top center", customdata=[dot.label for dot in dots],
            line={"shape": "vh", "width": 1}, hovertemplate="%{customdata}<br>%{x:.2f} h, $%{y:,.2f}<extra></extra>",
            error_x=_whiskers([(dot.hours, dot.hours_range) for dot in dots]),
            error_y=_whiskers([(dot.usd, dot.usd_range) for dot in dots]),
        )
    )  # fmt: skip
    figure.update_layout(title=title, template="plotly_white", height=640)
    figure.update_xaxes(title_text="hours", type="log", **_ticks())
    figure.update_yaxes(title_text="USD", type="log", **_ticks())
    write_figure(path, figure)


def _ticks() -> dict[str, Any]:
    """1, 2, 5, 10, 20 …, written out."""
    values = [float(f"{digit}e{power}") for power in range(-4, 10) for digit in (1, 2, 5)]
    return {"tickvals": values, "ticktext": [f"{value:,g}" if value < 1e6 else f"{value:g}" for value in values]}


def _whiskers(values: list[tuple[float, tuple[float, float]]]) -> dict[str, Any]:
    return {
        "type": "data", "symmetric": False, "thickness": 0.6, "width": 0,
        "array": [high - value for value, (_, high) in values],
        "arrayminus": [value - low for value, (low, _) in values],
    }  # fmt: skip
