"""Files of a budget: a page, Markdown, JSON, CSV, a workbook, plain text."""

from __future__ import annotations

from vramplan.budget.result import Budget

from ..page.files import Writer, as_json, texts
from .document import document
from .summary import sheet

TEXT_WIDTH = 100


def _html(budget: Budget) -> str:
    from .html import render

    return render(budget)


def _markdown(budget: Budget) -> str:
    from .. import markdown

    return markdown.render(sheet(budget))


def _text(budget: Budget) -> str:
    from .. import terminal

    return terminal.render(sheet(budget), width=TEXT_WIDTH, color=False)


def _csv(budget: Budget) -> str:
    from .tables import render_csv

    return render_csv(budget)


def _xlsx(path: str, budget: Budget) -> None:
    from .tables import write_xlsx

    write_xlsx(path, budget)


WRITERS: dict[str, Writer[Budget]] = {
    ".html": texts(_html),
    ".md": texts(_markdown),
    ".json": texts(as_json(document)),
    ".csv": texts(_csv),
    ".xlsx": _xlsx,
    ".txt": texts(_text),
}
