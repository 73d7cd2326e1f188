"""How a name people type finds the name in the table: spelling is forgiven, meaning is never guessed."""

from __future__ import annotations

from collections.abc import Iterator

SUFFIXES = ("-hf", "-base", "-pt", "-v0.1", "-v1.0", "-bf16")
"""What a hub name may carry behind the model's own name without meaning another shape."""


def canonical(name: str) -> str:
    """One spelling of `Llama 3.1_8B`, `llama3.1-8b` and `llama-3.1-8b`: lower case, `-` between words, and none between
    letters and a number behind them. Hyphens between numbers stay: qwen3-4b is no qwen-34b."""
    parts = name.casefold().replace("_", " ").replace("-", " ").split()
    joined = ""
    for part in parts:
        follows_letter = joined[-1:].isalpha() and part[0].isdigit()
        joined += part if follows_letter or not joined else f"-{part}"
    return joined


def short_names(hub_id: str, *, strip: bool) -> Iterator[str]:
    """The hub name without its owner; with `strip` also without one suffix after another."""
    name = hub_id.rpartition("/")[2]
    yield name
    while strip and (suffix := next((s for s in SUFFIXES if name.casefold().endswith(s)), None)):
        name = name[: -len(suffix)]
        yield name
