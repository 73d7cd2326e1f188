"""HTML made of elements: whatever is not `Html` already is text, and is escaped."""

from __future__ import annotations

import json
from html import escape
from typing import Any

VOID = frozenset({"meta", "br", "hr", "col"})


class Html(str):
    """Markup that is ready."""

    __slots__ = ()


def text(value: object) -> Html:
    """Text as markup; line breaks stay, other characters that no page can hold do not."""
    if isinstance(value, Html):
        return value
    kept = "".join(letter if letter >= " " or letter in "\n\t" else "�" for letter in str(value))
    return Html(escape(kept, quote=True))


def el(tag: str, *children: object, **attributes: object) -> Html:
    """An element. `class_` and `for_` lose their underscore, others become hyphens; None and False are left out."""
    written = "".join(
        f" {_name(name)}" if value is True else f' {_name(name)}="{text(value)}"'
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in VOID:
        return Html(f"<{tag}{written}>")
    return Html(f"<{tag}{written}>{''.join(map(text, children))}</{tag}>")


def join(*parts: object) -> Html:
    return Html("".join(map(text, parts)))


def json_block(id: str, values: Any) -> Html:
    """Data for the page's script. No text in it can end the element: `<`, `>` and `&` are written as escapes."""
    written = json.dumps(values, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
    for character in "<>&\u2028\u2029":
        written = written.replace(character, f"\\u{ord(character):04x}")
    return Html(f'<script type="application/json" id="{text(id)}">{written}</script>')


def _name(name: str) -> str:
    return name.rstrip("_").replace("_", "-")
