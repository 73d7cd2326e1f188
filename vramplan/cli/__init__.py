"""The command line. A command parses, calls one library function and hands the result to a renderer."""

from __future__ import annotations


def main() -> None:
    """Entry point of the `vramplan` script."""
    from .app import app

    app()
