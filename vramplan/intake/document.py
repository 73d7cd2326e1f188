"""A configuration file as nested values with line numbers: YAML, JSON or TOML. Untrusted, so bounded and strict."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import VramplanError, one_line
from ..files import read_text

LARGEST_FILE_BYTES = 4 * 2**20
"""Real ones have a few KiB; a config.json with a list of unquantised modules reaches some hundred."""
LARGEST_YAML_BYTES = 256 * 2**10
"""PyYAML reads a quarter of a MiB in a second."""
FOLDER_FILES = ("adapter_config.json", "config.json")
"""What is read of a folder: the adapter in it, else the model."""

Lines = Mapping[tuple[str, ...], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The values of one file, and on which line each key stands."""

    path: str
    values: Mapping[str, Any]
    lines: Lines

    def where(self, *keys: str) -> str:
        """`sft.yaml:12: lora_r`, for messages; JSON and TOML know the line of keys that occur once."""
        line = self.lines.get(keys, self.lines.get(keys[-1:]))
        place = f"{self.path}:{line}" if line else self.path
        return f"{place}: {one_line('.'.join(keys), 80)}"


def read_document(path: str) -> Document:
    """Read `path`, or the configuration in the folder `path`. Raises VramplanError with file and line."""
    return parse_document(*_text(path))


def parse_document(path: str, text: str) -> Document:
    """What `text` holds, by the suffix of `path` and its first character. Raises VramplanError with file and line."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix == ".py":
        from .script import parse_script

        values, lines = parse_script(path, text)
    elif suffix == ".toml":
        values, lines = _toml(path, text)
    elif suffix == ".json" or text.lstrip().startswith("{"):
        values, lines = _json(path, text)
    else:
        from .yaml_file import parse_yaml

        if len(text) > LARGEST_YAML_BYTES:
            raise VramplanError(f"{path}: larger than {LARGEST_YAML_BYTES // 1024} KiB, so no configuration")
        values, lines = parse_yaml(path, text)
    if not isinstance(values, dict):
        raise VramplanError(f"{path}: holds {_kind(values)}, not a table of keys and values")
    return Document(path=path, values=values, lines=lines)


def _text(path: str) -> tuple[str, str]:
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        held = [name for name in FOLDER_FILES if os.path.isfile(os.path.join(path, name))]
        if not held:
            raise VramplanError(f"{path}: the folder holds no " + " or ".join(FOLDER_FILES))
        path = os.path.join(path, held[0])
    return path, read_text(path, "a configuration", LARGEST_FILE_BYTES)


def _kind(value: object) -> str:
    return {list: "a list", str: "text", type(None): "nothing"}.get(type(value), f"a {type(value).__name__}")


def _json(path: str, text: str) -> tuple[Any, Lines]:
    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise VramplanError(f"{path}: key {twice!r} stands twice in one table")
        return values

    try:
        values = json.loads(text, object_pairs_hook=table)
    except json.JSONDecodeError as error:
        raise VramplanError(f"{path}:{error.lineno}: not JSON, or cut off: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise VramplanError(f"{path}: not a usable JSON: {one_line(error, 80)}") from None
    return values, _lines_by_pattern(text, r'"((?:[^"\\\n]|\\.)*)"\s*:')


def _toml(path: str, text: str) -> tuple[Any, Lines]:
    import tomllib

    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise VramplanError(f"{path}: not TOML: {one_line(error, 80)}") from None
    return values, _lines_by_pattern(text, r"(?m)^\s*([\w-]+)\s*=")


def _lines_by_pattern(text: str, pattern: str) -> Lines:
    """Line of every key that stands in the text once: enough to point at it without a parser that keeps places."""
    found: dict[str, list[int]] = {}
    line, at = 1, 0
    for match in re.finditer(pattern, text):
        line += text.count("\n", at, match.start(1))
        at = match.start(1)
        found.setdefault(match[1], []).append(line)
    return {(name,): lines[0] for name, lines in found.items() if len(lines) == 1}
