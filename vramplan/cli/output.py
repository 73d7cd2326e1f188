"""The last step of a command: a result becomes text in the format asked for, and the text reaches the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeVar

import click

if TYPE_CHECKING:
    from vramplan_reports.sheet import Sheet

Subject = TypeVar("Subject", contravariant=True)

PIPE_WIDTH = 80
WIDEST = 100
"""Columns; wider lines are harder to read, not easier."""


class Report(Protocol[Subject]):
    """What a module of `vramplan_reports` offers for one kind of result."""

    def sheet(self, subject: Subject, /) -> Sheet:
        """The result as headings, tables and notes, for people."""

    def document(self, subject: Subject, /) -> dict[str, Any]:
        """The result as JSON-ready data (contract.md)."""


def show(report: Report[Subject], subject: Subject, output_format: str) -> None:
    """Print `subject` as a table, Markdown or JSON. Each renderer is imported only when its format is asked for."""
    if output_format == "json":
        import json

        text = json.dumps(report.document(subject), indent=2, ensure_ascii=False) + "\n"
    elif output_format == "markdown":
        from vramplan_reports import markdown

        text = markdown.render(report.sheet(subject))
    else:
        from vramplan_reports import terminal

        text = terminal.render(report.sheet(subject), width=_width(), color=_color())
    _write(text)


def write_files(folder: str, texts: Mapping[str, str]) -> None:
    """File name -> text, into a folder that is made where there is none."""
    os.makedirs(folder, exist_ok=True)
    for name, text in texts.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8", newline="\n") as file:
            file.write(text)


def _width() -> int:
    if not sys.stdout.isatty():
        return PIPE_WIDTH
    return min(os.get_terminal_size(sys.stdout.fileno()).columns or PIPE_WIDTH, WIDEST)


def _color() -> bool:
    """Colour for people at a capable terminal who have not declined it (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _write(text: str) -> None:
    encoding = sys.stdout.encoding or "ascii"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        from vramplan_reports.plain import in_ascii

        text = in_ascii(text)
    try:
        click.echo(text, nl=False)
    except BrokenPipeError:
        _close_quietly()


def write_bytes(fill: Callable[[IO[bytes]], object]) -> None:
    """Let `fill` write to the standard output."""
    try:
        fill(sys.stdout.buffer)
        sys.stdout.flush()
    except BrokenPipeError:
        _close_quietly()


def _close_quietly() -> None:
    # The reader has seen enough (`| head`); spare it the interpreter's complaint about the unwritten rest.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
