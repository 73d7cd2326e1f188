"""Errors a person can act on. Each says what is wrong, where, and the nearest right thing."""

from __future__ import annotations

from collections.abc import Iterable


class VramplanError(Exception):
    """The question cannot be answered (exit code 2). The message is one or two lines, ready to print."""


class UnknownNameError(VramplanError):
    """A name that nothing in the catalogue bears."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, hint: str = "") -> None:
        near = nearest(name, known)
        message = f"unknown {kind} {shortened(name, 80)!r}"
        if near:
            message += "; nearest: " + ", ".join(near)
        if hint:
            message += f" ({hint})"
        super().__init__(message)
        self.nearest = near


class InvalidValueError(VramplanError):
    """A value outside what an option, a key of a file or a field accepts."""

    def __init__(self, where: str, value: object, expected: str) -> None:
        super().__init__(f"{where}: {shortened(repr(value), 60)} is not {expected}")


class UnsupportedError(VramplanError):
    """A known thing that cannot be described yet; the message names it and what to do instead."""


def shortened(text: str, longest: int) -> str:
    """At most `longest` characters, with dots where some are left out."""
    return text if len(text) <= longest else text[: longest - 3] + "..."


def one_line(said: object, longest: int = 120) -> str:
    """What a file or another library says, as one line of printable characters."""
    words = " ".join(str(said).split())
    return shortened("".join(c if c.isprintable() else "?" for c in words), longest)


def nearest(name: str, known: Iterable[str], limit: int = 5) -> list[str]:
    """Known names most like `name`, best first; exact spelling of the known name is kept."""
    from difflib import get_close_matches  # only a wrong name needs it: 1.5 ms

    folded: dict[str, str] = {}
    for candidate in known:
        folded.setdefault(candidate.lower(), candidate)
    matches = get_close_matches(name.lower()[:100], folded, n=limit, cutoff=0.5)
    return [folded[match] for match in matches]
