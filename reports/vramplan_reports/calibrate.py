"""What `vramplan calibrate` found: constants with their errors, what was refused and why, and how far to trust it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from vramplan.accuracy import percentile, spread
from vramplan.calibrate.result import FIGURES, Calibration, Figure, Fit, Residual

from .document import Document, opening
from .figures import share
from .profiles import constants_table, interval, refusals
from .sheet import Block, Cell, Column, Heading, Items, Lines, Sheet, Table

_LEGEND = (
    "Median errors in percent of the measured figure, predicted / measured - 1: without a profile, of the fitted runs, "
    "with the run's model left out of the fit (its cell where there are fewer than three models), and of the fifth of "
    "the cells that is kept from a second fit. The interval is where nine in ten of measured / predicted - 1 lie, "
    "model left out; inside = runs that the interval of the others holds."
)
_NAMES: dict[Figure, str] = {"tokens_per_s": "tokens/s"}
_SHOWN_REASONS = 8


def sheet(calibration: Calibration, /) -> Sheet:
    """For people."""
    return tuple(_blocks(calibration))


def _blocks(calibration: Calibration) -> Iterator[Block]:
    for fit in calibration.fits:
        yield from _fit(fit)
    if any(fit.residuals for fit in calibration.fits):
        yield Lines((Cell(_LEGEND, "dim"),))
    if calibration.too_few:
        yield Heading("Too few runs to fit")
        yield Items(tuple(f"{who}: {count}" for who, count in calibration.too_few.items()))
    if calibration.left_out:
        yield Heading("Not used")
        reasons = list(calibration.left_out.items())
        rows = [(Cell(f"{count:,}"), Cell(reason)) for reason, count in reasons[:_SHOWN_REASONS]]
        rest = sum(count for _, count in reasons[_SHOWN_REASONS:])
        rows += [(Cell(f"{rest:,}"), Cell("for other reasons"))] if rest else []
        yield Table(columns=(Column("runs", "right", True), Column("reason")), rows=tuple(rows))
    if not any(fit.profile.constants for fit in calibration.fits):
        yield Lines((Cell("No profile: these runs tell no constant.", "warn"),))
    elif calibration.saved:
        yield Lines(tuple(Cell(f"written: {path}") for path in calibration.saved))


def _fit(fit: Fit) -> Iterator[Block]:
    profile = fit.profile
    models = "1 model" if len(profile.models) == 1 else f"{len(profile.models)} models"
    yield Heading(f"{profile.name}: {fit.runs} runs, {models}")
    if profile.constants:
        yield constants_table((profile,))
    if profile.refused:
        yield Items(refusals(profile))
    figures = [figure for figure in FIGURES if fit.of(figure)]
    if figures:
        titles = ("runs", "without", "fitted", "left out", "90th", "worst", "held out")
        yield Table(
            columns=(Column("error, %", whole=True), *(Column(title, "right", True) for title in titles)),
            rows=tuple(_errors(fit, figure) for figure in figures),
        )
        yield Table(
            columns=(Column("interval", whole=True), *(Column(title, "right", True) for title in ("90 %", "inside"))),
            rows=tuple(_interval(fit, figure) for figure in figures),
        )
        yield from _models(fit, figures)


def _errors(fit: Fit, figure: Figure) -> tuple[Cell, ...]:
    group = fit.of(figure)
    left_out = spread([r.left_out for r in group])
    bare = [r.uncalibrated for r in group if r.uncalibrated is not None]
    held = [r.by_cell for r in group if r.by_cell is not None]
    return (
        Cell(_NAMES.get(figure, figure)),
        Cell(str(len(group))),
        Cell(share(spread(bare).median) if bare else "-"),
        Cell(share(spread([r.in_sample for r in group]).median)),
        Cell(share(left_out.median), "strong"),
        Cell(share(left_out.percentile_90)),
        Cell(share(left_out.worst, "+")),
        Cell(share(spread(held).median) if held else "-"),
    )


def _interval(fit: Fit, figure: Figure) -> tuple[Cell, ...]:
    inside = fit.coverage.get(figure)
    counted = Cell("{} of {}".format(*inside) if inside else "-")
    return Cell(_NAMES.get(figure, figure)), Cell(interval(fit.profile, figure)), counted


def _models(fit: Fit, figures: list[Figure]) -> Iterator[Block]:
    """Median error of each model while it was left out."""
    if len({r.unit for r in fit.residuals} & set(fit.profile.models)) < 2:
        return
    yield Table(
        columns=(Column("model left out"), *(Column(_NAMES.get(f, f), "right", True) for f in figures)),
        rows=tuple(
            (Cell(model), *(Cell(_median([r for r in fit.of(f) if r.model == model])) for f in figures))
            for model in fit.profile.models
        ),
    )


def _median(group: list[Residual]) -> str:
    return share(percentile([abs(r.left_out) for r in group], 0.5)) if group else "-"


def document(calibration: Calibration, /) -> dict[str, Any]:
    """JSON of `calibrate`."""
    return opening() | {
        "files": list(calibration.files),
        "fits": [_fit_document(fit) for fit in calibration.fits],
        "too_few": dict(calibration.too_few),
        "left_out": dict(calibration.left_out),
        "saved": list(calibration.saved),
    }


def _fit_document(fit: Fit) -> Document:
    return {
        "profile": fit.profile.as_dict(),
        "runs": fit.runs,
        "residuals": [asdict(residual) for residual in fit.residuals],
        "coverage": {figure: {"inside": inside, "asked": asked} for figure, (inside, asked) in fit.coverage.items()},
    }
