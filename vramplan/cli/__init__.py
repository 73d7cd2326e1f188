"""The command line. A command parses, calls one library function and hands the result to a renderer."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Entry point of the `vramplan` script."""
    gc.set_threshold(100_000)  # imports make many objects and no garbage: 5 % of the time of a short command
    if sys.stdout is None:  # closed by the shell: `>&-`
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    try:
        from .app import app

        app()
    except KeyboardInterrupt:
        sys.exit(130)  # what a shell reports for Ctrl-C
