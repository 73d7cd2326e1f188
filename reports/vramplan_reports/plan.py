"""The answer to `vramplan plan`: what to rent, why, the front of time and money; or what stands in the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from vramplan.cost import Job
from vramplan.plan.command import estimate_command, shell_lines
from vramplan.plan.result import Pick, Plan, Plans, Relaxation

from .cost import hired, money
from .figures import gib, many
from .header import VERDICTS, knob_values
from .picture import Dot, write_front
from .plan_document import document as document
from .plan_words import cards_of, method_of, name_of, time_of, why
from .plot import Point, plot
from .sheet import Block, Cell, Column, Drawing, Flow, Heading, Items, Lines, Sheet, Table

MARKS = {"cheapest": "C", "balanced": "B", "fastest": "F"}
_SHOWN_ON_FRONT = 12
COMMAND_WIDTH = 80


def sheet(plans: Plans, /) -> Sheet:
    return tuple(_blocks(plans))


def _blocks(plans: Plans) -> Iterator[Block]:
    model = plans.model
    asked = f"{model.alias} = " if model.alias and model.alias != model.id else ""
    yield Heading(f"{asked}{model.id}")
    looked = f"{plans.cards} cards with a price, {plans.fitting} ways to train that fit, {plans.offers:,} offers"
    yield Lines((Cell(_job(plans)), Cell(_wishes(plans)), Cell(looked, "dim")))
    if plans.left_out:
        yield Items(plans.left_out)
    if plans.found:
        yield from _answer(plans)
    else:
        yield from _nothing(plans)


def _answer(plans: Plans) -> Iterator[Block]:
    first = plans.picks[0].plan
    merged = _merged(plans.picks)
    yield Table(
        columns=(Column(""), *(Column(", ".join(kinds), "right") for kinds, _ in merged)),
        rows=tuple((Cell(label, "dim"), *(cell(plan) for _, plan in merged)) if label else () for label, cell in _ROWS),
    )
    yield Items((*map(why, plans.picks), *_side_notes(plans)))
    yield Heading("Run")
    commands = (estimate_command(name_of(plans), plan.gpu, plan.recipe) for _, plan in merged)
    yield Drawing(tuple(line for words in dict.fromkeys(commands) for line in shell_lines(words, COMMAND_WIDTH)))
    yield Flow((*knob_values(tuple(plan.recipe for _, plan in merged)), "--export KIND writes its configuration"))
    if len(plans.front) > 1:
        yield Heading("Time against money: nothing known is both faster and cheaper")
        if len(plans.front) > 2:
            yield Drawing(_picture(plans))
        yield _front(plans)
    if len(plans.by_method) > 1:
        yield Heading("The cheapest of each method")
        yield _listing(plans.by_method)
    notes = tuple(dict.fromkeys(note for pick in plans.picks for note in (*pick.plan.notes, *pick.plan.cost.notes)))
    yield Items((*notes, _basis(first)))


def _basis(plan: Plan) -> str:
    kind = {"fitted": "a fitted profile", "assumed": "published runs"}[plan.speed.source]
    return (
        f"Speed from {kind}; ranges hold nine in ten runs, and the spread of the price. Storage, traffic and tax are "
        "not in the cost, and what the methods learn is not compared. `vramplan bench run` measures a few steps first."
    )


def _merged(picks: tuple[Pick, ...]) -> list[tuple[list[str], Plan]]:
    """A plan that is best in several senses once."""
    found: list[tuple[list[str], Plan]] = []
    for pick in picks:
        same = next((kinds for kinds, plan in found if plan == pick.plan), None)
        if same is None:
            found.append(([pick.kind], pick.plan))
        else:
            same.append(pick.kind)
    return found


def _kind(plan: Plan) -> str:
    price = plan.cost.hire.price
    return f"{price.kind.replace('_', ' ')}, {price.date.isoformat()}" + (" stale" if plan.cost.hire.stale else "")


def _memory(plan: Plan) -> str:
    return f"{gib(plan.need_bytes)} of {gib(plan.gpu.capacity_bytes)} GiB"


def _state(on: bool) -> str:
    return "on" if on else "off"


_ROWS: tuple[tuple[str, Callable[[Plan], Cell]], ...] = (
    ("cards", lambda p: Cell(cards_of(p), "strong")),
    ("from", lambda p: Cell(" ".join(filter(None, (p.cost.hire.price.provider, p.cost.hire.price.region))))),
    ("price", lambda p: Cell(f"${p.cost.hire.usd_per_hour:,.2f}/h")),
    ("", lambda p: Cell("")),
    ("cost", lambda p: Cell(money(p.usd, p.cost.currency), "strong")),
    ("  likely", lambda p: Cell(f"{p.cost.low:,.2f} – {p.cost.high:,.2f}", "dim")),
    ("time", lambda p: Cell(time_of(p.hours), "strong")),
    ("  likely", lambda p: Cell(" – ".join(map(time_of, p.cost.hours_interval)), "dim")),
    ("", lambda p: Cell("")),
    ("memory", lambda p: VERDICTS[p.verdict]),
    ("  each needs at most", lambda p: Cell(_memory(p))),
    ("jobs on one card", lambda p: Cell(str(p.side_by_side) if p.gpus == 1 else "-")),
    ("tokens/s of a card", lambda p: Cell(many(round(p.speed.tokens_per_s_per_gpu)))),
    ("  bound by", lambda p: Cell(p.speed.bound_by)),
    ("method", lambda p: Cell(p.recipe.method)),
    ("sharding", lambda p: Cell(p.recipe.sharding if p.gpus > 1 else "-")),
    ("batch x accumulated", lambda p: Cell(f"{p.recipe.batch} x {p.recipe.grad_accum}")),
    ("checkpointing", lambda p: Cell(_state(p.recipe.checkpointing))),
    ("loss", lambda p: Cell(p.recipe.loss)),
    ("optimizer", lambda p: Cell(p.recipe.optimizer)),
    ("quant", lambda p: Cell(p.recipe.quant)),
    ("steps", lambda p: Cell(f"{p.cost.work.steps:,}")),
)


def _side_notes(plans: Plans) -> Iterator[str]:
    several = [pick.plan for pick in plans.picks if pick.plan.side_by_side > 1]
    for plan in several[:1]:
        yield (
            f"{plan.side_by_side} such jobs fit side by side on one {plan.gpu.key}; together they are hardly faster "
            "than one after another."
        )


def _front(plans: Plans) -> Table:
    marks: dict[int, str] = {}
    for pick in plans.picks:
        marks[id(pick.plan)] = marks.get(id(pick.plan), "") + MARKS[pick.kind]
    return _listing(_thinned(plans.front, marks), marks)


def _thinned(front: tuple[Plan, ...], marks: dict[int, str]) -> tuple[Plan, ...]:
    """At most a dozen, spread over the front; the picks among them."""
    if len(front) <= _SHOWN_ON_FRONT:
        return front
    last = len(front) - 1
    kept = {round(n * last / (_SHOWN_ON_FRONT - 1)) for n in range(_SHOWN_ON_FRONT)}
    return tuple(plan for place, plan in enumerate(front) if place in kept or id(plan) in marks)


def _listing(found: tuple[Plan, ...], marks: dict[int, str] | None = None) -> Table:
    columns = (
        Column("USD", "right"), Column("time", "right"), Column("cards", whole=True), Column("from"), Column("kind"),
        Column("method"), Column("batch", "right"), Column(""),
    )  # fmt: skip
    rows = tuple(
        (
            Cell(f"{plan.usd:,.2f}"), Cell(time_of(plan.hours)), Cell(cards_of(plan)),
            Cell(plan.cost.hire.price.provider),
            Cell(plan.cost.hire.price.kind.replace("_", " ")), Cell(method_of(plan)),
            Cell(f"{plan.recipe.batch} x {plan.recipe.grad_accum}"), Cell((marks or {}).get(id(plan), "")),
        )
        for plan in found
    )  # fmt: skip
    return Table(columns=columns, rows=rows)


def _picture(plans: Plans) -> tuple[str, ...]:
    points = [Point(float(plan.hours), float(plan.usd), "o") for plan in plans.front]
    points += [Point(float(p.plan.hours), float(p.plan.usd), MARKS[p.kind]) for p in plans.picks]
    return plot(points, "hours (C cheapest, B balanced, F fastest)", "USD")


def _job(plans: Plans) -> str:
    job: Job = plans.job
    epochs = "" if job.epochs == 1 else f" x {job.epochs.normalize():f} epochs"
    if job.tokens is not None:
        return f"{many(job.tokens)} tokens{epochs}"
    if job.data is not None:
        return f"{job.data.lengths.examples:,} examples of a file, {many(job.data.lengths.tokens)} tokens{epochs}"
    return f"{many(job.examples or 0)} examples of {job.length:,} tokens{epochs}"


def _wishes(plans: Plans) -> str:
    wishes, market = plans.wishes, plans.market
    assumed = " (assumed)" if wishes.effective_batch is None else ""
    parts = [f"steps of {wishes.sequences_per_step} sequences or more{assumed}"]
    if wishes.batch is not None or wishes.grad_accum is not None:
        parts = [f"batch {wishes.batch or 'any'} x {wishes.grad_accum or 'any'}"]
    if wishes.budget_usd is not None:
        parts.append(f"budget {money(wishes.budget_usd)}")
    if wishes.deadline_s is not None:
        parts.append(f"deadline in {time_of(Decimal(wishes.deadline_s) / 3600)}")
    own = "own price" if market.machine is None else "own machine"
    parts += [own if market.is_own else " or ".join(market.kinds).replace("_", " ")]
    parts += [", ".join(names) for names in (market.providers, market.regions) if names]
    return " · ".join([*parts, *(["no quantisation"] if wishes.no_quantization else [])])


def _nothing(plans: Plans) -> Iterator[Block]:
    yield Lines((Cell(_verdict(plans), "bad"),))
    if plans.nearest is not None:
        yield Heading("Nearest")
        yield _listing((plans.nearest,))
        yield Lines((Cell(hired(plans.nearest.cost.hire)),))
    if plans.relaxations:
        yield Heading("What to relax")
        yield Table(
            columns=(Column("wish"), Column("from", "right"), Column("to", "right"), Column("gives")),
            rows=tuple(
                (
                    Cell(found.constraint),
                    Cell(found.asked),
                    Cell(found.needed + _by(found), "strong"),
                    Cell(_short(found.plan)),
                )
                for found in plans.relaxations
            ),
        )
    else:
        yield Items(("no single wish, relaxed alone, lets a plan through",))


def _by(found: Relaxation) -> str:
    """How much further: (+12 %)."""
    return "" if found.excess is None else f" ({100 * found.excess:+,.0f} %)"


def _short(plan: Plan) -> str:
    return f"{cards_of(plan)} {method_of(plan)}, {money(plan.usd)}, {time_of(plan.hours)}"


def _verdict(plans: Plans) -> str:
    if not plans.fitting:
        return "Nothing will do: no card with a price holds this training."
    if not plans.offers:
        return "Nothing will do: the cards that hold it are not for hire on these terms."
    return "Nothing will do: every offer misses the budget or the deadline."


def write_picture(path: str, plans: Plans) -> None:
    """The front as a page that needs no network. Raises UnsupportedError without plotly."""
    marks = {id(pick.plan): pick.kind for pick in reversed(plans.picks)}
    shown = plans.front or (() if plans.nearest is None else (plans.nearest,))
    write_front(path, f"{name_of(plans)}: time against money", [_dot(plan, marks.get(id(plan), "")) for plan in shown])


def _dot(plan: Plan, kind: str) -> Any:
    low, high = plan.cost.hours_interval
    return Dot(
        hours=float(plan.hours), usd=float(plan.usd), hours_range=(float(low), float(high)),
        usd_range=(float(plan.cost.low), float(plan.cost.high)), kind=kind,
        label=f"{cards_of(plan)}, {plan.cost.hire.price.provider}, {plan.recipe.method}",
    )  # fmt: skip
