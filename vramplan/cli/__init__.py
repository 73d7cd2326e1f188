"""The command line. A command parses, calls one library function and hands the result to a renderer."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the `vramplan` script."""
    try:
        from .app import app

        app()
    except KeyboardInterrupt:
        sys.exit(130)  # what a shell reports for Ctrl-C
