"""What to rent for a job: search, prices, ranking; and where nothing meets the wishes, which of them to give up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from decimal import ROUND_CEILING, Decimal

from ..cost.market import Market
from ..errors import UnsupportedError, VramplanError
from ..price import current_date
from ..recipe import METHODS
from .question import Found, Question
from .rank import Bills, Offer, cheapest_by_method, excess, front_of, meets, nearly_best, offers_of, picks_of
from .result import Plan, Plans, Relaxation
from .search import search

SHORTEST = 128
"""Tokens below which a shorter sequence is no way out."""
NAMED_CARDS = 8
"""More are not listed in a message."""


def find_plans(question: Question, market: Market, *, today: date | None = None) -> Plans:
    """The cheapest, the balanced and the fastest way to do a job within its wishes, and the front between them.

    Prices are those of `market`, their age counts from `today`. Cards without a price are not looked at. Raises
    VramplanError where no card has a price under these terms, and for a model that cannot be described.
    """
    _need_numpy()
    day = today or current_date()
    everything = question
    question = _priced(question, market, day)
    if not question.cards:
        named = [card.key for card, _ in everything.cards]
        among = f" among {', '.join(named)}" if len(named) <= NAMED_CARDS else ""
        raise VramplanError(f"no card with a price{among}: {_terms(market)}; `vramplan prices` lists what there is")
    found = list(search(question))
    offers = offers_of(found, market, day)
    bills, wishes = Bills(question, market), question.wishes
    front = front_of(plan for offer in nearly_best(offers) if meets(plan := bills.plan(offer), wishes))
    nearest = None if front or not offers else bills.plan(min(offers, key=lambda offer: excess(offer, wishes)))
    return Plans(
        model=question.model,
        stack=question.stack.name,
        job=question.job,
        wishes=wishes,
        market=market,
        cards=len(question.cards),
        fitting=len(found),
        offers=len(offers),
        picks=picks_of(front, offers, bills, wishes),
        front=front,
        by_method=cheapest_by_method(offers, bills, wishes) if front else (),
        nearest=nearest,
        relaxations=() if front else tuple(_relaxations(everything, market, day, found, offers, bills)),
    )


def _need_numpy() -> None:
    try:
        import numpy  # noqa: F401
    except ImportError as error:
        raise UnsupportedError("a plan needs numpy: pip install 'vramplan[plan]'") from error


def _priced(question: Question, market: Market, today: date) -> Question:
    """Without the cards that have no price."""
    return replace(question, cards=tuple(card for card in question.cards if market.hires(card[0], 1, today)))


def _terms(market: Market) -> str:
    parts = [", ".join(market.kinds), *market.providers, *market.regions]
    return " · ".join(part for part in parts if part)


def _relaxations(
    question: Question, market: Market, today: date, found: Sequence[Found], offers: Sequence[Offer], bills: Bills
) -> Iterator[Relaxation]:
    """Single constraints that, given up or moved, let a plan through."""
    yield from _more_money_or_time(question, offers, bills)
    for constraint, asked, needed, changed, terms in _changes(question, market):
        priced = _priced(changed, terms, today)
        if changed is question:  # what a card holds is known: only cards that had no price are new
            new = tuple(card for card in priced.cards if card not in bills.question.cards)
            plan = _best(priced, terms, today, [*found, *search(replace(priced, cards=new))])
        else:
            plan = _best(priced, terms, today, search(priced))
        if plan is not None:
            yield Relaxation(constraint=constraint, asked=asked, needed=needed, excess=None, plan=plan)


def _more_money_or_time(question: Question, offers: Sequence[Offer], bills: Bills) -> Iterator[Relaxation]:
    wishes = question.wishes
    if wishes.budget_usd is not None:
        free = replace(wishes, budget_usd=None)
        plans = front_of(plan for offer in nearly_best(offers) if meets(plan := bills.plan(offer), free))
        if plans:
            plan = plans[0]
            yield Relaxation(
                constraint="--budget", asked=f"{wishes.budget_usd:,f}", needed=f"{plan.usd:,}",
                excess=float(plan.usd / wishes.budget_usd) - 1, plan=plan,
            )  # fmt: skip
    if wishes.deadline_s is not None:
        free = replace(wishes, deadline_s=None)
        plans = front_of(plan for offer in nearly_best(offers) if meets(plan := bills.plan(offer), free))
        if plans:
            plan, asked_h = plans[-1], Decimal(wishes.deadline_s) / 3600
            yield Relaxation(
                constraint="--deadline", asked=f"{_ceiled(asked_h)} h", needed=f"{_ceiled(plan.hours)} h",
                excess=float(plan.hours / asked_h) - 1, plan=plan,
            )  # fmt: skip


def _ceiled(hours: Decimal) -> Decimal:
    return hours.quantize(Decimal("0.1"), ROUND_CEILING)


Change = tuple[str, str, str, Question, Market]


def _changes(question: Question, market: Market) -> Iterator[Change]:
    """Wishes other than money and time, each given up alone."""
    wishes, recipe = question.wishes, question.recipe
    if not market.is_own:
        if "spot" not in market.kinds:
            kinds = (*market.kinds, "spot")
            yield "--kind", ", ".join(market.kinds), "spot too", question, replace(market, kinds=kinds)
        if market.providers:
            yield "--provider", ", ".join(market.providers), "any", question, replace(market, providers=())
        if market.regions:
            yield "--region", ", ".join(market.regions), "any", question, replace(market, regions=())
    if wishes.no_quantization:
        yield "--no-quantization", "on", "off", replace(question, wishes=replace(wishes, no_quantization=False)), market
    if set(wishes.methods) != set(METHODS):
        anyhow = replace(question, wishes=replace(wishes, methods=METHODS))
        yield "--method", ", ".join(wishes.methods), "any", anyhow, market
    if max(wishes.counts) == 1:
        together = replace(question, wishes=replace(wishes, counts=(1, 2, 4, 8)))
        yield "--gpus", "1", "up to 8", together, market
    if recipe.seq_len // 2 >= SHORTEST and question.job.tokens is not None:
        shorter = replace(question, recipe=replace(recipe, seq_len=recipe.seq_len // 2))
        yield "--seq-len", str(recipe.seq_len), str(recipe.seq_len // 2), shorter, market


def _best(question: Question, market: Market, today: date, found: Iterable[Found]) -> Plan | None:
    """The cheapest plan that meets the wishes."""
    offers = offers_of(found, market, today)
    bills = Bills(question, market)
    front = front_of(p for offer in nearly_best(offers) if meets(p := bills.plan(offer), question.wishes))
    return front[0] if front else None
