"""Files of a report, each by its suffix. A writer fills a path; whoever calls it renames the whole file into place."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from vramplan.errors import UnknownNameError

from ..sheet import Sheet

TEXT_WIDTH = 100

Subject = TypeVar("Subject")
Writer = Callable[[str, Subject], None]


def writer_for(path: str, writers: Mapping[str, Writer[Subject]]) -> Writer[Subject]:
    """The writer of a file name's suffix. Raises UnknownNameError."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in writers:
        known = ", ".join(writers)
        raise UnknownNameError("kind of report", suffix or path, writers, hint=f"the name ends in one of {known}")
    return writers[suffix]


def texts(render: Callable[[Subject], str]) -> Writer[Subject]:
    """A writer from a renderer; line ends stay as they were rendered."""

    def write(path: str, subject: Subject) -> None:
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(render(subject))

    return write


def as_json(document: Callable[[Subject], dict[str, Any]]) -> Callable[[Subject], str]:
    return lambda subject: json.dumps(document(subject), indent=2, ensure_ascii=False) + "\n"


def as_markdown(sheet: Callable[[Subject], Sheet]) -> Callable[[Subject], str]:
    def render(subject: Subject) -> str:
        from .. import markdown

        return markdown.render(sheet(subject))

    return render


def as_text(sheet: Callable[[Subject], Sheet]) -> Callable[[Subject], str]:
    def render(subject: Subject) -> str:
        from .. import terminal

        return terminal.render(sheet(subject), width=TEXT_WIDTH, color=False)

    return render
