"""Files of a budget: a page, Markdown, JSON, CSV, a workbook, plain text."""

from __future__ import annotations

from vramplan.budget.result import Budget

from ..page.files import Writer, as_json, as_markdown, as_text, texts
from .document import document
from .summary import sheet


def _html(budget: Budget) -> str:
    from .html import render

    return render(budget)


def _csv(budget: Budget) -> str:
    from .tables import render_csv

    return render_csv(budget)


def _xlsx(path: str, budget: Budget) -> None:
    from .tables import write_xlsx

    write_xlsx(path, budget)


WRITERS: dict[str, Writer[Budget]] = {
    ".html": texts(_html),
    ".md": texts(as_markdown(sheet)),
    ".json": texts(as_json(document)),
    ".csv": texts(_csv),
    ".xlsx": _xlsx,
    ".txt": texts(as_text(sheet)),
}
