"""The fastest recipe that fits, for every card, number of cards and method: a whole grid through numpy.

Cards of one kind make the same tensors and the same work (`cards.kind_of`), so a recipe is described once a kind, with
its micro-batches as an array, and then set against all cards of the kind at once. Several cards share the data (torch's
DDP); weights, gradients and states in parts (FSDP) are looked at where a whole copy does not fit on a card.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ..cost.job import CHECKPOINT_BYTES_PER_S
from ..recipe import ResolvedRecipe
from .cards import Cards, kind_of
from .choices import choices
from .question import Epochs, Found, Question, saved_bytes
from .timing import Best, Timed, Works

if TYPE_CHECKING:
    from ..gpu import Gpu
    from ..profile import Profile
    from ..recipe import Method
    from .wishes import Wishes

    Member = tuple[Gpu, Profile | None]

SMALLEST_IN_PARTS_BYTES = 15 * 2**30
"""Smaller cards are not looked at with a model in parts."""


def search(question: Question) -> Iterator[Found]:
    """For each card, number of cards and method the recipe that fits and ends the job first, where one fits."""
    kinds: dict[tuple[bool, ...], list[Member]] = {}
    for gpu, profile in question.cards:
        kinds.setdefault(kind_of(gpu), []).append((gpu, profile))
    epochs = Epochs(question)
    for members in kinds.values():
        for method in question.wishes.methods:
            yield from _of_method(question, members, method, epochs)


def _of_method(question: Question, members: list[Member], method: Method, epochs: Epochs) -> Iterator[Found]:
    """One copy on each card; in parts where that is asked for, or where a copy does not fit."""
    asked, counts = question.recipe.sharding, question.wishes.counts
    whole: set[tuple[str, int]] = set()
    if asked in ("none", "ddp"):
        whole_counts = tuple(n for n in counts if n > 1 or asked == "none")
        own = replace(question.recipe, sharding="none", gpus=1)
        gpu = members[0][0]
        tried = choices(own, method, question.stack, gpu, question.wishes)
        for found in _fastest(question, members, tried, whole_counts, epochs):
            whole.add((found.gpu.key, found.gpus))
            yield found
    if asked == "ddp":
        return
    for gpus in (n for n in counts if n > 1):
        left = members if asked != "none" else [m for m in members if _needs_parts(m[0], gpus, whole)]
        if left:
            own = replace(question.recipe, gpus=gpus, sharding="fsdp" if asked == "none" else asked)
            tried = choices(own, method, question.stack, left[0][0], question.wishes)
            yield from _fastest(question, left, tried, (gpus,), epochs)


def _needs_parts(gpu: Gpu, gpus: int, whole: set[tuple[str, int]]) -> bool:
    """No copy fits on such a card, and it is of a size to share."""
    return (gpu.key, gpus) not in whole and gpu.has_bf16 and gpu.capacity_bytes >= SMALLEST_IN_PARTS_BYTES


def _fastest(
    question: Question, members: list[Member], tried: tuple[ResolvedRecipe, ...], counts: tuple[int, ...],
    epochs: Epochs,
) -> Iterator[Found]:  # fmt: skip
    """Of the recipes of one method, on the cards of one kind. Recipes in parts are those of the one count."""
    if not tried or not counts:
        return
    wishes = question.wishes
    cards = Cards(members, "fp16" if "fp16" in (tried[0].autocast, tried[0].dtype) else "bf16")
    best = {gpus: Best(cards) for gpus in counts}
    works = Works()
    checkpoints: list[tuple[int, int]] = []
    for place, recipe in enumerate(tried):
        checkpoints.append((0, 0))
        for accumulates in (False, True):
            used = {gpus: _batches(wishes, gpus, accumulates=accumulates) for gpus in counts}
            batches = sorted({batch for found in used.values() for batch in found})
            if not batches or not len(cards):
                continue
            timed = Timed(question, recipe, members[0][0], batches, cards, works=works, accumulates=accumulates)
            checkpoints[place] = timed.described.checkpoint
            for gpus, own in used.items():
                if own:
                    timed.offer(best[gpus], [batches.index(batch) for batch in own], gpus, place, epochs)
    for gpus, found in best.items():
        yield from _found(cards, gpus, found, tried, checkpoints, epochs)


def _batches(wishes: Wishes, gpus: int, *, accumulates: bool) -> list[int]:
    """Micro-batches that need more than one for a step, or only one."""
    return [batch for batch in wishes.batches(gpus) if (wishes.accumulation(batch, gpus) > 1) == accumulates]


def _found(
    cards: Cards, gpus: int, best: Best, tried: tuple[ResolvedRecipe, ...], checkpoints: list[tuple[int, int]],
    epochs: Epochs,
) -> Iterator[Found]:  # fmt: skip
    question = epochs.question
    for row, (gpu, profile) in enumerate(zip(cards.gpus, cards.profiles, strict=True)):
        if best.total_s[row] == float("inf"):
            continue
        batch, place = int(best.batch[row]), int(best.choice[row])
        recipe = replace(
            tried[place], batch=batch, grad_accum=question.wishes.accumulation(batch, gpus), gpus=gpus,
            sharding="ddp" if tried[place].gpus < gpus else tried[place].sharding,
        )  # fmt: skip
        yield Found(
            gpu=gpu,
            profile=profile,
            gpus=gpus,
            recipe=recipe,
            need_bytes=int(best.need[row]),
            train_s=float(best.train_s[row]),
            total_s=float(best.total_s[row]),
            checkpoint=checkpoints[place],
            write_s=saved_bytes(question.job, checkpoints[place]) / CHECKPOINT_BYTES_PER_S,
            processed_tokens=epochs.work(recipe, batch, gpus).processed_tokens,
        )
