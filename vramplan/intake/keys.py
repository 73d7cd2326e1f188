"""Reading a table of a configuration file key by key. What is asked for is remembered; errors name file, line, key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidValueError
from .document import Document

_FLAGS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_EMPTY = ("", "none", "null", "~")
AUTO = "auto"
"""DeepSpeed's and axolotl's word for "as the trainer has it": read as left open."""


class Keys:
    """One table of a document. A key that is missing or null reads as None."""

    def __init__(self, document: Document, values: Mapping[str, Any] | None = None, at: tuple[str, ...] = ()) -> None:
        self.document = document
        self.values = document.values if values is None else values
        self.at = at
        self.asked: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return self.raw(key) is not None

    def raw(self, key: str) -> Any:
        self.asked.add(key)
        value = self.values.get(key)
        return None if isinstance(value, str) and value.strip().lower() in _EMPTY else value

    def where(self, key: str) -> str:
        return self.document.where(*self.at, key)

    def wrong(self, key: str, expected: str) -> InvalidValueError:
        return InvalidValueError(self.where(key), self.values.get(key), expected)

    def flag(self, key: str) -> bool | None:
        value = self.raw(key)
        if value is None or isinstance(value, bool):
            return value
        known = _FLAGS.get(str(value).strip().lower()) if isinstance(value, str | int) else None
        if known is None:
            raise self.wrong(key, "true or false")
        return known

    def count(self, key: str) -> int | None:
        """A whole number from 1; `auto` is None. `4.0` and "4" are taken as the tools take them."""
        value = self.raw(key)
        if value is None or value == AUTO:
            return None
        number = self._number(value)
        if number is None or number != int(number) or not 1 <= number <= 2**40:
            raise self.wrong(key, "a whole number from 1")
        return int(number)

    def number(self, key: str) -> float | None:
        value = self.raw(key)
        if value is None or value == AUTO:
            return None
        number = self._number(value)
        if number is None:
            raise self.wrong(key, "a number")
        return number

    @staticmethod
    def _number(value: object) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        return number if abs(number) < 1e300 else None

    def word(self, key: str) -> str | None:
        value = self.raw(key)
        if value is None or isinstance(value, str):
            return value.strip() if value else None
        raise self.wrong(key, "a word")

    def words(self, key: str) -> tuple[str, ...] | None:
        """A list of words, or words with commas between."""
        value = self.raw(key)
        if value is None:
            return None
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple | set) or not all(isinstance(item, str) for item in items):
            raise self.wrong(key, "a list of words")
        return tuple(item.strip() for item in items if item.strip())

    def table(self, key: str) -> Keys | None:
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(key, "a table of keys and values")
        return Keys(self.document, value, (*self.at, key))
