"""Files of a measured report: a page, Markdown, JSON, plain text."""

from __future__ import annotations

from vramplan.budget.measured import Measured

from ..page.files import Writer, as_json, as_markdown, as_text, texts
from .summary import document, sheet


def _html(found: Measured) -> str:
    from .html import render

    return render(found)


WRITERS: dict[str, Writer[Measured]] = {
    ".html": texts(_html),
    ".md": texts(as_markdown(sheet)),
    ".json": texts(as_json(document)),
    ".txt": texts(as_text(sheet)),
}
