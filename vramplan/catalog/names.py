"""How a name people type finds the name in the table: spelling is forgiven, meaning is never guessed."""

from __future__ import annotations

from collections.abc import Iterable

MODEL_SUFFIXES = ("-hf", "-base", "-pt", "-v0.1", "-v1.0", "-bf16")
"""What a hub name may carry behind the model's own name without meaning another shape."""


def canonical(name: str) -> str:
    """One spelling of `Llama 3.1_8B`, `llama3.1-8b` and `llama-3.1-8b`: lower case, `-` between words, and none between
    letters and a number behind them. Hyphens between numbers stay: qwen3-4b is no qwen-34b."""
    name = "-".join(name.casefold().replace("_", " ").replace("-", " ").split())
    return "".join(
        char
        for before, char, after in zip(f" {name}", name, f"{name[1:]} ", strict=False)
        if not (char == "-" and before.isalpha() and after.isdigit())
    )


def short_names(hub_id: str) -> Iterable[str]:
    """The hub name without its owner, then without one suffix after another: `Llama-2-7b-hf`, `Llama-2-7b`."""
    name = hub_id.rpartition("/")[2]
    yield name
    while True:
        suffix = next((s for s in MODEL_SUFFIXES if name.casefold().endswith(s)), None)
        if suffix is None:
            return
        name = name[: -len(suffix)]
        yield name
