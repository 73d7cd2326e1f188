"""The answer to `vramplan estimate`: methods side by side, the verdict first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from vramplan.estimator.result import Answer, CostRate, Estimate, Group

from .document import answers_document
from .figures import dollars, gib, many, percent, signed_gib, whole
from .header import change, differing_knobs, knobs, title, verdict
from .sheet import Block, Cell, Column, Flow, Heading, Items, Lines, Sheet, Table

MAIN_GROUPS: tuple[Group, ...] = ("weights", "adapters", "gradients", "optimizer", "activations", "logits")
_SHOWN_LEVERS = 3
_NONE = Cell("-", "dim")


def document(answers: tuple[Answer, ...], /) -> dict[str, Any]:
    """contract.md's JSON of `estimate`."""
    return answers_document(answers)


def sheet(answers: tuple[Answer, ...], /) -> Sheet:
    """One comparison per card."""
    return tuple(block for answer in answers for block in _comparison(answer))


def _comparison(answer: Answer) -> Iterator[Block]:
    yield from title(answer)
    yield Flow(knobs(answer.estimates))
    columns = (Column(""), *(Column(e.recipe.method, "right") for e in answer.estimates))
    yield Table(columns=columns, rows=tuple(_rows(answer.estimates)))
    if answer.gpu is not None and not answer.any_fits:
        yield from _ways_out(answer)
    if notes := _notes(answer.estimates):
        yield Items(notes)
    yield Lines((*price_line(answer.estimates), Cell(_provenance(answer), "dim")))


def _rows(estimates: tuple[Estimate, ...]) -> Iterator[tuple[Cell, ...]]:
    """A column per estimate; then the knobs in which their recipes differ."""
    for figures in zip(*map(_figures, estimates), strict=True):
        label = figures[0][0]
        yield (Cell(label), *(cell for _, cell in figures)) if label else ()
    for knob, values in differing_knobs(estimates):
        yield (Cell(knob), *map(Cell, values))


def _figures(estimate: Estimate) -> Iterator[tuple[str, Cell]]:
    """What there is to say of one estimate, label by label; the labels are the same for all of one answer."""
    memory, asked, parameters = estimate.memory, estimate.recipe, estimate.parameters
    if estimate.verdict is not None:
        yield "verdict", verdict(estimate)
    yield "needs, GiB", Cell(gib(memory.device_bytes), "strong")
    yield "  likely between", Cell("{} – {}".format(*map(gib, memory.device_interval_bytes)), "dim")
    if estimate.headroom_bytes is not None:
        yield "to spare at least, GiB", Cell(signed_gib(estimate.headroom_bytes))
        yield f"largest batch at seq-len {asked.seq_len}", _limit(estimate.largest_micro_batch)
        yield f"longest seq-len at batch {asked.batch}", _limit(estimate.longest_seq_len)
        yield from _rate(estimate)
    yield "peak in", Cell(memory.binding_phase.replace("_", " "))
    yield "", Cell("")
    yield "at the peak, GiB", Cell("")
    rest = memory.device_bytes
    for group in MAIN_GROUPS:
        size = _at_peak(estimate, group)
        rest -= size
        yield f"  {group}", _amount(size)
    yield "  rest", _amount(rest)
    yield "", Cell("")
    yield "trained parameters", Cell(many(parameters.trainable))
    yield "  of all", Cell(percent(parameters.trainable, parameters.total))


def _rate(estimate: Estimate) -> Iterator[tuple[str, Cell]]:
    """Speed and cost; nothing to show where the memory does not suffice."""
    runs = estimate.verdict != "does_not_fit"
    speed, cost = (estimate.speed, estimate.cost) if runs else (None, None)
    yield "tokens/s", Cell(whole(speed.tokens_per_s_per_gpu)) if speed else _NONE
    yield "  likely between", Cell(" – ".join(map(whole, speed.interval)), "dim") if speed else _NONE
    yield "$ per million tokens", Cell(dollars(cost.usd_per_million_tokens) + stale_mark(cost)) if cost else _NONE


def price_line(estimates: Iterable[Estimate]) -> Iterator[Cell]:
    """The price behind the costs shown: all of one answer have the same."""
    cost = next((e.cost for e in estimates if e.cost is not None and e.verdict != "does_not_fit"), None)
    if cost is None:
        return
    price = cost.price
    text = f"${dollars(cost.usd_per_hour)} a GPU hour: {price.provider} {price.region} {price.instance}"
    text += f", {price.kind.replace('_', ' ')}, {price.date.isoformat()}"
    yield Cell(text + (" * stale" if cost.stale else ""), "warn" if cost.stale else "dim")


def stale_mark(cost: CostRate) -> str:
    return " *" if cost.stale else ""


def _at_peak(estimate: Estimate, group: Group) -> int:
    """Bytes of a group that live in the binding phase."""
    memory = estimate.memory
    return sum(t.bytes for t in memory.terms if t.group == group and memory.binding_phase in t.phases)


def _amount(size_bytes: int) -> Cell:
    return Cell(gib(size_bytes)) if size_bytes else _NONE


def _limit(count: int | None) -> Cell:
    return Cell(f"{count:,}") if count else _NONE


def _ways_out(answer: Answer) -> Iterator[Block]:
    """What to do when nothing fits: another card, or one change of the recipe."""
    ways: list[str] = []
    if answer.smallest_gpus:
        cards = ", ".join(f"{gpu.key} ({gib(gpu.capacity_bytes, 0)} GiB)" for gpu in answer.smallest_gpus)
        ways.append(f"{answer.smallest_gpus_method} would fit on {cards}")
    changes = [(e, lever) for e in answer.estimates for lever in e.levers]
    enough = [(e, lever) for e, lever in changes if lever.makes_it_fit]
    for estimate, lever in enough[:_SHOWN_LEVERS]:
        needs = gib(lever.device_bytes)
        ways.append(f"{estimate.recipe.method} with {change(lever)} would need {needs} GiB")
    if not enough:
        ways.append("no single change of the recipe makes it fit")
    yield Heading("What would fit")
    yield Items(tuple(ways))


def _notes(estimates: tuple[Estimate, ...]) -> tuple[str, ...]:
    """Every note once; one that does not hold for all methods names its own."""
    holders: dict[str, list[str]] = {}
    for estimate in estimates:
        for note in estimate.notes:
            holders.setdefault(note, []).append(estimate.recipe.method)
    everywhere = len(estimates)
    return tuple(note if len(who) == everywhere else f"{', '.join(who)}: {note}" for note, who in holders.items())


def _provenance(answer: Answer) -> str:
    sources = [term.source for estimate in answer.estimates for term in estimate.memory.terms]
    counts = ", ".join(f"{sources.count(kind)} {kind}" for kind in ("exact", "fitted", "assumed") if kind in sources)
    return f"{len(sources)} terms: {counts}. `vramplan explain`, asked the same way, shows each."
