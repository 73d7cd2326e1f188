"""Target modules written as a regular expression, as PEFT takes them: the names that it can end in."""

from __future__ import annotations

import re

MOST_NAMES = 64
_ANY_LAYER = re.compile(r"\[?\\d\]?[+*]?|\[0-9\][+*]?")
_WORD = re.compile(r"\w+|\\\.|\.")


def names_of(pattern: str) -> tuple[str, ...] | None:
    r"""Module names that `pattern` ends in: `q_proj`, `k_proj` of `.*\.layers\.\d+\.self_attn\.(q|k)_proj`.

    None for patterns that single out layers, or whose last part is more than words, groups and alternatives.
    """
    pattern = pattern.removeprefix("^").removesuffix("$")
    cut = _last_dot(pattern)
    if re.search(r"\d", _ANY_LAYER.sub("", pattern[:cut])):
        return None
    try:
        texts, rest = _alternatives(pattern[cut:])
    except (ValueError, RecursionError):
        return None
    names = {text.rpartition(".")[2] for text in texts}
    return None if rest or "" in names else tuple(sorted(names))


def _last_dot(pattern: str) -> int:
    """Where the last part begins: behind the last dot outside parentheses."""
    depth = cut = 0
    for at, character in enumerate(pattern):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "." and depth == 0 and pattern[at + 1 : at + 2] not in ("*", "+"):
            cut = at + 1
    return cut


def _alternatives(text: str) -> tuple[list[str], str]:
    """Every text that `a|b...` stands for, up to a closing parenthesis, and what follows."""
    found: list[str] = []
    while True:
        texts, text = _sequence(text)
        found += texts
        if len(found) > MOST_NAMES:
            raise ValueError(text)
        if not text.startswith("|"):
            return found, text
        text = text[1:]


def _sequence(text: str) -> tuple[list[str], str]:
    found = [""]
    while text and text[0] not in "|)":
        if text[0] == "(":
            parts, text = _alternatives(text[1:].removeprefix("?:"))
            if not text.startswith(")"):
                raise ValueError(text)
            text = text[1:]
        else:
            word = _WORD.match(text)
            if word is None:
                raise ValueError(text)
            parts, text = [word[0].removeprefix("\\")], text[word.end() :]
        if text.startswith("?"):
            parts, text = [*parts, ""], text[1:]
        found = [left + right for left in found for right in parts]
        if len(found) > MOST_NAMES:
            raise ValueError(text)
    return found, text
