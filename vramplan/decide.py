"""The questions behind a decision, asked by name: what a card holds, what many recipes take, what to rent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from os import PathLike
from typing import TYPE_CHECKING, Any

from .api import chosen_profile
from .catalog import as_gpu, as_model, as_stack
from .catalog import gpus as all_gpus
from .errors import VramplanError
from .gpu import Gpu
from .model import Model
from .plan import fit as fitting
from .recipe import METHODS, Method, Recipe

if TYPE_CHECKING:
    from datetime import date

    import pandas

    from .cost import Job, Market
    from .plan.fit import CardFit, CardModels, What
    from .plan.result import Plans
    from .plan.sweep import Columns, Subject
    from .plan.wishes import Wishes
    from .profile import Profile
    from .stack import Stack


def fit(
    model: Model | str | PathLike[str],
    gpu: Gpu | str,
    recipe: Recipe | None = None,
    *,
    methods: tuple[Method, ...] | None = None,
    stack: Stack | str = "trl",
    profile: Profile | str | None = None,
    what: tuple[What, ...] = fitting.LIMITS_OF_A_RECIPE,
    online: bool = False,
) -> CardFit:
    """The largest batch, length and rank with which `gpu` holds the training of `model`, and the frontier between.

    Names or objects, as in `vramplan.estimate`. Raises `VramplanError`.
    """
    card = as_gpu(gpu)
    return fitting.fit(
        as_model(model, online=online),
        card,
        recipe or Recipe(),
        methods=methods or (METHODS if recipe is None else (recipe.method,)),
        stack=stack,
        profile=chosen_profile(profile, card, stack),
        what=what,
    )


def largest_models(
    gpu: Gpu | str,
    recipe: Recipe | None = None,
    *,
    methods: tuple[Method, ...] | None = None,
    stack: Stack | str = "trl",
    profile: Profile | str | None = None,
    count: int = 8,
) -> CardModels:
    """The largest models of the catalogue that `gpu` holds, for every method. Raises `VramplanError`."""
    card = as_gpu(gpu)
    return fitting.largest_models(
        card,
        recipe or Recipe(),
        methods=methods or (METHODS if recipe is None else (recipe.method,)),
        stack=stack,
        profile=chosen_profile(profile, card, stack),
        count=count,
    )


def sweep(
    model: Model | str | PathLike[str] | pandas.DataFrame,
    gpu: Gpu | str | None = None,
    recipe: Recipe | None = None,
    *,
    vary: Mapping[str, str | Sequence[Any]] | Iterable[str] = (),
    stack: Stack | str = "trl",
    profile: Profile | str | None = None,
    online: bool = False,
) -> pandas.DataFrame:
    """Memory, verdict and speed of many recipes as a DataFrame (extra `[sweep]`).

    `vary` names knobs and their values, `{"batch": [1, 2, 4], "seq_len": "512:8192:512", "method": ["lora", "qlora"]}`,
    also model, gpu and stack: every combination is a row. Or `model` is a DataFrame whose columns are knobs, a row for
    each recipe: the figures are put beside it. Other knobs are those of `recipe`. Rows that cannot be described say why
    under `error`. Raises `VramplanError` for unknown names, and where no row can be described.
    """
    from .plan.frame import frame_of, sweep_frame

    base = {"gpu": gpu, "stack": stack, "profile": profile, **_knobs(recipe or Recipe())}
    if hasattr(model, "columns"):
        return sweep_frame(model, base, subjects(online=online))
    return frame_of(sweep_columns({**base, "model": model}, vary, online=online))


def sweep_columns(
    base: Mapping[str, Any], vary: Mapping[str, str | Sequence[Any]] | Iterable[str], *, online: bool = False
) -> Columns:
    """The same as plain numpy columns; `base` has the knobs that do not vary, and model, gpu, stack and profile."""
    from .plan.grid import axes
    from .plan.sweep import need_numpy, sweep_grid

    need_numpy()
    return sweep_grid(axes(vary), base, subjects(online=online))


def _knobs(recipe: Recipe) -> dict[str, Any]:
    return {field.name: getattr(recipe, field.name) for field in fields(recipe)}


def subjects(*, online: bool = False) -> Callable[[Mapping[str, Any]], Subject]:
    """Finds model, card, stack and profile by name, each once."""
    from .plan.sweep import Subject

    @cache
    def found(model: Any, gpu: Any, stack: Any, profile: Any, gpus: int) -> Subject:
        card = as_gpu(gpu)
        return Subject(
            model=as_model(model, online=online),
            gpu=card,
            stack=as_stack(stack),
            profile=chosen_profile(profile, card, stack),
            usd_per_hour=_usd_per_hour(card, gpus),
        )

    def subject_of(knobs: Mapping[str, Any]) -> Subject:
        if knobs.get("model") is None:
            raise VramplanError("no model: a table of recipes needs a column `model`")
        return found(knobs["model"], knobs["gpu"], knobs["stack"], knobs["profile"], knobs["gpus"])

    return subject_of


def _usd_per_hour(gpu: Gpu | None, gpus: int) -> float | None:
    """Of one card, at the price that an estimate takes."""
    from .catalog import prices
    from .cost import hires

    hired = hires(prices(gpu.key), gpu.key, gpus) if gpu else ()
    return float(hired[0].usd_per_hour / gpus) if hired else None


def plan_job(
    model: Model | str | PathLike[str],
    job: Job,
    recipe: Recipe | None = None,
    *,
    wishes: Wishes | None = None,
    market: Market | None = None,
    gpus: Sequence[Gpu | str] = (),
    stack: Stack | str = "trl",
    profile: Profile | str | None = None,
    online: bool = False,
    today: date | None = None,
) -> Plans:
    """What to rent for `job`: the cheapest, the balanced and the fastest plan within `wishes` and `market`.

    Searches all cards with a price, or `gpus`; knobs of `recipe` that are None are searched too, its method, batch,
    accumulation and number of cards are those of `wishes`. Needs numpy (extra `[plan]`). Raises `VramplanError`.
    """
    from .cost import Market
    from .plan.find import find_plans
    from .plan.question import Question
    from .plan.wishes import Wishes

    terms = market or Market()
    if terms.is_own and not gpus:
        raise VramplanError("a price or a machine of your own: say of which card with --gpu")
    cards = [as_gpu(gpu) for gpu in gpus] or [gpu for gpu in all_gpus() if gpu.cuda]
    question = Question(
        model=as_model(model, online=online),
        stack=as_stack(stack),
        recipe=replace(recipe or Recipe(), batch=1, grad_accum=1, gpus=1),
        job=job,
        wishes=wishes or Wishes(),
        cards=tuple((card, chosen_profile(profile, card, stack)) for card in dict.fromkeys(cards)),
    )
    found = find_plans(question, terms, today=today)
    return replace(found, left_out=_left_out(cards, terms, today)) if gpus else found


def _left_out(cards: Sequence[Gpu], market: Market, today: date | None) -> tuple[str, ...]:
    """Of cards that were asked for, those that cannot be planned with, and why."""
    from .speed import why_no_speed

    unpriced = [card.key for card in cards if not market.hires(card, 1, today)]
    slow = {card.key: why for card in cards if (why := why_no_speed(card))}
    said = [f"{key} is left out: no price on these terms" for key in unpriced]
    return (*said, *(f"{key} is left out. {why}" for key, why in slow.items()))
