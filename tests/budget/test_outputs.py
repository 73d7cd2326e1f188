"""How a budget is written: golden files of the small world, tables that no spreadsheet can be hurt by, pages in which
everything is escaped, and the same bytes every time.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import openpyxl
import pytest
from markdown_it import MarkdownIt

from vramplan.budget.build import budget
from vramplan.budget.scenario import Scenario
from vramplan_reports import terminal
from vramplan_reports.budget import html, summary
from vramplan_reports.budget.files import WRITERS
from vramplan_reports.budget.schema import budget_schema
from vramplan_reports.budget.tables import rows, safe
from vramplan_reports.page.chart import COLORS, DARK, LIGHT
from vramplan_reports.page.files import writer_for

Read = Callable[..., Scenario]
Golden = Callable[[str, str], None]
ROOT = Path(__file__).parents[2]
VILLAIN = "<script>alert(1)</script>"


def written(path: Path, found: Any) -> bytes:
    WRITERS[path.suffix](str(path), found)
    return path.read_bytes()


@pytest.mark.parametrize("suffix", [".md", ".json", ".csv", ".txt"])
def test_golden(scenario: Read, golden: Golden, tmp_path: Path, suffix: str) -> None:
    text = written(tmp_path / f"b{suffix}", budget(scenario())).decode()
    golden(f"budget/budget{suffix}", text.replace("\r\n", "\n"))


def test_golden_page(scenario: Read, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the page but plotly.js and the style."""
    monkeypatch.setattr("vramplan_reports.page.skeleton.plotly_js", lambda: "")
    page = re.sub(r"<style>.*?</style>", "<style></style>", html.render(budget(scenario())), flags=re.DOTALL)
    golden("budget/budget.html", page.replace("><", ">\n<"))


def test_narrow_terminal(scenario: Read) -> None:
    text = terminal.render(summary.sheet(budget(scenario())), width=60, color=False)
    assert "Small world" in text and "49.83" in text


def test_json_is_what_its_schema_says(scenario: Read) -> None:
    published = json.loads((ROOT / "reports/vramplan_reports/budget/budget.schema.json").read_text())
    assert published == budget_schema(), (
        "vramplan report schema budget > reports/vramplan_reports/budget/budget.schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(budget_schema())
    for plan in (scenario(), scenario(('method = "qlora"', 'method = "full"'))):
        document = json.loads(json.dumps(summary.document(budget(plan))))
        jsonschema.validate(document, budget_schema())


@pytest.mark.parametrize("suffix", [".html", ".xlsx"])
def test_the_same_bytes(scenario: Read, tmp_path: Path, suffix: str) -> None:
    first = written(tmp_path / f"a{suffix}", budget(scenario()))
    assert first == written(tmp_path / f"b{suffix}", budget(scenario()))


def test_unknown_suffix() -> None:
    with pytest.raises(Exception, match="unknown kind of report '.htm'; nearest: .html"):
        writer_for("report.htm", WRITERS)


def test_markdown_is_rendered_as_meant(scenario: Read, tmp_path: Path) -> None:
    """One first heading, tables as tables, and nothing of the text turned into markup."""
    found = budget(scenario(('name = "Tune"', f"name = '{VILLAIN} | *a* [b](c)'")))
    tokens = MarkdownIt("commonmark").enable("table").parse(written(tmp_path / "b.md", found).decode())
    kinds = [token.type for token in tokens]
    assert kinds.count("heading_open") >= 6 and kinds.count("table_open") >= 5
    assert [token.tag for token in tokens if token.type == "heading_open"].count("h1") == 1
    assert not [token for token in tokens if token.type.startswith("html")]
    inline = [child for token in tokens for child in token.children or ()]
    assert not [child for child in inline if child.type in ("html_inline", "link_open", "em_open")]
    assert any(VILLAIN in token.content.replace("\\", "") for token in tokens if token.type == "inline")


def test_csv_adds_up(scenario: Read, tmp_path: Path) -> None:
    found = budget(scenario())
    lines = list(csv.DictReader(io.StringIO(written(tmp_path / "b.csv", found).decode(), newline="")))
    assert sum(Decimal(line["amount_usd"]) for line in lines) == found.total.value
    assert len(lines) == len(rows(found)) == len(found.lines) + 1
    for line in lines[:-1]:
        assert abs(
            Decimal(line["quantity"]) * Decimal(line["unit_price_usd"]) - Decimal(line["amount_usd"])
        ) <= Decimal("0.005")


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "=cmd|' /C calc'!A0", "\n=2"]


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_become_text(text: str) -> None:
    assert safe(text).startswith("'")


def test_text_stays_text() -> None:
    assert [safe(text) for text in ("a=b", "Größe", "1 - 2", "")] == ["a=b", "Größe", "1 - 2", ""]


def test_no_formula_reaches_a_spreadsheet(scenario: Read, tmp_path: Path) -> None:
    found = budget(scenario(('name = "Tune"', 'name = "=HYPERLINK(0)"'), ('label = "Storage"', 'label = "@Storage"'),
                            ('reason = "house rule"', 'reason = "+1"')))  # fmt: skip
    read_back = csv.reader(io.StringIO(written(tmp_path / "b.csv", found).decode(), newline=""))
    cells = [cell for line in read_back for cell in line]
    assert "'=HYPERLINK(0)" in cells and "'@Storage" in cells and "'+1" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t", "\r"))]
    written(tmp_path / "b.xlsx", found)
    book = openpyxl.load_workbook(tmp_path / "b.xlsx")
    assert not [cell for sheet in book for line in sheet for cell in line if cell.data_type == "f"]


def test_workbook_is_read_by_another_library(scenario: Read, tmp_path: Path) -> None:
    found = budget(scenario())
    written(tmp_path / "b.xlsx", found)
    book = openpyxl.load_workbook(tmp_path / "b.xlsx")
    assert book.sheetnames == ["Cost lines", "Jobs", "What moves it", "Assumptions", "Sources"]
    head, *lines = book["Cost lines"].iter_rows(values_only=True)
    amounts = [line[head.index("amount_usd")] for line in lines]
    assert round(sum(amounts), 2) == float(found.total.value)
    jobs = list(book["Jobs"].iter_rows(values_only=True))[1:]
    assert [(job[0], job[8]) for job in jobs] == [("Tune", 22.0), ("Refresh", 3.3)]


class Elements(HTMLParser):
    """Tags, ids and texts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.texts: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.ids += [given["id"]] if given.get("id") else []
        self.references += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def parsed(page: str) -> Elements:
    elements = Elements()
    elements.feed(page)
    return elements


def test_page_holds_no_foreign_markup(scenario: Read) -> None:
    """Wherever a person's words go: title, table, chart, JSON, command."""
    plain = parsed(html.render(budget(scenario())))
    found = budget(
        scenario(('name = "Tune"', f"name = '{VILLAIN}'"), ('owner = "Tests"', f"owner = '{VILLAIN}'"),
                 ('reason = "two mixes"', f"reason = '\"><img src=x onerror=alert(1)>{VILLAIN}'"),
                 ('unit = "TB months"', "unit = '</table></script>'"))
    )  # fmt: skip
    page = html.render(found)
    hostile = parsed(page)
    assert sorted(hostile.tags) == sorted(plain.tags)
    assert VILLAIN in "".join(hostile.texts)
    assert VILLAIN not in page
    data = re.search(r'<script type="application/json" id="charts">(.*?)</script>', page, re.DOTALL)
    assert data and not re.search("[<>&]", data[1])
    labels = json.dumps(json.loads(data[1]))
    assert "<script" not in labels and "&lt;script" in labels


def test_page_stands_alone(scenario: Read) -> None:
    """Ids are unique, links lead inside the page, nothing is loaded, and it is below 6 MB."""
    page = html.render(budget(scenario()))
    elements = parsed(page)
    assert len(elements.ids) == len(set(elements.ids))
    assert {reference[1:] for reference in elements.references} <= set(elements.ids)
    assert not {"img", "link", "iframe", "object", "embed"} & set(elements.tags)
    assert "default-src &#x27;none&#x27;" in page
    assert len(page.encode()) < 6_000_000


def test_every_chart_has_words_and_a_table(scenario: Read) -> None:
    page = html.render(budget(scenario()))
    figures = re.findall(r"<figure>(.*?)</figure>", page, re.DOTALL)
    assert len(figures) == 7
    for figure in figures:
        assert re.search(r'role="img" aria-label="[^"]{40,}"', figure)
        assert re.search(r'style="height:\d+px"', figure)
        assert "<details" in figure and "<table" in figure


def _luminance(color: str) -> float:
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, relative luminance."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("color", COLORS)
def test_colors_of_charts_stand_out(color: str) -> None:
    assert all(contrast(color, background) >= 3 for background in (*LIGHT, *DARK))


def test_colors_of_text_can_be_read() -> None:
    css = (ROOT / "reports/vramplan_reports/page/page.css").read_text()
    palettes = [
        dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    ]
    assert len(palettes) == 3  # light, dark, paper
    for palette in palettes:
        for background in ("page", "panel"):
            for name in ("ink", "soft", "link", "good", "warn", "bad"):
                assert contrast(palette[name], palette[background]) >= 4.5, (name, background)
        for background in ("fits", "tight", "over"):
            assert contrast(palette["ink"], palette[background]) >= 4.5
        assert contrast(palette["soft"], palette["over"]) >= 4.5
    assert (palettes[0]["page"], palettes[0]["panel"]) == LIGHT and (palettes[1]["page"], palettes[1]["panel"]) == DARK


@pytest.mark.parametrize(
    "changes",
    [
        [("[limits]", '[limits]\nkinds = ["reserved"]')],
        [("[limits]", "[limits]\nusd_per_gpu_hour = 0"), ("quantity = 2", "quantity = 0")],
        [("budget_usd = 200\ndeadline = 2026-11-30\n", "")],
        [('method = "qlora"', 'method = "full"'), ('method = "lora"', 'method = "full"')],
        [("runs = { value = 2, low = 1, high = 4", "runs = { value = 0, low = 0, high = 4")],
        [
            ('method = "qlora"', 'method = ["full", "lora", "qlora"]'),
            ("batch = 4\nseq_len = 2048\n\n[[job]]", "[[job]]"),
        ],
    ],
    ids=["no-price", "free", "no-limits", "nothing-fits", "no-runs", "defaults"],
)
def test_edges_are_written_in_every_form(scenario: Read, tmp_path: Path, changes: list[tuple[str, str]]) -> None:
    found = budget(scenario(*changes))
    for suffix in WRITERS:
        assert written(tmp_path / f"b{suffix}", found)
    jsonschema.validate(json.loads((tmp_path / "b.json").read_text()), budget_schema())
    page = parsed((tmp_path / "b.html").read_text())
    assert len(page.ids) == len(set(page.ids))
