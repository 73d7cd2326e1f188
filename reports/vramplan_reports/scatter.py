"""Predicted against measured, as a small SVG: the same rows give the same file, byte by byte; no library is needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from html import escape

from vramplan.accuracy import Accuracy, Row
from vramplan.accuracy.result import TIERS, Tier
from vramplan.units import GIB

SIZE, MARGIN, KEY = 460, 56, 190
"""Pixels: of the square, of the room for its axes, of the key beside it."""
COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#9498a0")
"""Observable's categorical scheme: told apart by most kinds of colour vision."""
BAND = 0.1
"""Of the measured figure, shaded on both sides of the diagonal."""
STEPS = (1, 2, 5)

_TITLES: dict[Tier, str] = {
    "allocated": "Allocated, GiB",
    "reserved": "Reserved, GiB",
    "device": "Device, GiB",
    "tokens_per_s": "Tokens a second, one GPU",
}


def plots(accuracy: Accuracy) -> dict[str, str]:
    """File name -> SVG, one for each tier that was measured."""
    found = {tier: _points(accuracy, tier) for tier in TIERS}
    return {f"{tier.replace('_', '-')}.svg": plot(_TITLES[tier], points) for tier, points in found.items() if points}


def _points(accuracy: Accuracy, tier: Tier) -> dict[str, list[tuple[float, float]]]:
    """Stack -> (measured, predicted)."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for row in accuracy.rows:
        pair = _pair(row, tier)
        if pair is not None:
            groups.setdefault(row.stack, []).append(pair)
    return {stack: groups[stack] for stack in sorted(groups)}


def _pair(row: Row, tier: Tier) -> tuple[float, float] | None:
    error = row.error(tier)
    if error is None or row.measured is None:
        return None
    if tier == "tokens_per_s":
        measured = row.measured.tokens_per_s_per_gpu or 0.0
    else:
        measured = getattr(row.measured, f"{tier}_bytes") / GIB
    return (measured, measured * (1 + error)) if measured > 0 else None


def plot(title: str, groups: Mapping[str, list[tuple[float, float]]]) -> str:
    """Both axes logarithmic and alike; a dot a run."""
    values = [value for points in groups.values() for pair in points for value in pair]
    low, high = min(values) / 1.2, max(values) * 1.2

    def across(value: float) -> float:
        return MARGIN + SIZE * (math.log(value / low) / math.log(high / low))

    def up(value: float) -> float:
        return 16 + SIZE - SIZE * (math.log(value / low) / math.log(high / low))

    width, height = MARGIN + SIZE + KEY, 16 + SIZE + MARGIN
    said = title[0].lower() + title[1:]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}: predicted against measured</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<clipPath id="inside"><rect x="{MARGIN}" y="16" width="{SIZE}" height="{SIZE}"/></clipPath>',
        *_frame(said, low, high, across, up),
    ]
    for number, (name, points) in enumerate(groups.items()):
        colour = COLOURS[number % len(COLOURS)]
        dots = "".join(f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3.5"/>' for x, y in sorted(points))
        lines.append(f'<g fill="{colour}" fill-opacity="0.65">{dots}</g>')
        top = 30 + 18 * number
        lines.append(f'<circle cx="{MARGIN + SIZE + 16}" cy="{top - 4}" r="4" fill="{colour}"/>')
        lines.append(f'<text x="{MARGIN + SIZE + 26}" y="{top}">{escape(name)} ({len(points)})</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def _frame(
    title: str, low: float, high: float, across: Callable[[float], float], up: Callable[[float], float]
) -> list[str]:
    """Axes, grid, the diagonal and its band."""
    corners = ((low, low * (1 - BAND)), (high, high * (1 - BAND)), (high, high * (1 + BAND)), (low, low * (1 + BAND)))
    band = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in corners)
    lines = []
    for tick in _ticks(low, high):
        x, y = across(tick), up(tick)
        lines.append(f'<path d="M{x:.1f} 16V{16 + SIZE}M{MARGIN} {y:.1f}H{MARGIN + SIZE}" stroke="#e4e4e4"/>')
        lines.append(f'<text x="{x:.1f}" y="{32 + SIZE}" text-anchor="middle">{tick:,g}</text>')
        lines.append(f'<text x="{MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:,g}</text>')
    diagonal = f"M{across(low):.1f} {up(low):.1f}L{across(high):.1f} {up(high):.1f}"
    middle = 16 + SIZE / 2
    return [
        f'<polygon points="{band}" fill="#000" fill-opacity="0.07" clip-path="url(#inside)"/>',
        *lines,
        f'<path d="{diagonal}" stroke="#777" fill="none"/>',
        f'<rect x="{MARGIN}" y="16" width="{SIZE}" height="{SIZE}" fill="none" stroke="#777"/>',
        f'<text x="{MARGIN + SIZE / 2:.0f}" y="{52 + SIZE}" text-anchor="middle">measured: {escape(title)}</text>',
        f'<text transform="translate(14 {middle:.0f}) rotate(-90)" text-anchor="middle">predicted</text>',
    ]


def _ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, ... inside the range; only powers of ten where it is wide."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = STEPS if len(decades) <= 4 else (1,)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    return [tick for tick in ticks if low <= tick <= high]
