"""What a card holds: the largest batch, length and rank, the frontier between batch and length, the largest models.

"Holds" is the verdict `fits`: the cautious end of the interval is inside the card's memory, as in an estimate. Every
limit is exact in that sense: it fits and one more does not, at no batch, length or rank above.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from ..catalog import as_stack, models
from ..errors import UnknownNameError, UnsupportedError, VramplanError
from ..estimator.answer import memory_tiers
from ..estimator.result import Verdict
from ..estimator.search import Evaluator
from ..recipe import METHODS, Method, Recipe, ResolvedRecipe
from ..resolve import resolve

if TYPE_CHECKING:
    from ..gpu import Gpu
    from ..model import Model
    from ..profile import Profile
    from ..stack import Stack

What = Literal["batch", "seq-len", "rank", "frontier", "model"]
LIMITS_OF_A_RECIPE: tuple[What, ...] = ("batch", "seq-len", "rank", "frontier")
WHAT: tuple[What, ...] = get_args(What)

SHORTEST, LONGEST, LENGTHS = 512, 1_048_576, 8
"""The frontier's lengths double from the shortest; at most eight of them, so that a table holds them."""
MOST_BATCH_ROWS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One batch and length: bytes on the device at the cautious end, and the verdict."""

    batch: int
    seq_len: int
    need_bytes: int
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierPoint:
    """The largest batch of a length; 0 = not even one sequence fits."""

    seq_len: int
    largest_batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What a card holds of one method. None = not asked for (a rank: also where nothing has one)."""

    recipe: ResolvedRecipe
    verdict: Verdict
    """Of the recipe as asked."""
    largest_batch: int | None
    longest_seq_len: int | None
    highest_rank: int | None
    frontier: tuple[FrontierPoint, ...]
    cells: tuple[Cell, ...]
    """The frontier's surroundings: lengths across, batches 1, 2, 4 … down."""

    @property
    def anything_fits(self) -> bool:
        limits = (self.largest_batch, self.longest_seq_len, self.highest_rank)
        return any(limits) or any(point.largest_batch for point in self.frontier)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFit:
    """What one card holds of one model, method by method."""

    model: Model
    gpu: Gpu
    fits: tuple[Fit, ...]
    profile: Profile | None = None
    """Whose constants were used."""

    @property
    def anything_fits(self) -> bool:
        return any(fit.anything_fits for fit in self.fits)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldModel:
    """A model of the catalogue that fits, and what it needs at the cautious end."""

    id: str
    parameters: int
    need_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldModels:
    """The largest models of the catalogue that a card holds with one method, most parameters first."""

    recipe: ResolvedRecipe
    models: tuple[HeldModel, ...]
    held: int
    """Of the catalogue, as many fit."""
    described: int
    """Out of as many that the estimate describes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardModels:
    """The largest models that one card holds, method by method."""

    gpu: Gpu
    methods: tuple[HeldModels, ...]

    @property
    def anything_fits(self) -> bool:
        return any(method.held for method in self.methods)


def fit(
    model: Model,
    gpu: Gpu,
    recipe: Recipe,
    *,
    methods: tuple[Method, ...] = METHODS,
    stack: Stack | str = "trl",
    profile: Profile | None = None,
    what: tuple[What, ...] = LIMITS_OF_A_RECIPE,
) -> CardFit:
    """The limits of training `model` on `gpu`, each with the other knobs as `recipe` has them.

    Raises VramplanError; a knob that a method cannot take is refused where that method alone is asked for.
    """
    if unknown := [name for name in what if name not in LIMITS_OF_A_RECIPE]:
        raise UnknownNameError("limit", unknown[0], LIMITS_OF_A_RECIPE, hint="some of " + ", ".join(LIMITS_OF_A_RECIPE))
    found = as_stack(stack)
    resolved = [resolve(recipe, method, found, gpu, strict=len(methods) == 1) for method in methods]
    evaluators = [Evaluator(model, one, found, gpu, profile) for one in resolved]
    lengths = _lengths(model, gpu, evaluators) if "frontier" in what else ()
    return CardFit(
        model=model, gpu=gpu, fits=tuple(_fit(e, gpu, what, lengths) for e in evaluators), profile=profile
    )  # fmt: skip


def _fit(evaluator: Evaluator, gpu: Gpu, what: tuple[What, ...], lengths: tuple[int, ...]) -> Fit:
    capacity, recipe = gpu.capacity_bytes, evaluator.recipe
    frontier = tuple(
        FrontierPoint(seq_len=n, largest_batch=evaluator.with_changes(seq_len=n).largest_micro_batch(capacity))
        for n in lengths
    )
    return Fit(
        recipe=recipe,
        verdict=_judged(evaluator)[1],
        largest_batch=evaluator.largest_micro_batch(capacity) if "batch" in what else None,
        longest_seq_len=evaluator.longest_seq_len(capacity) if "seq-len" in what else None,
        highest_rank=evaluator.highest_rank(capacity) if "rank" in what and recipe.has_adapters else None,
        frontier=frontier,
        cells=tuple(_cell(evaluator, batch, n) for batch in _batches(frontier) for n in lengths),
    )


def _cell(e: Evaluator, batch: int, seq_len: int) -> Cell:
    need_bytes, verdict = _judged(e.with_changes(batch=batch, seq_len=seq_len))
    return Cell(batch=batch, seq_len=seq_len, need_bytes=need_bytes, verdict=verdict)


def _judged(e: Evaluator) -> tuple[int, Verdict]:
    """Bytes on the device at the cautious end, and the verdict."""
    tier, verdict = memory_tiers(e.model, e.recipe, e.stack, e.gpu, e.profile)
    assert verdict is not None  # there is a card
    return tier.edge_high_bytes, verdict


def _lengths(model: Model, gpu: Gpu, evaluators: list[Evaluator]) -> tuple[int, ...]:
    """Doubling lengths up to the longest that any method holds with one sequence, or the model's context."""
    longest = max(e.with_changes(batch=1).longest_seq_len(gpu.capacity_bytes) for e in evaluators)
    end = min(max(longest, SHORTEST), model.max_position_embeddings or LONGEST, LONGEST)
    lengths = [min(SHORTEST, end)]
    while lengths[-1] * 2 <= end and len(lengths) < LENGTHS:
        lengths.append(lengths[-1] * 2)
    return tuple(lengths)


def _batches(frontier: tuple[FrontierPoint, ...]) -> tuple[int, ...]:
    """Powers of two, up to the first that fits at no length of the frontier."""
    largest = max((point.largest_batch for point in frontier), default=-1)
    if largest < 0:
        return ()
    return tuple(2**n for n in range(min(largest.bit_length() + 1, MOST_BATCH_ROWS)))


def largest_models(
    gpu: Gpu,
    recipe: Recipe,
    *,
    methods: tuple[Method, ...] = METHODS,
    stack: Stack | str = "trl",
    profile: Profile | None = None,
    count: int = 8,
) -> CardModels:
    """The `count` largest models of the catalogue that `gpu` holds, for every method, by parameters.

    Models that the estimate cannot describe, or not with this recipe, are left out and not counted.
    """

    found = as_stack(stack)
    described: list[Model] = []
    for entry in models():
        try:
            described.append(entry.model())
        except UnsupportedError:
            continue
    described.sort(key=lambda model: -model.parameters)
    resolved = [resolve(recipe, method, found, gpu, strict=len(methods) == 1) for method in methods]
    return CardModels(
        gpu=gpu,
        methods=tuple(_held(described, gpu, one, found, profile, count) for one in resolved),
    )


def _held(
    models: list[Model], gpu: Gpu, recipe: ResolvedRecipe, stack: Stack, profile: Profile | None, count: int
) -> HeldModels:
    held: list[HeldModel] = []
    described = 0
    for model in models:
        try:
            need, verdict = _judged(Evaluator(model, recipe, stack, gpu, profile))
        except VramplanError:
            continue
        described += 1
        if verdict == "fits":
            held.append(HeldModel(id=model.id, parameters=model.parameters, need_bytes=need))
    return HeldModels(recipe=recipe, models=tuple(held[:count]), held=len(held), described=described)
