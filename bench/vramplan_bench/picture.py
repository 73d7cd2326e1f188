"""The last step of a dry run as a stacked picture: what is held, by kind, event after event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vramplan.errors import UnsupportedError, VramplanError
from vramplan.units import GIB

from .dry_report import GROUPS
from .follow import STEPS, FollowedRun
from .timeline import STEP_PHASES, kind_of

MOST_POINTS = 3000
_COLORS = {
    "weights": "#4c566a", "adapters": "#5e81ac", "optimizer": "#88c0d0", "gradients": "#a3be8c",
    "activations": "#ebcb8b", "logits": "#bf616a", "workspace": "#b48ead",
}  # fmt: skip


NAMED_SHARE = 0.04
"""Share of the picture that a phase must fill to be named in it."""


def series(run: FollowedRun) -> tuple[list[int], dict[str, list[int]], list[tuple[int, str]]]:
    """Positions in the stream of the last step, bytes held at each by group, and where phases begin."""
    held = dict.fromkeys(GROUPS, 0)
    marks = [m for m in run.tracker.marks if m.step == STEPS]
    first, last = marks[0].start, len(run.tracker.events)
    stride = max(1, (last - first) // MOST_POINTS)
    positions: list[int] = []
    values: dict[str, list[int]] = {group: [] for group in GROUPS}
    for position, event in enumerate(run.tracker.events):
        block = run.tracker.blocks[abs(event) - 1]
        group = run.roles.get(block.index) or kind_of(block, run.vocabulary)
        held[group] += block.bytes if event > 0 else -block.bytes
        if position >= first and (position - first) % stride == 0:
            positions.append(position - first)
            for name in GROUPS:
                values[name].append(held[name])
    phases: list[tuple[int, str]] = []
    for mark in marks:
        if mark.phase in STEP_PHASES and (not phases or phases[-1][1] != mark.phase):
            phases.append((mark.start - first, mark.phase))
    return positions, values, phases


def write_picture(path: str, title: str, runs: list[tuple[str, FollowedRun]]) -> None:
    """One page with a picture for each run; it needs no network to be read."""
    try:
        import plotly.graph_objects as graph
        from plotly.subplots import make_subplots
    except ImportError as error:
        raise UnsupportedError("--html needs plotly: pip install 'vramplan[bench]'") from error
    figure = make_subplots(rows=len(runs), cols=1, subplot_titles=[name for name, _ in runs])
    for row, (_, run) in enumerate(runs, 1):
        _draw(graph, figure, row, run)
    figure.update_layout(title=title, height=480 * len(runs) + 80, template="plotly_white", hovermode="x unified")
    try:
        Path(path).write_text(figure.to_html(include_plotlyjs=True), encoding="utf-8")
    except OSError as error:
        raise VramplanError(f"{path}: {error.strerror}") from None


def _draw(graph: Any, figure: Any, row: int, run: FollowedRun) -> None:
    positions, values, phases = series(run)
    for group in GROUPS:
        if any(values[group]):
            figure.add_trace(
                graph.Scatter(
                    x=positions, y=[size / GIB for size in values[group]], name=group, legendgroup=group,
                    showlegend=row == 1, stackgroup="held", mode="lines",
                    line={"width": 0.5, "color": _COLORS[group]}, hovertemplate="%{y:.3f} GiB",
                ),
                row=row, col=1,
            )  # fmt: skip
    ends = [*(start for start, _ in phases[1:]), positions[-1]]
    for (start, phase), end in zip(phases, ends, strict=True):
        # names of phases too short for them would lie over each other
        named = phase.replace("_", " ") if end - start > NAMED_SHARE * positions[-1] else ""
        figure.add_vline(x=start, line={"width": 1, "dash": "dot"}, annotation_text=named, row=row, col=1)
    figure.update_yaxes(title_text="GiB allocated", row=row, col=1)
    figure.update_xaxes(title_text="allocations and releases of the step", row=row, col=1)
