"""Files of a measured report: a page, Markdown, JSON, plain text."""

from __future__ import annotations

from vramplan.budget.measured import Measured

from ..page.files import Writer, as_json, texts
from .summary import document, sheet

TEXT_WIDTH = 100


def _html(found: Measured) -> str:
    from .html import render

    return render(found)


def _markdown(found: Measured) -> str:
    from .. import markdown

    return markdown.render(sheet(found))


def _text(found: Measured) -> str:
    from .. import terminal

    return terminal.render(sheet(found), width=TEXT_WIDTH, color=False)


WRITERS: dict[str, Writer[Measured]] = {
    ".html": texts(_html),
    ".md": texts(_markdown),
    ".json": texts(as_json(document)),
    ".txt": texts(_text),
}
