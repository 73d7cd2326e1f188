"""Layout: nothing is lost, nothing is wider than asked where words allow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vramplan_reports.figures import many, percent
from vramplan_reports.plain import in_ascii
from vramplan_reports.sheet import Cell, Column, Items, Lines, Table
from vramplan_reports.terminal import render

words = st.text("abcdefgh0123456789", min_size=1, max_size=30)
texts = st.lists(words, min_size=1, max_size=30).map(" ".join)


@given(text=texts, width=st.integers(20, 100))
def test_wrapped_text_keeps_every_letter(text: str, width: int) -> None:
    for block in (Lines((Cell(text),)), Items((text,))):
        lines = render((block,), width=width, color=False).splitlines()
        assert max(map(len, lines)) <= width
        assert "".join("".join(lines).split()).replace("·", "") == text.replace(" ", "")


@given(rows=st.lists(st.tuples(texts, texts, words), min_size=1, max_size=5), width=st.integers(40, 100))
def test_tables_fit(rows: list[tuple[str, str, str]], width: int) -> None:
    columns = (Column("first"), Column("second", "right"), Column("third"))
    table = Table(columns, tuple(tuple(map(Cell, row)) for row in rows))
    lines = render((table,), width=width, color=False).splitlines()
    assert max(map(len, lines)) <= width
    letters = sorted("".join(lines).replace(" ", "").removeprefix("firstsecondthird"))
    assert letters == sorted("".join("".join(row) for row in rows).replace(" ", ""))


def test_whole_columns_are_never_cut() -> None:
    name = "an-owner/a-model-with-a-very-long-name-that-somebody-wants-to-copy"
    table = Table((Column("name", whole=True), Column("text")), ((Cell(name), Cell("some words " * 9)),))
    assert name in render((table,), width=60, color=False)


def test_colour_changes_no_letter() -> None:
    sheet = (Table((Column(""), Column("", "right")), ((Cell("verdict"), Cell("fits", "good")),)),)
    colored = render(sheet, width=80, color=True)
    assert "\x1b[1;32mfits\x1b[0m" in colored
    assert colored.replace("\x1b[1;32m", "").replace("\x1b[0m", "") == render(sheet, width=80, color=False)


def test_ascii() -> None:
    assert in_ascii("2 × ⌈n⌉ – 1 → █ é") == "2 x ceil(n) - 1 -> # ?"


def test_figures() -> None:
    assert [many(n) for n in (8_192, 41_943_040, 70_553_706_496, 122_610_069_504)] == [
        "8,192", "41.94 M", "70.55 B", "122.6 B",
    ]  # fmt: skip
    assert [percent(*pair) for pair in ((1, 344), (12, 100), (5, 5), (0, 5))] == ["0.29 %", "12 %", "100 %", "0 %"]


def test_escape_codes_of_files_are_not_obeyed() -> None:
    sheet = (Lines((Cell("price of \x1b[31mours\x07"),)),)
    assert render(sheet, width=80, color=False) == "price of ?[31mours?\n"
