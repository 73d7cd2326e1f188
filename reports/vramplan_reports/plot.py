"""Points on two logarithmic axes, drawn with characters."""

from __future__ import annotations

from math import log
from typing import NamedTuple

WIDTH, HEIGHT = 60, 12
"""Characters of the field."""


class Point(NamedTuple):
    """A place with its mark; later points lie over earlier ones."""

    x: float
    y: float
    mark: str


def plot(points: list[Point], x_title: str, y_title: str) -> tuple[str, ...]:
    """A field with the points in it, and the ends of both axes."""
    left, right = _ends([point.x for point in points])
    low, high = _ends([point.y for point in points])
    field = [[" "] * WIDTH for _ in range(HEIGHT)]
    for point in points:
        column = round((WIDTH - 1) * _place(point.x, left, right))
        row = round((HEIGHT - 1) * _place(point.y, low, high))
        field[HEIGHT - 1 - row][column] = point.mark
    ends = {0: f"{high:,.2f}", HEIGHT - 1: f"{low:,.2f}"}
    margin = max(map(len, ends.values()))
    lines = [y_title]
    lines += [f"{ends.get(row, ''):>{margin}} |{''.join(cells)}".rstrip() for row, cells in enumerate(field)]
    lines.append(" " * margin + " +" + "-" * WIDTH)
    first, last = f"{left:,.2f}", f"{right:,.2f}"
    middle = x_title.center(WIDTH - len(first) - len(last))
    return (*lines, " " * (margin + 2) + first + middle + last)


def _ends(values: list[float]) -> tuple[float, float]:
    return max(min(values), 1e-9), max(*values, 1e-9)


def _place(value: float, low: float, high: float) -> float:
    """0 at the low end, 1 at the high one."""
    return log(max(value, low) / low) / log(high / low) if high > low else 0.5
