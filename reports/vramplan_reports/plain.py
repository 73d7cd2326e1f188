"""Text for terminals and files that do not know Unicode."""

from __future__ import annotations

_SPELLED = str.maketrans(
    {
        "×": "x", "·": "-", "–": "-", "−": "-", "→": "->", "←": "<-", "…": "...", "≤": "<=", "≥": ">=", "±": "+-",
        "⌈": "ceil(", "⌉": ")", "²": "^2", "█": "#", "µ": "u",
        "▓": "=", "▒": "-", "░": ".",
    }
)  # fmt: skip


def in_ascii(text: str) -> str:
    """`text` with typography spelled out, and `?` for what has no spelling."""
    return text.translate(_SPELLED).encode("ascii", "replace").decode("ascii")
