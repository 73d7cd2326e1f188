"""The answer to `vramplan estimate`: methods side by side, the verdict first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from vramplan.estimate.result import Answer, Estimate, Group

from .document import answers_document
from .figures import gib, many, percent, signed_gib
from .header import differing_knobs, knobs, title, verdict
from .sheet import Block, Cell, Column, Flow, Heading, Items, Lines, Sheet, Table

MAIN_GROUPS: tuple[Group, ...] = ("weights", "adapters", "gradients", "optimizer", "activations", "logits")
_SHOWN_LEVERS = 3
_NONE = Cell("-", "dim")

Row = Callable[[Estimate], Cell]


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
    yield Table(columns=columns, rows=tuple(_rows(answer)))
    if answer.gpu is not None and not answer.any_fits:
        yield from _ways_out(answer)
    if notes := _notes(answer.estimates):
        yield Items(notes)
    yield Lines((Cell(_provenance(answer), "dim"),))


def _rows(answer: Answer) -> Iterator[tuple[Cell, ...]]:
    def row(label: str, value: Row) -> tuple[Cell, ...]:
        return (Cell(label), *(value(e) for e in answer.estimates))

    if answer.gpu is not None:
        yield row("verdict", verdict)
    yield row("needs, GiB", lambda e: Cell(gib(e.memory.device_bytes), "strong"))
    yield row("  likely between", lambda e: Cell("{} – {}".format(*map(gib, e.memory.device_interval_bytes)), "dim"))
    if answer.gpu is not None:
        yield row("to spare, GiB", lambda e: Cell(signed_gib(e.headroom_bytes or 0)))
        batch, seq_len = answer.estimates[0].recipe.batch, answer.estimates[0].recipe.seq_len
        yield row(
            f"largest batch at seq-len {seq_len}", lambda e: _or_none(e.largest_micro_batch or None, "{:,}".format)
        )
        yield row(f"longest seq-len at batch {batch}", lambda e: _or_none(e.longest_seq_len or None, "{:,}".format))
    yield row("peak in", lambda e: Cell(e.memory.binding_phase.replace("_", " ")))
    yield ()
    yield row("at the peak, GiB", lambda e: Cell(""))
    for group in MAIN_GROUPS:
        yield row(f"  {group}", lambda e, group=group: _amount(_at_peak(e, group)))  # type: ignore[misc]
    yield row("  rest", lambda e: _amount(e.memory.device_bytes - sum(_at_peak(e, group) for group in MAIN_GROUPS)))
    yield row("trained parameters", lambda e: Cell(many(e.parameters.trainable)))
    yield row("  of all", lambda e: Cell(percent(e.parameters.trainable, e.parameters.total)))
    differing = tuple(differing_knobs(answer.estimates))
    if differing:
        yield ()
    for knob, values in differing:
        yield (Cell(knob), *map(Cell, values))


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
        ways.append(
            f"{estimate.recipe.method} with {lever.knob} {lever.value} would need {gib(lever.device_bytes)} GiB"
        )
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
    counts = ", ".join(f"{sources.count(kind)} {kind}" for kind in ("exact", "fitted", "assumed"))
    return f"{len(sources)} terms: {counts}. `vramplan explain`, asked the same way, shows each."
