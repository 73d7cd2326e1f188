"""A progress bar for people who wait: on stderr, at a terminal, after two seconds."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Any

import click

PATIENCE_S = 2.0


class Progress:
    """Called with the bytes of a file that have been read so far."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._since_s = time.monotonic()
        self._bar: Any = None
        self._silent = not sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, trace)

    def __call__(self, read_bytes: int) -> None:
        if self._silent or (self._bar is None and time.monotonic() - self._since_s < PATIENCE_S):
            return
        if self._bar is None:
            size = os.path.getsize(self._path)
            self._bar = click.progressbar(length=size, label=os.path.basename(self._path), file=sys.stderr)
            self._bar.__enter__()
        self._bar.update(max(read_bytes - self._bar.pos, 0))
