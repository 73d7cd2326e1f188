"""Lines of keys: whatever way TOML has to write them."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramplan.budget.kinds import Path
from vramplan.budget.lines import toml_lines, yaml_lines

TOML = '''\
top = 1
"quoted key" = 2
a.b.c = 3
many = [
    1,  # key = in a comment
    "x = [", 2,
]
text = """
fake = 1
[fake]
"""
raw = \'\'\'a = """ \'\'\'
[table] # comment
key = "]"
[table.inner."x y"]
deep = true
[[rows]]
name = "first"
inline = { value = 1, low = 0 }
[rows.recipe]
batch = 1
[[rows]]
name = "second"
[[rows.parts]]
z = 1
[[rows.parts]]
z = 2
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 1), (("quoted key",), 2), (("a", "b", "c"), 3), (("a", "b"), 3), (("many",), 4), (("many", 2), 4),
        (("text",), 8), (("raw",), 12), (("table",), 13), (("table", "key"), 14),
        (("table", "inner", "x y", "deep"), 16), (("rows",), 17), (("rows", 0), 17), (("rows", 0, "name"), 18),
        (("rows", 0, "inline", "low"), 19),
        (("rows", 0, "recipe"), 20), (("rows", 0, "recipe", "batch"), 21), (("rows", 1), 22), (("rows", 1, "name"), 23),
        (("rows", 1, "parts", 0, "z"), 25), (("rows", 1, "parts", 1, "z"), 27), (("rows", 1, "missing"), 22),
        (("missing",), None), ((), None),
    ],
)  # fmt: skip
def test_toml(path: Path, line: int | None) -> None:
    tomllib.loads(TOML)
    assert toml_lines(TOML).of(path) == line


def test_yaml() -> None:
    lines = yaml_lines("a: 1\nb:\n  - c: 2\n    d: 3\n  - c: 4\n")
    assert [lines.of(path) for path in (("a",), ("b",), ("b", 0, "d"), ("b", 1), ("b", 1, "c"))] == [1, 2, 4, 5, 5]


def paths(values: Any, at: Path = ()) -> list[Path]:
    if isinstance(values, dict):
        return [path for key, value in values.items() for path in [(*at, key), *paths(value, (*at, key))]]
    return []


@given(st.text(alphabet="ab.=[]{}\"'#\n 1", max_size=60))
def test_every_key_of_any_toml_has_a_line(text: str) -> None:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = toml_lines(text)
    for path in paths(values):
        line = lines.of(path)
        assert line is not None and 1 <= line <= text.count("\n") + 1
