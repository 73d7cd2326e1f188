"""Files that a command writes: whole or not at all, and never over another without `--force`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import IO, Any

import click

from ..errors import VramplanError
from ..files import refuse_unwritable, write_whole

force_option = click.option("--force", is_flag=True, help="Write over a file that exists.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a file is to go; no path = nowhere."""

    path: str | None
    force: bool

    def write(self, write: Callable[[str], None]) -> None:
        """Let `write` fill the file at a path beside the target, which then takes its place."""
        if self.path is not None:
            write_whole(self.path, write, force=self.force)

    def write_binary(self, write: Callable[[IO[bytes]], object]) -> None:
        """The same, through an open file."""

        def fill(path: str) -> None:
            with open(path, "wb") as file:
                write(file)

        self.write(fill)

    def must_be_none(self, why: str) -> None:
        if self.path is not None:
            raise VramplanError(why)


def target_options(**files: tuple[str, str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add options for files to write (parameter = flags, help) and `--force`; the command gets a `Target` for each,
    checked before any work is done."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def with_targets(*, force: bool, **rest: Any) -> Any:
            for name in files:
                if rest[name] is not None:
                    refuse_unwritable(rest[name], force=force)
                rest[name] = Target(path=rest[name], force=force)
            return command(**rest)

        decorated = force_option(with_targets)
        for name, (flags, help) in reversed(files.items()):
            decorated = click.option(*flags.split(), name, metavar="FILE", help=help)(decorated)
        return decorated

    return decorate
