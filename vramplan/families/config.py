"""Strict reading of a config.json: every figure is typed and bounded, and an error names the file and the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import InvalidValueError, UnsupportedError

LARGEST_SIZE = 2**31
MOST_LAYERS = 2**14
"""Layers are listed one by one, so their number is bounded more tightly than a width."""


class _Absent:
    """Stands in an error message where a key has no value."""

    def __repr__(self) -> str:
        return "a missing key"


_ABSENT = _Absent()


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The keys of one config.json. A key whose value is null counts as absent, as it does in transformers.

    Getters take the key and its older spellings; the first one present wins. Without a default the key is required.
    """

    values: Mapping[str, object]
    where: str
    """File or hub id, for messages."""

    def has(self, key: str) -> bool:
        return self.values.get(key) is not None

    def defaulting(self, **figures: object) -> Config:
        """The same keys, with figures for those that are absent."""
        absent = {key: figure for key, figure in figures.items() if not self.has(key)}
        return replace(self, values={**self.values, **absent})

    def size(self, *keys: str, default: int | None = None, limit: int = LARGEST_SIZE) -> int:
        """A width or count of at least 1."""
        return self._whole(keys, default, 1, limit)

    def count(self, *keys: str, default: int | None = None) -> int:
        """A number of things, perhaps none."""
        return self._whole(keys, default, 0, LARGEST_SIZE)

    def layers(self, *keys: str) -> int:
        return self.size(*keys, limit=MOST_LAYERS)

    def flag(self, key: str, *, default: bool) -> bool:
        value = self._find((key,), default)
        if not isinstance(value, bool):
            raise self.error(key, value, "true or false")
        return value

    def share(self, *keys: str, default: float) -> float:
        """A probability or a part of a whole, 0 to 1."""
        value = self._find(keys, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise self.error(keys[0], value, "a number from 0 to 1")
        return value

    def word(self, *keys: str, default: str | None = None) -> str:
        value = self._find(keys, default)
        if not isinstance(value, str):
            raise self.error(keys[0], value, "a word")
        return value

    def section(self, key: str) -> Config | None:
        """A nested object; None where there is none."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.error(key, value, "an object")
        return Config(values=value, where=f"{self.where}: {key}")

    def window(self, default: int | None) -> int | None:
        """`sliding_window`, where null means none but an absent key the library's default."""
        if "sliding_window" not in self.values:
            return default
        return self.size("sliding_window") if self.has("sliding_window") else None

    def indices(self, key: str) -> frozenset[int]:
        """A list of layer numbers; empty where the key is absent."""
        value = self._find((key,), ())
        if not isinstance(value, list | tuple) or not all(type(index) is int for index in value):
            raise self.error(key, value, "a list of layer numbers")
        return frozenset(value)

    def per_layer(self, key: str, layers: int) -> Sequence[object] | None:
        """A list with one entry a layer; None where the key is absent."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, list | tuple) or len(value) != layers:
            raise self.error(key, value, f"a list with an entry for each of the {layers} layers")
        return value

    def refuse_if(self, condition: bool, what: str) -> None:
        """Refuse a variant of a known family that the parts cannot describe."""
        if condition:
            raise unsupported(self.where, what)

    def missing(self, key: str) -> InvalidValueError:
        return self.error(key, _ABSENT, "allowed")

    def error(self, key: str, value: object, expected: str) -> InvalidValueError:
        return InvalidValueError(f"{self.where}: {key}", value, expected)

    def _find(self, keys: tuple[str, ...], default: object) -> object:
        for key in keys:
            value = self.values.get(key)
            if value is not None:
                return value
        return _ABSENT if default is None else default

    def _whole(self, keys: tuple[str, ...], default: int | None, least: int, most: int) -> int:
        value = self._find(keys, default)
        if type(value) is not int or not least <= value <= most:
            raise self.error(keys[0], value, f"a whole number from {least} to {most}")
        return value


def unsupported(where: str, what: str) -> UnsupportedError:
    """The one wording of a refusal, with what to do instead."""
    return UnsupportedError(f"{where}: {what} cannot be estimated yet; `vramplan bench dry` runs the real model's step")
