"""A sheet as text for a terminal or a pipe.

Written by hand because it runs at every start: rich would take three times as long as Python itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from .sheet import Bars, Block, Cell, Column, Drawing, Entries, Flow, Heading, Items, Lines, Sheet, Table, Tone

_CODES: dict[Tone, str] = {
    "plain": "",
    "good": "\x1b[1;32m",
    "warn": "\x1b[1;33m",
    "bad": "\x1b[1;31m",
    "dim": "\x1b[2m",
    "strong": "\x1b[1m",
}
_RESET = "\x1b[0m"
_GAP = "  "
_NARROWEST = 8
"""Columns below which a cell is not wrapped further: the table gets wider than the terminal instead."""


Line = tuple[Cell, ...]


def render(sheet: Sheet, *, width: int, color: bool) -> str:
    """Text of at most `width` columns where words allow, with escape codes only where `color`."""
    lines: list[str] = []
    for position, block in enumerate(sheet):
        # A heading belongs to what follows it.
        if position and not isinstance(sheet[position - 1], Heading):
            lines.append("")
        lines += (_painted(line, color) for line in _block(block, width))
    return "".join(f"{line}\n" for line in lines)


def _painted(line: Line, color: bool) -> str:
    line = tuple(Cell(_shown(text), tone) for text, tone in line)
    if not color:
        return "".join(text for text, _ in line).rstrip()
    return "".join(f"{_CODES[tone]}{text}{_RESET}" if _CODES[tone] and text.strip() else text for text, tone in line)


def _shown(text: str) -> str:
    """Names from files are untrusted: a terminal would obey their escape codes."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def _block(block: Block, width: int) -> Iterator[Line]:
    if isinstance(block, Heading):
        return ((Cell(text, "strong"),) for text in _wrapped(block.text, width))
    if isinstance(block, Lines):
        return ((Cell(text, cell.tone),) for cell in block.lines for text in _wrapped(cell.text, width))
    if isinstance(block, Flow):
        return ((Cell(text, "dim"),) for text in _filled(block.parts, " · ", width))
    if isinstance(block, Table):
        return _table(block, width)
    if isinstance(block, Drawing):
        return ((Cell(line),) for line in block.lines)
    if isinstance(block, Bars):
        return _bars(block, width)
    if isinstance(block, Entries):
        return _ledger(block, width)
    return _items(block, width)


def _table(table: Table, width: int) -> Iterator[Line]:
    """Columns two spaces apart, without lines: alignment is enough."""
    titles = tuple(Cell(column.title, "strong") for column in table.columns)
    rows = (titles, *table.rows) if any(title.text for title in titles) else table.rows
    widths = _column_widths(table.columns, rows, width)
    for row in rows:
        cells = [_wrapped(cell.text, w) for cell, w in zip(row, widths, strict=False)]
        for depth in range(max(map(len, cells), default=1)):
            line: list[Cell] = []
            for column, cell, texts, w in zip(table.columns, row, cells, widths, strict=False):
                text = texts[depth] if depth < len(texts) else ""
                line += (Cell(text.rjust(w) if column.align == "right" else text.ljust(w), cell.tone), Cell(_GAP))
            yield tuple(line[:-1])


def _column_widths(columns: tuple[Column, ...], rows: tuple[tuple[Cell, ...], ...], width: int) -> list[int]:
    """Natural widths; where they exceed `width`, the widest column that may wrap gives way first."""
    widths = [0] * len(columns)
    for row in rows:
        for position, cell in enumerate(row):
            widths[position] = max(widths[position], *map(len, cell.text.split("\n")))
    excess = sum(widths) + len(_GAP) * (len(columns) - 1) - width
    flexible = [position for position, column in enumerate(columns) if not column.whole]
    while excess > 0 and flexible:
        widest = max(flexible, key=lambda position: widths[position])
        if widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
        excess -= 1
    return widths


def _bars(chart: Bars, width: int) -> Iterator[Line]:
    label = max(len(bar.label) for bar in chart.bars)
    value = max(len(bar.value) for bar in chart.bars)
    mark = max(len(bar.mark) for bar in chart.bars)
    longest = max(width - label - value - mark - 2 * len(_GAP) - 1, 10)
    for bar in chart.bars:
        drawn = "█" * max(round(bar.share * longest), 1 if bar.share else 0)
        yield (Cell(f"{bar.label:<{label}}{_GAP}{bar.value:>{value}}{_GAP}{drawn} "), Cell(bar.mark, "strong"))


def _ledger(ledger: Entries, width: int) -> Iterator[Line]:
    """Amounts in a column of their own; the aside at the right edge of the name's line, or below it."""
    amount = max(len(entry.amount) for entry in ledger.entries)
    room = width - amount - len(_GAP)
    margin = Cell(" " * amount + _GAP)
    for entry in ledger.entries:
        gap = room - len(entry.name) - len(entry.aside)
        beside = (Cell(" " * gap), Cell(entry.aside, "dim")) if gap >= len(_GAP) else ()
        yield (Cell(f"{entry.amount:>{amount}}{_GAP}", "strong"), Cell(entry.name, "strong"), *beside)
        if not beside:
            yield (margin, Cell(entry.aside, "dim"))
        for text in _wrapped(entry.body, room):
            yield (margin, Cell(text))


def _items(items: Items, width: int) -> Iterator[Line]:
    for item in items.items:
        for position, text in enumerate(_wrapped(item, width - 2)):
            yield (Cell("· " if position == 0 else "  "), Cell(text))


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of `text`; a word longer than `width` is cut, so that nothing is lost."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        if len(paragraph) <= width:
            lines.append(paragraph)
            continue
        words = (word[i : i + width] for word in paragraph.split(" ") for i in range(0, max(len(word), 1), width))
        lines += _filled(words, " ", width)
    return lines


def _filled(parts: Iterator[str] | tuple[str, ...], between: str, width: int) -> list[str]:
    """As many parts to a line as there is room for."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(between) + len(part) <= width:
            lines[-1] += between + part
        else:
            lines.append(part)
    return lines
