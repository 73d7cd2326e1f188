"""The page around its sections: head, style, charts' data, plotly.js, script."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from vramplan import __version__
from vramplan.errors import UnsupportedError

from .chart import Chart, chart_data
from .markup import Html, el, join, json_block

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
"""Nothing is fetched, nothing is sent."""


def page(*, title: str, header: Html, sections: list[tuple[str, str, Html]], footer: Html, charts: list[Chart]) -> str:
    """A whole page; `sections`: id, heading, body. The same arguments give the same text."""
    links = el("nav", el("ul", *(el("li", el("a", name, href=f"#{id}")) for id, name, _ in sections)),
               aria_label="Sections")  # fmt: skip
    body = join(*(el("section", el("h2", name, id=f"{id}-title"), inner, id=id, aria_labelledby=f"{id}-title")
                  for id, name, inner in sections))  # fmt: skip
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="generator", content=f"vramplan {__version__}"),
        el("title", title),
        Html(f"<style>{_asset('page.css')}</style>"),
    )
    whole = el(
        "body",
        el("a", "Skip to the content", href="#content", class_="skip"),
        el("header", header, links),
        el("main", body, id="content", tabindex="-1"),
        el("footer", footer),
        json_block("charts", chart_data(charts)),
        Html(f"<script>{plotly_js() if charts else ''}</script>"),
        Html(f"<script>{_asset('page.js')}</script>"),
    )
    return f"<!DOCTYPE html>\n{el('html', head, whole, lang='en')}\n"


def plotly_js() -> str:
    """The script that the installed plotly package brings along. Found without importing the package."""
    from importlib.util import find_spec

    found = find_spec("plotly")
    path = Path(found.origin).parent / "package_data" / "plotly.min.js" if found and found.origin else None
    if path is None or not path.is_file():
        raise UnsupportedError("pages need plotly: pip install 'vramplan[reports]'")
    return path.read_text(encoding="utf-8").replace("</script", "<\\/script")


def _asset(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8").strip()
