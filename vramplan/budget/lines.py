"""On which line a key of a TOML or YAML file stands: neither parser of the standard keeps that for every key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .kinds import Path

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]#]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")
_TOKEN = re.compile(
    r"""\"{3}(?:\\.|[^\\])*?\"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|\#[^\n]*|[\[{]|[\]}]|\n""", re.DOTALL
)
"""Texts of several lines, texts of one, comments, brackets, ends of lines."""


class Lines:
    """Path -> line. What has none of its own is where the nearest thing around it is."""

    def __init__(self, found: dict[Path, int]) -> None:
        self._found = found

    def of(self, path: Path) -> int | None:
        for length in range(len(path), 0, -1):
            if path[:length] in self._found:
                return self._found[path[:length]]
        return None


def toml_lines(text: str) -> Lines:
    """Of a text that is known to be TOML: headers and the first lines of keys. Keys of inline tables share theirs."""
    found: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    at: Path = ()
    for number, line in _statements(text):
        header = _HEADER.match(line)
        if header:
            at = _table_path(header[2], header[1] == "[[", counts)
            found.setdefault(at, number)
            if isinstance(at[-1], int):
                found.setdefault(at[:-1], number)
        elif key := _KEY.match(line):
            path = (*at, *_parts(key[1]))
            for length in range(len(at) + 1, len(path) + 1):
                found.setdefault(path[:length], number)
    return Lines(found)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines that begin a statement: not those inside a text of several lines or a list."""
    lines, number, depth = text.split("\n"), 1, 0
    yield number, lines[0]
    for token in _TOKEN.findall(text):
        if token == "\n":
            number += 1
            if depth == 0:
                yield number, lines[number - 1]
        elif token in "[{":
            depth += 1
        elif token in "]}":
            depth = max(depth - 1, 0)
        else:
            number += token.count("\n")


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))


def _table_path(dotted: str, array: bool, counts: dict[Path, int]) -> Path:
    """The path of a header, with the position of every array of tables on it."""
    path: Path = ()
    parts = _parts(dotted)
    for depth, part in enumerate(parts):
        path = (*path, part)
        if array and depth == len(parts) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def yaml_lines(text: str) -> Lines:
    """Of a text that is known to be YAML."""
    import yaml

    found: dict[Path, int] = {}

    def walk(node: Any, at: Path) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                found.setdefault((*at, key.value), key.start_mark.line + 1)
                walk(value, (*at, key.value))
        elif isinstance(node, yaml.SequenceNode):
            for position, item in enumerate(node.value):
                found.setdefault((*at, position), item.start_mark.line + 1)
                walk(item, (*at, position))

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is not None:
        walk(root, ())
    return Lines(found)
