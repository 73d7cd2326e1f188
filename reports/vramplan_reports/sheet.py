"""What a report says before it is a terminal's or Markdown's: blocks of plain words, composed once for every format.

Named tuples, not dataclasses: every start of the command line makes these classes, and they take a fifth of the time.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

Tone = Literal["plain", "good", "warn", "bad", "dim", "strong"]
"""Colour belongs to verdicts (good, warn, bad); dim and strong order the rest."""


class Cell(NamedTuple):
    """Words with a tone."""

    text: str
    tone: Tone = "plain"


class Column(NamedTuple):
    """A column of a table; `whole` cells are never wrapped: names that people copy."""

    title: str
    align: Literal["left", "right"] = "left"
    whole: bool = False


class Heading(NamedTuple):
    """Opens a section; the first of a sheet is its title."""

    text: str


class Lines(NamedTuple):
    """Lines of text, wrapped where they are too long."""

    lines: tuple[Cell, ...]


class Flow(NamedTuple):
    """Short parts in a row, wrapped only between them."""

    parts: tuple[str, ...]


class Table(NamedTuple):
    """Rows of cells; an empty row sets groups apart."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


class Bar(NamedTuple):
    """`share` of the longest possible bar, 0 to 1."""

    label: str
    value: str
    share: float
    mark: str = ""


class Bars(NamedTuple):
    """A bar chart on its side."""

    bars: tuple[Bar, ...]


class Entry(NamedTuple):
    """An amount, what it is for, a remark beside it and an explanation below."""

    amount: str
    name: str
    aside: str
    body: str


class Entries(NamedTuple):
    """A ledger; `titles` of amount, name, aside and body, where a format shows them as columns."""

    titles: tuple[str, str, str, str]
    entries: tuple[Entry, ...]


class Items(NamedTuple):
    """A list of remarks."""

    items: tuple[str, ...]


class Drawing(NamedTuple):
    """Lines of characters that make a picture: never wrapped."""

    lines: tuple[str, ...]


Block: TypeAlias = Heading | Lines | Flow | Table | Bars | Entries | Items | Drawing
Sheet: TypeAlias = tuple[Block, ...]
