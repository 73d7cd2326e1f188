"""Headless Chromium without a network. Skipped, with the reason, where there is none."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "reports" / "examples"
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu"]


def _chromium() -> str | None:
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A running browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra [test])")
    path = _chromium()
    if path is None:
        pytest.skip("no Chromium on this machine (CHROMIUM=path names one)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The text of axe.min.js: AXE names it, or `npm install axe-core` in the checkout puts it there."""
    places = [os.environ.get("AXE", ""), *glob.glob(str(ROOT / "node_modules/axe-core/axe.min.js"))]
    for place in places:
        if place and os.path.isfile(place):
            return Path(place).read_text(encoding="utf-8")
    pytest.skip("no axe-core: `npm install --no-save axe-core`, or AXE=path/to/axe.min.js")


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A budget of each example, and a measured report."""
    from vramplan.budget.build import budget
    from vramplan.budget.measured import measured
    from vramplan.record import write_records
    from vramplan_reports.budget.files import WRITERS
    from vramplan_reports.measured import files as measured_files

    from ..budget.records import record

    folder = tmp_path_factory.mktemp("pages")
    made = {}
    for scenario in sorted(EXAMPLES.glob("*.toml")):
        found = budget(scenario)
        for suffix in (".html", ".json"):
            WRITERS[suffix](str(folder / f"{scenario.stem}{suffix}"), found)
        made[scenario.stem] = folder / f"{scenario.stem}.html"
    made["measured"] = folder / "measured.html"
    lengths = (1024, 2048, 4096)
    write_records(folder / "here.jsonl", [record(recipe={"seq_len": n}, tokens_per_s=9e6 / n) for n in lengths])
    write_records(
        folder / "there.jsonl", [record("a100-80", recipe={"seq_len": n}, tokens_per_s=4e6 / n) for n in lengths]
    )
    measured_files.WRITERS[".html"](str(made["measured"]), measured([folder / "here.jsonl"], folder / "there.jsonl"))
    return made
