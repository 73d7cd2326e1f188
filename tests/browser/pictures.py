"""Pictures of the example pages in reports/examples: light, dark, phone, paper. `make examples` takes them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "reports" / "examples"
VIEWS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1200, "height": 1500}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1200, "height": 1500}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 1500}},
    "print": {"color_scheme": "light", "viewport": {"width": 695, "height": 1500}},
}
TAKEN = (("startup", "light"), ("startup", "phone"), ("lab", "dark"), ("lab", "print"), ("fleet", "light"))
QUALITY = 72


def main() -> None:
    """JPEG: a fraction of a PNG, and text still sharp."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        sys.exit("no Chromium or no playwright here: the pictures stay as they are")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--headless", "--no-sandbox", "--disable-gpu"])
        for name, view in TAKEN:
            page = browser.new_context(offline=True, **VIEWS[view]).new_page()
            page.goto((EXAMPLES / f"{name}.html").as_uri())
            if view == "print":
                page.emulate_media(media="print")
                page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
            page.wait_for_timeout(800)
            page.screenshot(path=EXAMPLES / f"{name}-{view}.jpg", type="jpeg", quality=QUALITY)
        browser.close()


if __name__ == "__main__":
    main()
