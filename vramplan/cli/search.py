"""Free-text search over the catalogue's lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from ..errors import UnknownNameError

Row = TypeVar("Row")


def matching(
    kind: str, words: tuple[str, ...], rows: Iterable[Row], names: Callable[[Row], tuple[str, ...]]
) -> list[Row]:
    """Rows whose names hold every word, in any case. Nothing found is an error with the nearest names."""
    listed = list(rows)
    wanted = [word.casefold() for word in words]
    found = [row for row in listed if all(word in " ".join(names(row)).casefold() for word in wanted)]
    if not found:
        known = {name for row in listed for name in names(row)}
        raise UnknownNameError(kind, " ".join(words), known, hint="without words, all are listed")
    return found
