"""Files that a command writes: whole or not at all, and never over another without `--force`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import IO, Any

import click

from ..errors import VramplanError


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

        decorated = click.option("--force", is_flag=True, help="Write over a file that exists.")(with_targets)
        for name, (flags, help) in reversed(files.items()):
            decorated = click.option(*flags.split(), name, metavar="FILE", help=help)(decorated)
        return decorated

    return decorate


def refuse_unwritable(path: str, *, force: bool) -> None:
    """Say at once what would stop the writing later."""
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path):
        raise VramplanError(f"{path} is a folder; name a file")
    if os.path.lexists(path) and not os.path.isfile(path):
        raise VramplanError(f"{path} is no regular file; name another, or write to the standard output")
    if os.path.lexists(path) and not force:
        raise VramplanError(f"{path} exists; --force writes over it")
    if not os.path.isdir(folder):
        raise VramplanError(f"{path}: no folder {folder!r}")


def write_whole(path: str, write: Callable[[str], None], *, force: bool) -> None:
    """Write beside `path` and rename: a failure leaves what was there before, and no part of the new file.

    Raises VramplanError in one line: no room, no right to write there, a file that came to be there meanwhile.
    """
    folder, name = os.path.split(os.path.realpath(path))
    part = os.path.join(folder, f".{name}.{os.getpid()}.part")
    try:
        write(part)
        refuse_unwritable(path, force=force)
        os.replace(part, os.path.realpath(path))
    except OSError as error:
        raise VramplanError(f"{path}: {error.strerror or error}") from None
    finally:
        if os.path.lexists(part):
            os.unlink(part)
