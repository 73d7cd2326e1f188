"""The scenario that `vramplan report init` writes."""

from __future__ import annotations

from importlib.resources import files


def example() -> str:
    """Commented TOML (`example.toml`)."""
    return (files(__package__) / "example.toml").read_text(encoding="utf-8")
