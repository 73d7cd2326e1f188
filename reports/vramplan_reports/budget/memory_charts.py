"""Memory in pictures: what takes it, phase by phase, against the card's limit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vramplan.budget.result import JobBudget
from vramplan.estimator.result import Estimate, Memory, PhaseName
from vramplan.units import GIB

from ..figures import gib
from ..page.chart import COLORS, GREY, Chart, Trace, axis, escaped, layout
from ..page.markup import Html, el

PARTS: tuple[str, ...] = ("weights", "adapters", "gradients", "optimizer", "activations and logits", "outside tensors")
_LASTING = ("weights", "adapters", "gradients", "optimizer")
_OUTSIDE = ("context", "allocator")
_COLORS = dict(zip(PARTS, (*COLORS[:5], GREY), strict=True))
_BAR = 34
"""Height of a bar with its gap."""


def parts_of(memory: Memory, phase: PhaseName) -> dict[str, int]:
    """Bytes of each part in a phase. At the peak they add up to the device tier.

    Weights, adapters, gradients and states are those terms that live in the phase; what else the phase's peak of
    allocated bytes holds is activations, logits and workspaces; outside tensors are context and the allocator's cache.
    """
    living = [term for term in memory.terms if phase in term.phases]
    found = {part: sum(term.bytes for term in living if term.group == part) for part in _LASTING}
    peak = next(one.allocated_bytes for one in memory.phases if one.name == phase)
    if phase == memory.binding_phase:
        inside = sum(term.bytes for term in living if term.group not in (*_OUTSIDE, *_LASTING))
    else:
        inside = max(peak - sum(found.values()), 0)
    outside = sum(term.bytes for term in living if term.group in _OUTSIDE)
    return found | {PARTS[4]: inside, PARTS[5]: outside}


def phase_parts(memory: Memory) -> list[dict[str, int]]:
    """`parts_of` every phase."""
    return [parts_of(memory, phase.name) for phase in memory.phases]


def peak_parts(held: Sequence[tuple[JobBudget, Estimate]]) -> list[dict[str, int]]:
    """`parts_of` every job at its peak."""
    return [parts_of(estimate.memory, estimate.memory.binding_phase) for _, estimate in held]


def phases_chart(id: str, job: JobBudget, estimate: Estimate) -> Chart:
    """A bar for each phase of a step; the binding one is marked."""
    assert job.way is not None  # it has an estimate
    memory, gpu = estimate.memory, job.way.gpu
    rows = phase_parts(memory)
    names = [_phase(phase.name, memory) for phase in memory.phases]
    height = 74 + _BAR * len(rows)
    peak = gib(memory.device_bytes)
    return Chart(
        id=id,
        title=f"Memory of {job.plan.name}, phase by phase, GiB",
        alt=f"Stacked bars of memory in {len(rows)} phases of a step. The largest is "
        f"{_said(memory.binding_phase)} with {peak} GiB of the {gib(gpu.capacity_bytes)} GiB of a {gpu.name}.",
        height=height,
        data=_stacked(names, rows),
        layout=_against([gpu.capacity_bytes], [gpu.name], height, rows),
    )


def peaks_chart(id: str, jobs: Sequence[tuple[JobBudget, Estimate]]) -> Chart:
    """A bar for each job at its peak, and the limit of its card."""
    rows = peak_parts(jobs)
    names = [job.plan.name for job, _ in jobs]
    limits = [job.way.gpu.capacity_bytes for job, _ in jobs if job.way]
    height = 70 + _BAR * len(rows)
    limit_marks: Trace = {
        "type": "scatter",
        "mode": "markers",
        "name": "limit of the card",
        "y": _labels(names),
        "x": [limit / GIB for limit in limits],
        "marker": {"symbol": "line-ns-open", "size": 24, "color": GREY, "line": {"width": 3, "color": GREY}},
        "text": [escaped(job.way.gpu.name) for job, _ in jobs if job.way],
        "hovertemplate": "%{text}: %{x:.1f} GiB<extra></extra>",
    }
    tightest = max(
        jobs, key=lambda pair: pair[1].memory.device_bytes / (pair[0].way.gpu.capacity_bytes if pair[0].way else 1)
    )
    assert tightest[0].way is not None
    return Chart(
        id=id,
        title="Memory at the peak of each job, GiB",
        alt=f"Stacked bars of memory for {len(rows)} jobs, each with the limit of its card. The fullest is "
        f"{tightest[0].plan.name}: {gib(tightest[1].memory.device_bytes)} of "
        f"{gib(tightest[0].way.gpu.capacity_bytes)} GiB.",
        height=height,
        data=(*_stacked(names, rows), limit_marks),
        layout=_against([], [], height, rows, widest=max(limits)),
    )


def legend(rows: Iterable[Mapping[str, int]], *, limit: bool = False) -> Html:
    """What the colours are, in words that wrap: plotly's own legend would be cut off on a phone."""
    there = {part for row in rows for part, size in row.items() if size}
    signs = [(part, "swatch", _COLORS[part]) for part in PARTS if part in there]
    signs += [("limit of the card", "swatch limit", GREY)] if limit else []
    return el(
        "p",
        *(el("span", el("span", class_=sign, style=f"background:{color}"), name) for name, sign, color in signs),
        class_="legend",
        aria_hidden="true",
    )


def phase_rows(memory: Memory) -> list[list[object]]:
    """The figures behind `phases_chart`."""
    found: list[list[object]] = []
    for phase in memory.phases:
        parts = parts_of(memory, phase.name)
        found.append(
            [_phase(phase.name, memory), *(gib(parts[part], 2) for part in PARTS), gib(sum(parts.values()), 2)]
        )
    return found


def _stacked(names: Sequence[str], rows: Sequence[Mapping[str, int]]) -> tuple[Trace, ...]:
    return tuple(
        {
            "type": "bar",
            "orientation": "h",
            "name": part,
            "y": _labels(names),
            "x": [round(row[part] / GIB, 4) for row in rows],
            "marker": {"color": _COLORS[part], "line": {"width": 1, "color": "rgba(255,255,255,0.55)"}},
            "hovertemplate": f"%{{y}}: {part} %{{x:.2f}} GiB<extra></extra>",
        }
        for part in PARTS
        if any(row[part] for row in rows)
    )


def _labels(names: Sequence[str]) -> list[str]:
    """Names that plotly keeps apart, short enough for a phone."""
    return [escaped(name if len(name) <= 22 else name[:21] + "…") for name in names]


def _against(
    limits: list[int], names: list[str], height: int, rows: Sequence[Mapping[str, int]], widest: int = 0
) -> dict[str, object]:
    """The layout, with a line for each limit."""
    end = max([*limits, widest, *(sum(row.values()) for row in rows)]) / GIB
    lines = [
        {
            "type": "line", "x0": limit / GIB, "x1": limit / GIB, "y0": 0, "y1": 1, "yref": "paper",
            "line": {"color": GREY, "width": 3, "dash": "dot"},
        }
        for limit in limits
    ]  # fmt: skip
    marks = [
        {
            "x": limit / GIB, "y": 1, "yref": "paper", "yanchor": "bottom", "xanchor": "right", "showarrow": False,
            "text": f"{escaped(name)}: {gib(limit)}",
        }
        for limit, name in zip(limits, names, strict=True)
    ]  # fmt: skip
    return layout(
        height,
        barmode="stack",
        bargap=0.3,
        shapes=lines,
        annotations=marks,
        margin={"l": 8, "r": 16, "t": 26 if limits else 8, "b": 40},
        xaxis=axis(range=[0, end * 1.03]),
        yaxis=axis(autorange="reversed", type="category", ticksuffix=" "),
        showlegend=False,
    )


def _phase(name: str, memory: Memory) -> str:
    return f"{_said(name)} ◂ peak" if name == memory.binding_phase else _said(name)


def _said(name: str) -> str:
    return name.replace("_", " ")
