"""A sheet as GitHub-flavoured Markdown."""

from __future__ import annotations

from .sheet import Bars, Block, Cell, Column, Drawing, Entries, Flow, Heading, Items, Lines, Sheet, Table

_BAR_LENGTH = 24


def render(sheet: Sheet) -> str:
    """Blocks apart by blank lines; the first heading is the title."""
    titled = False
    parts: list[str] = []
    for block in sheet:
        if isinstance(block, Heading):
            parts.append(f"{'##' if titled else '#'} {_escaped(block.text)}")
            titled = True
        else:
            parts.append(_block(block))
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Lines):
        # Two spaces at the end of a line keep the line break.
        return "  \n".join(_cell(line) for line in block.lines)
    if isinstance(block, Flow):
        return " · ".join(map(_escaped, block.parts))
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Entries):
        return _table(_ledger(block))
    if isinstance(block, Bars):
        return _fenced_bars(block)
    if isinstance(block, Drawing):
        return "\n".join(("```text", *block.lines, "```"))
    if isinstance(block, Items):
        return "\n".join(f"- {_escaped(item)}" for item in block.items)
    raise TypeError(f"a heading inside a block: {block}")


def _table(table: Table) -> str:
    header = "| " + " | ".join(_escaped(column.title) for column in table.columns) + " |"
    ruler = "|" + "|".join(" ---: " if column.align == "right" else " --- " for column in table.columns) + "|"
    rows = ("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows if row)
    return "\n".join((header, ruler, *rows))


def _ledger(ledger: Entries) -> Table:
    amount, *others = ledger.titles
    return Table(
        columns=(Column(amount, "right"), *map(Column, others)),
        rows=tuple(tuple(map(Cell, (e.amount, e.name, e.aside, e.body))) for e in ledger.entries),
    )


def _fenced_bars(chart: Bars) -> str:
    label = max(len(bar.label) for bar in chart.bars)
    value = max(len(bar.value) for bar in chart.bars)
    rows = (
        f"{bar.label:<{label}}  {bar.value:>{value}}  {'█' * round(bar.share * _BAR_LENGTH)} {bar.mark}".rstrip()
        for bar in chart.bars
    )
    return "\n".join(("```text", *rows, "```"))


def _cell(cell: Cell) -> str:
    text = _escaped(cell.text).replace("\n", "<br>")
    return f"**{text}**" if text and cell.tone in ("good", "warn", "bad", "strong") else text


def _escaped(text: str) -> str:
    """`text` with the characters that Markdown would take for its own."""
    for character in ("\\", "|", "*", "<", "["):
        text = text.replace(character, "\\" + character)
    return text
