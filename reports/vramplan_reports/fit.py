"""The answer to `vramplan fit`: limits, the frontier of batch and length with its heat map, the largest models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vramplan.gpu import Gpu
from vramplan.plan.fit import CardFit, CardModels, Fit, HeldModels
from vramplan.recipe import LIMITS

from .document import Document, gpu_document, model_document, opening
from .figures import gib, many
from .header import VERDICTS, differing_values, knob_values, on_card, opening_of
from .heat import LEGEND, Heat, heat_table
from .sheet import Block, Cell, Column, Flow, Heading, Items, Lines, Sheet, Table

_NONE = Cell("-", "dim")
MEANING = "Each limit fits at the cautious end of the estimate, and one more does not."


class _LimitsReport:
    """What cards hold of one model."""

    def sheet(self, cards: tuple[CardFit, ...], /) -> Sheet:
        return tuple(block for card in cards for block in _limits(card))

    def document(self, cards: tuple[CardFit, ...], /) -> Document:
        return _one_or_answers([_card_document(card) for card in cards])


class _ModelsReport:
    """The largest models that cards hold."""

    def sheet(self, cards: tuple[CardModels, ...], /) -> Sheet:
        return tuple(block for card in cards for block in _models(card))

    def document(self, cards: tuple[CardModels, ...], /) -> Document:
        return _one_or_answers([_models_document(card) for card in cards])


FRONTIER, MODELS = _LimitsReport(), _ModelsReport()


def _one_or_answers(documents: list[Document]) -> Document:
    """One answer as itself, several (one per card) under `answers`."""
    return opening() | (documents[0] if len(documents) == 1 else {"answers": documents})


def _limits(card: CardFit) -> Iterator[Block]:
    yield from opening_of(card.model, card.gpu, card.profile, card.fits[0].recipe.gpus)
    recipes = tuple(fit.recipe for fit in card.fits)
    yield Flow(knob_values(recipes))
    columns = (Column(""), *(Column(fit.recipe.method, "right") for fit in card.fits))
    rows = [*_limit_rows(card), *((Cell(knob), *map(Cell, values)) for knob, values in differing_values(recipes))]
    yield Table(columns=columns, rows=tuple(rows))
    if any(fit.frontier for fit in card.fits):
        yield Heading("Largest batch of each length")
        yield _frontier(card.fits)
    for fit in card.fits:
        if any(point.largest_batch for point in fit.frontier):
            yield Heading(f"{fit.recipe.method}: batch (down) x length (across)")
            yield _heat(fit, card.gpu)
    yield Lines((Cell(MEANING, "dim"), *((Cell(LEGEND, "dim"),) if any(f.frontier for f in card.fits) else ())))


def _limit_rows(card: CardFit) -> Iterator[tuple[Cell, ...]]:
    asked = card.fits[0].recipe
    yield (Cell("as asked"), *(VERDICTS[fit.verdict] for fit in card.fits))
    if card.fits[0].largest_batch is not None:
        yield (
            Cell(f"largest batch at seq-len {asked.seq_len}"),
            *(_limit(f.largest_batch, "batch") for f in card.fits),
        )
    if card.fits[0].longest_seq_len is not None:
        yield (
            Cell(f"longest seq-len at batch {asked.batch}"),
            *(_limit(f.longest_seq_len, "seq_len") for f in card.fits),
        )
    if any(fit.highest_rank is not None for fit in card.fits):
        label = f"highest rank at batch {asked.batch}, seq-len {asked.seq_len}"
        yield (Cell(label), *(_limit(fit.highest_rank, "rank") for fit in card.fits))


def _limit(count: int | None, knob: str) -> Cell:
    """`-` for none; the planner's own ceiling is no limit of the card."""
    if not count:
        return _NONE
    return Cell(f"{count:,}" if count < LIMITS[knob] else f"{count:,} or more", "strong")


def _frontier(fits: tuple[Fit, ...]) -> Table:
    columns = (Column("seq-len", "right"), *(Column(fit.recipe.method, "right") for fit in fits))
    rows = zip(*(fit.frontier for fit in fits), strict=True)
    return Table(
        columns=columns,
        rows=tuple((Cell(f"{row[0].seq_len:,}"), *(_limit(p.largest_batch, "batch") for p in row)) for row in rows),
    )


def _heat(fit: Fit, gpu: Gpu) -> Table:
    cells = {
        (f"{cell.batch:,}", f"{cell.seq_len:,}"): Heat(cell.need_bytes / gpu.capacity_bytes, cell.verdict)
        for cell in fit.cells
    }
    return heat_table("", list(dict.fromkeys(row for row, _ in cells)), list(dict.fromkeys(c for _, c in cells)), cells)


def _models(card: CardModels) -> Iterator[Block]:
    yield Heading(f"The largest models {on_card(card.gpu, card.methods[0].recipe.gpus)}")
    yield Flow(knob_values(tuple(held.recipe for held in card.methods)))
    for held in card.methods:
        yield Heading(f"{held.recipe.method}: {held.held} of {held.described} models fit")
        if held.models:
            yield _held(held, card.gpu)
    yield Items(("by parameters; needs at the cautious end of the estimate",))


def _held(held: HeldModels, gpu: Gpu) -> Table:
    columns = (Column("model"), Column("parameters", "right"), Column("needs, GiB", "right"), Column("of it", "right"))
    return Table(
        columns=columns,
        rows=tuple(
            (
                Cell(model.id),
                Cell(many(model.parameters)),
                Cell(gib(model.need_bytes)),
                Cell(f"{100 * model.need_bytes / gpu.capacity_bytes:.0f} %"),
            )
            for model in held.models
        ),
    )


def _card_document(card: CardFit) -> Document:
    return {
        "model": model_document(card.model),
        "gpu": gpu_document(card.gpu) | {"count": card.fits[0].recipe.gpus},
        "profile": card.profile.name if card.profile else None,
        "fits": [
            {
                "method": fit.recipe.method,
                "recipe": fit.recipe.as_dict(),
                "verdict": fit.verdict,
                "largest_batch": fit.largest_batch,
                "longest_seq_len": fit.longest_seq_len,
                "highest_rank": fit.highest_rank,
                "frontier": [{"seq_len": p.seq_len, "largest_batch": p.largest_batch} for p in fit.frontier],
                "cells": [
                    {"batch": c.batch, "seq_len": c.seq_len, "need_bytes": c.need_bytes, "verdict": c.verdict}
                    for c in fit.cells
                ],
            }
            for fit in card.fits
        ],
    }


def _models_document(card: CardModels) -> Document:
    return {
        "gpu": gpu_document(card.gpu),
        "methods": [
            {
                "method": held.recipe.method,
                "recipe": held.recipe.as_dict(),
                "held": held.held,
                "described": held.described,
                "models": [
                    {"id": model.id, "parameters": model.parameters, "need_bytes": model.need_bytes}
                    for model in held.models
                ],
            }
            for held in card.methods
        ],
    }


def write_picture(path: str, cards: tuple[CardFit, ...]) -> None:
    """The heat maps as one page. Raises UnsupportedError without plotly."""
    from .picture import HeatMap, write_heat_maps

    drawn = [(card, fit) for card in cards for fit in card.fits if fit.cells]
    fitting = [(card, fit) for card, fit in drawn if any(point.largest_batch for point in fit.frontier)]
    maps = [_heat_map(card, fit) for card, fit in fitting or drawn]
    title = f"{cards[0].model.id}: percent of the card, batch x length"
    write_heat_maps(path, title, maps or [HeatMap(title="nothing asked", x=(), y=(), values=(), notes=())])


def _heat_map(card: CardFit, fit: Fit) -> Any:
    from .picture import HeatMap

    lengths = tuple(dict.fromkeys(cell.seq_len for cell in fit.cells))
    batches = tuple(dict.fromkeys(cell.batch for cell in fit.cells))
    by_place = {(cell.batch, cell.seq_len): cell for cell in fit.cells}
    rows = [[by_place[batch, length] for length in lengths] for batch in batches]
    return HeatMap(
        title=f"{fit.recipe.method} on {card.gpu.key}",
        x=tuple(f"{length:,}" for length in lengths),
        y=tuple(f"{batch:,}" for batch in batches),
        values=tuple(tuple(100 * cell.need_bytes / card.gpu.capacity_bytes for cell in row) for row in rows),
        notes=tuple(tuple(VERDICTS[cell.verdict].text for cell in row) for row in rows),
    )
