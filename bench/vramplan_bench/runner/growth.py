"""How far a batch can be grown: which one to try next, so that both sides of the limit are known."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

STEP_UP = 1.25
STEP_DOWN = 0.8
CLOSE = 0.05
"""The search ends when the two sides differ by a twentieth, or by one sequence."""
MOST_TRIES = 7


def next_batch(tried: Mapping[int, bool], start: int, most_tries: int = MOST_TRIES) -> int | None:
    """The batch to try after `tried` (batch -> did it fit); None when both sides are known closely enough, when not
    even one sequence fits, or after `most_tries`."""
    if len(tried) >= most_tries:
        return None
    fits = max((batch for batch, ok in tried.items() if ok), default=0)
    full = min((batch for batch, ok in tried.items() if not ok), default=None)
    if full is None:
        return max(ceil(fits * STEP_UP), fits + 1) if fits else start
    if fits == 0:
        lower = int(full * STEP_DOWN)
        return lower if lower >= 1 else None
    if full - fits <= max(1, CLOSE * fits):
        return None
    return (fits + full) // 2
