"""Pages opened as people open them: from a folder, without a network, in light and dark, on a phone, on paper."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser
NAMES = ("startup", "lab", "fleet")
MEDIA: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1200, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1200, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}
SEEN = (
    ("startup", "light"),
    ("startup", "dark"),
    ("startup", "phone"),
    ("lab", "dark"),
    ("measured", "phone"),
    ("fleet", "phone"),
)


CUT_LEGENDS = (
    "Array.from(document.querySelectorAll('.chart .legend .scrollbar')).filter((bar) => bar.getBBox().height > 0)"
    ".map((bar) => bar.closest('.chart').id)"
)
"""Charts whose legend is scrolled inside a frame of its own."""


@contextmanager
def opened(chromium: Any, path: Path, medium: str = "light") -> Iterator[tuple[Any, list[str]]]:
    """The page, and what the console complained about. The network is cut."""
    context = chromium.new_context(offline=True, **MEDIA[medium])
    page, complaints = context.new_page(), []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda asked: complaints.append(asked.url) if asked.url.startswith("http") else None)
    page.goto(path.as_uri())
    yield page, complaints
    context.close()


def scroll_through(page: Any) -> None:
    """To the end, so that every chart comes near the screen."""
    height = page.evaluate("document.documentElement.scrollHeight")
    for top in range(0, height, 600):
        page.evaluate(f"window.scrollTo(0, {top})")
        page.wait_for_timeout(40)
    page.wait_for_timeout(200)


def open_everything(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")


@pytest.mark.parametrize(("name", "medium"), SEEN)
def test_charts_are_drawn_and_nothing_moves(chromium: Any, pages: dict[str, Path], name: str, medium: str) -> None:
    with opened(chromium, pages[name], medium) as (page, complaints):
        open_everything(page)
        before = page.evaluate("document.documentElement.scrollHeight")
        scroll_through(page)
        assert complaints == []
        charts = page.evaluate("Object.keys(JSON.parse(document.getElementById('charts').textContent))")
        assert len(charts) >= 4
        drawn = page.evaluate(
            "Array.from(document.querySelectorAll('.chart')).map((box) => [box.id, "
            "box.querySelectorAll('.main-svg .trace, .main-svg .scatterlayer .trace').length])"
        )
        assert sorted(id for id, traces in drawn if traces) == sorted(charts)
        assert page.evaluate(CUT_LEGENDS) == []
        assert page.evaluate("document.documentElement.scrollHeight") == before
        assert page.evaluate("document.documentElement.scrollWidth") <= MEDIA[medium]["viewport"]["width"]


@pytest.mark.parametrize("name", NAMES)
def test_figures_of_the_page_are_those_of_the_json(chromium: Any, pages: dict[str, Path], name: str) -> None:
    document = json.loads(pages[name].with_suffix(".json").read_text())
    with opened(chromium, pages[name]) as (page, _):
        open_everything(page)
        rows = page.evaluate(
            "Array.from(document.querySelectorAll('#lines tbody tr')).map((row) => "
            "Array.from(row.cells).map((cell) => cell.innerText))"
        )
        shown = [(row[0], row[1], row[2].replace(",", ""), row[5].replace(",", "")) for row in rows]
        lines = document["lines"]
        assert shown == [
            (one["job"] or "Other costs", one["label"], one["quantity"], one["amount_usd"]) for one in lines
        ]
        foot = page.evaluate("Array.from(document.querySelectorAll('#lines tfoot tr')).map((row) => row.innerText)")
        assert document["total"]["usd"]["value"] in foot[-1].replace(",", "")
        peaks = page.evaluate("JSON.parse(document.getElementById('charts').textContent)['chart-peaks'].data")
        for position, job in enumerate(document["jobs"]):
            parts = sum(trace["x"][position] for trace in peaks if trace["type"] == "bar")
            assert parts == pytest.approx(job["memory"]["device_bytes"] / 2**30, abs=0.001)
            limit = next(trace for trace in peaks if trace["type"] == "scatter")["x"][position]
            assert limit == pytest.approx(job["way"]["capacity_bytes"] / 2**30)
        spent = page.evaluate("JSON.parse(document.getElementById('charts').textContent)['chart-spent'].data")
        expected = next(trace for trace in spent if trace["name"] == "expected")
        assert expected["y"] == [float(point["usd"]["value"]) for point in document["spent"]]


@pytest.mark.parametrize(("name", "medium"), SEEN[:-1])
def test_accessible(chromium: Any, pages: dict[str, Path], axe: str, name: str, medium: str) -> None:
    """No violation of WCAG 2.2 A and AA that axe-core can find, with everything opened and drawn."""
    with opened(chromium, pages[name], medium) as (page, _):
        open_everything(page)
        scroll_through(page)
        page.evaluate(axe)
        found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        said = [(one["id"], one["impact"], one["nodes"][0]["html"][:160]) for one in found["violations"]]
        assert [one for one in said if one[1] in ("serious", "critical")] == []
        assert said == []


def test_keyboard(chromium: Any, pages: dict[str, Path]) -> None:
    """The first stop skips to the content; a job is opened with the keyboard; what is focused can be seen."""
    with opened(chromium, pages["fleet"]) as (page, _):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "content"
        page.focus("details.job > summary")
        page.keyboard.press("Enter")
        assert page.evaluate("document.querySelector('details.job').open")
        page.wait_for_selector("details.job[open] .chart[data-drawn]")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"


def test_copy(chromium: Any, pages: dict[str, Path]) -> None:
    with opened(chromium, pages["startup"]) as (page, _):
        open_everything(page)
        page.click("button.copy >> nth=0")
        page.wait_for_function("/Copied|Selected/.test(document.querySelector('button.copy').textContent)")


def test_words_come_before_the_charts(chromium: Any, pages: dict[str, Path]) -> None:
    """Without JavaScript the decision, the tables and a word about the charts are there."""
    context = chromium.new_context(offline=True, java_script_enabled=False)
    page = context.new_page()
    page.goto(pages["startup"].as_uri())
    text = page.inner_text("body")
    assert "What it costs" in text and "needs JavaScript" in text and "What is rented, and what is paid" in text
    context.close()


WIDTHS = (
    "Array.from(document.querySelectorAll('.chart')).filter((box) => box.offsetParent).map((box) => "
    "[Number(box.querySelector('.main-svg').getAttribute('width')), box.clientWidth])"
)
PAPER = 695
"""A4 without its margins, in pixels of 1/96 inch."""


def test_print(chromium: Any, pages: dict[str, Path], tmp_path: Path) -> None:
    """On paper: light also where the screen is dark, every visible chart drawn, none wider than the sheet; and on the
    screen afterwards as before."""
    with opened(chromium, pages["startup"], "dark") as (page, complaints):
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        sums = page.evaluate("getComputedStyle(document.querySelector('#lines tfoot')).display")
        assert (
            sums == "table-row-group"
        )  # once, at the end: a footer would stand below every sheet as if it were its sum
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        page.wait_for_timeout(200)
        widths = page.evaluate(WIDTHS)
        assert len(widths) == 7 and all(0 < drawn <= PAPER for drawn, _ in widths)
        page.set_viewport_size({"width": PAPER, "height": 1020})
        page.wait_for_timeout(200)
        assert page.evaluate("document.documentElement.scrollWidth") <= PAPER
        page.set_viewport_size(MEDIA["dark"]["viewport"])
        page.emulate_media(media="screen", color_scheme="dark")
        page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        page.wait_for_timeout(400)
        assert all(abs(drawn - there) <= 1 for drawn, there in page.evaluate(WIDTHS))
        assert complaints == []
        page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
        assert (tmp_path / "page.pdf").stat().st_size > 50_000
