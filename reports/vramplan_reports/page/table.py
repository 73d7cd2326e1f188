"""Tables of a page: headed, captioned, and scrolled inside their own frame where they are wider than the screen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .markup import Html, el, join


class Col(NamedTuple):
    """A column; numbers stand at the right."""

    title: str
    number: bool = False
    long: bool = False
    """Sentences, which wrap; short cells do not."""
    wrap: bool = False
    """A few words, which may wrap."""


def table(
    caption: str,
    columns: Sequence[Col],
    rows: Iterable[Sequence[object]],
    *,
    foot: Iterable[Sequence[object]] = (),
    hidden_caption: bool = False,
) -> Html:
    """The first cell of a row is its header."""
    head = el("tr", *(el("th", col.title, scope="col", class_=_class(col)) for col in columns))
    body = join(*(_row(columns, row) for row in rows))
    last = join(*(_row(columns, row) for row in foot))
    inner = el(
        "table",
        el("caption", caption, class_="unseen" if hidden_caption else None),
        el("thead", head),
        el("tbody", body),
        el("tfoot", last) if last else "",
    )
    return el("div", inner, class_="scroll", role="region", aria_label=caption, tabindex="0")


def _row(columns: Sequence[Col], row: Sequence[object]) -> Html:
    first, *rest = zip(columns, row, strict=True)
    return el(
        "tr",
        el("th", first[1], scope="row", class_=_class(first[0])),
        *(el("td", cell, class_=_class(col)) for col, cell in rest),
    )


def _class(col: Col) -> str | None:
    return "number" if col.number else "long" if col.long else "wrap" if col.wrap else None
