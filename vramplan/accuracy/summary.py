"""What many rows say together: spreads of errors, and verdicts against outcomes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from .result import TIERS, Accuracy, Row, Spread, Tier, TierAccuracy, Verdicts


def summarize(files: tuple[str, ...], rows: Iterable[Row], profile: str | None = None) -> Accuracy:
    """All statistics of `rows`."""
    listed = tuple(rows)
    answered = [row for row in listed if row.status == "ok"]
    tiers = (_tier(tier, answered) for tier in TIERS)
    return Accuracy(
        files=files,
        profile=profile,
        rows=listed,
        tiers=tuple(tier for tier in tiers if tier is not None),
        verdicts=_verdicts(answered),
        answered=len(answered),
        single_gpu=sum(row.gpus == 1 for row in listed),
        single_gpu_answered=sum(row.gpus == 1 for row in answered),
        reasons=dict(Counter(row.reason for row in listed if row.status == "unsupported" and row.reason).most_common()),
    )


def percentile(sizes: Sequence[float], share: float) -> float:
    """The smallest of `sizes` that `share` of them do not exceed (nearest rank: always one that was measured)."""
    ordered = sorted(sizes)
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1]


def spread(errors: Sequence[float]) -> Spread:
    """Of one error or more."""
    sizes = sorted(map(abs, errors))
    middle = len(sizes) // 2
    return Spread(
        count=len(errors),
        median=sizes[middle] if len(sizes) % 2 else (sizes[middle - 1] + sizes[middle]) / 2,
        percentile_90=percentile(sizes, 0.9),
        worst=max(errors, key=abs),
        worst_under=min(0.0, *errors),
    )


def _tier(tier: Tier, rows: Iterable[Row]) -> TierAccuracy | None:
    errors = [(row, error) for row in rows if (error := row.error(tier)) is not None]
    if not errors:
        return None
    return TierAccuracy(
        tier=tier,
        overall=spread([error for _, error in errors]),
        by_card=_by(lambda row: row.gpu or "unknown", errors),
        by_stack=_by(lambda row: row.stack, errors),
        by_method=_by(lambda row: row.method, errors),
        by_model=_by(lambda row: row.model, errors),
        by_sample=_by(
            lambda row: "in sample" if row.fitted else "held out", [e for e in errors if e[0].fitted is not None]
        ),
    )


def _by(key: Callable[[Row], str], errors: Iterable[tuple[Row, float]]) -> dict[str, Spread]:
    groups: dict[str, list[float]] = {}
    for row, error in errors:
        groups.setdefault(key(row), []).append(error)
    return {name: spread(groups[name]) for name in sorted(groups)}


def _verdicts(rows: Iterable[Row]) -> Verdicts:
    judged = [
        (row.id, row.measured.outcome, row.predicted.fits)
        for row in rows
        if row.measured is not None and row.predicted is not None and row.predicted.fits is not None
    ]
    return Verdicts(
        counts=Counter((outcome, verdict) for _, outcome, verdict in judged),
        missed_ooms=tuple(id for id, *both in judged if both == ["oom", "fits"]),
        missed_presumed_ooms=tuple(id for id, *both in judged if both == ["presumed_oom", "fits"]),
        false_alarms=tuple(
            id for id, outcome, verdict in judged if outcome in ("ok", "fits") and verdict == "does_not_fit"
        ),
    )
