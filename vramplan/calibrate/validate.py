"""How far a fit is to be trusted: with each model left out in turn, and on the cells that are kept from fits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median

from ..profile import Errors, Interval
from .conformal import interval
from .fold import NOTHING, Fold, fit, measured, predicted
from .result import FIGURES, Figure, Residual
from .sample import Sample
from .throughput import SPEED_CONSTANTS

LEAST_MODELS = 3
"""Fewer models than this cannot be left out one by one: cells are."""


def unit(sample: Sample, models: int) -> str:
    """What is left out together with a run: its model, or its cell where there are too few models."""
    return sample.model if models >= LEAST_MODELS else sample.run.id.partition("#")[0]


def residuals(samples: Sequence[Sample], whole: Fold, without: Mapping[str, str] = NOTHING) -> tuple[Residual, ...]:
    """Errors of every measured figure: uncalibrated, in sample, its model left out, its cell held out."""
    models = len({s.model for s in samples})
    units = [unit(s, models) for s in samples]
    left_out = {
        name: fit([s for s, u in zip(samples, units, strict=True) if u != name], without).profile
        for name in dict.fromkeys(units)
    }
    by_cell = fit([s for s in samples if not s.held_out], without).profile
    found: list[Residual] = []
    for sample, name in zip(samples, units, strict=True):
        bare = predicted(sample, None)
        inside = predicted(sample, whole.profile)
        outside = predicted(sample, left_out[name])
        held = predicted(sample, by_cell) if sample.held_out else {}
        for figure, size in measured(sample).items():
            if figure in inside:
                found.append(
                    Residual(
                        id=sample.run.id,
                        model=sample.model,
                        unit=name,
                        figure=figure,
                        uncalibrated=_error(bare.get(figure), size),
                        in_sample=inside[figure] / size - 1,
                        left_out=outside.get(figure, inside[figure]) / size - 1,
                        by_cell=_error(held.get(figure), size),
                    )
                )
    return tuple(found)


def _error(predicted: float | None, measured: float) -> float | None:
    return None if predicted is None else predicted / measured - 1


def intervals(found: Iterable[Residual]) -> dict[str, Interval]:
    """Conformal intervals of measured / predicted - 1 of each figure, from models left out."""
    by_figure: dict[str, list[Residual]] = {}
    for residual in found:
        by_figure.setdefault(residual.figure, []).append(residual)
    spans = {figure: _interval(group) for figure, group in by_figure.items()}
    return {figure: span for figure, span in spans.items() if span is not None}


def _interval(group: Sequence[Residual]) -> Interval | None:
    return interval([_turned(r.left_out) for r in group], [r.model for r in group])


def _turned(error: float) -> float:
    """predicted / measured - 1 -> measured / predicted - 1"""
    return 1 / (1 + error) - 1


def coverage(found: Sequence[Residual]) -> dict[Figure, tuple[int, int]]:
    """Runs that lie inside the interval which the residuals of the *other* models gave, and runs asked."""
    counts: dict[Figure, tuple[int, int]] = {}
    for figure in FIGURES:
        group = [r for r in found if r.figure == figure]
        inside = asked = 0
        for name in dict.fromkeys(r.unit for r in group):
            span = _interval([r for r in group if r.unit != name])
            if span is not None:
                own = [_turned(r.left_out) for r in group if r.unit == name]
                asked += len(own)
                inside += sum(span.low <= residual <= span.high for residual in own)
        if asked:
            counts[figure] = inside, asked
    return counts


def errors(found: Sequence[Residual]) -> dict[str, Errors]:
    """Sizes of errors of each figure."""
    by_figure = {figure: [r for r in found if r.figure == figure] for figure in FIGURES}
    return {
        figure: Errors(
            records=len(group),
            uncalibrated_median=median(abs(r.uncalibrated or 0.0) for r in group),
            in_sample_median=median(abs(r.in_sample) for r in group),
            held_out_median=median(abs(r.left_out) for r in group),
            held_out_worst=max((r.left_out for r in group), key=abs),
        )
        for figure, group in by_figure.items()
        if group
    }


def unhelpful(found: Sequence[Residual]) -> dict[str, str]:
    """Constants that predict what was left out no better than the planner's own values do."""
    return _unhelpful(found, ("device", "reserved"), ("reserved_elasticity",)) | _unhelpful(
        found, ("tokens_per_s",), tuple(SPEED_CONSTANTS)
    )


def _unhelpful(found: Sequence[Residual], figures: tuple[Figure, ...], constants: tuple[str, ...]) -> dict[str, str]:
    """`constants`, judged by the first of `figures` that was measured."""
    for figure in figures:
        group = [r for r in found if r.figure == figure and r.uncalibrated is not None]
        if group:
            before = fmean(abs(r.uncalibrated or 0.0) for r in group)
            after = fmean(abs(r.left_out) for r in group)
            if after >= before:
                better = f"no better with it ({100 * after:.1f} % off on average) than without ({100 * before:.1f} %)"
                return dict.fromkeys(constants, f"runs that are left out are predicted {better}")
            return {}
    return {}
