"""Writes YAML that a person reads: keys in the order given, sections with comments, every value on its line."""

from __future__ import annotations

import json
import re

Scalar = str | int | float | bool
Value = Scalar | list[str] | dict[str, "Value"]

_PLAIN = re.compile(r"[A-Za-z_./][\w./@+-]*")
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "none", "y", "n", "nan", "inf", ".nan", ".inf", "auto"}
"""Plain words that YAML, or a tool behind it, takes for something else; `auto` is quoted without need but no harm."""


class YamlText:
    """Lines of a file as they are added."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def section(self, comment: str) -> None:
        self.lines += ["", f"# {comment}"]

    def add(self, key: str, value: Value, comment: str = "") -> None:
        self._add(key, value, comment, "")

    def _add(self, key: str, value: Value, comment: str, indent: str) -> None:
        remark = f"  # {comment}" if comment else ""
        if isinstance(value, dict):
            self.lines.append(f"{indent}{key}:{remark}")
            for inner, held in value.items():
                self._add(inner, held, "", indent + "  ")
        elif isinstance(value, list):
            self.lines.append(f"{indent}{key}:{remark}")
            self.lines += [f"{indent}  - {scalar(item)}" for item in value]
        else:
            self.lines.append(f"{indent}{key}: {scalar(value)}{remark}")

    def text(self) -> str:
        return "\n".join(self.lines).strip("\n") + "\n"


def scalar(value: Scalar) -> str:
    """JSON's form where a plain word would not come back as itself."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    if isinstance(value, float) and "e" in repr(value):
        # YAML 1.1 takes 2e-05 for text and 2.0e-05 for a number.
        mantissa, _, exponent = repr(value).partition("e")
        return f"{mantissa}{'' if '.' in mantissa else '.0'}e{exponent}"
    return json.dumps(value, ensure_ascii=False)
