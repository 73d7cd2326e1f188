"""The answer to `vramplan explain`: where the bytes of one recipe are, when, why, and what would save most."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vramplan.estimator.result import Answer, Estimate, Memory, Term
from vramplan.units import MIB

from .document import answers_document
from .estimate import price_line
from .figures import dollars, gib, many, milliseconds, percent, signed_gib, whole
from .header import change, knobs, title, verdict
from .sheet import Bar, Bars, Block, Cell, Column, Entries, Entry, Flow, Heading, Items, Lines, Sheet, Table

SMALLEST_SHOWN_BYTES = MIB
"""Terms below this are named but not explained in the table; JSON has them all."""
_DECIMALS = 3


def document(answers: tuple[Answer, ...], /) -> dict[str, Any]:
    """The same document as `estimate`: it holds every term already."""
    return answers_document(answers)


def sheet(answers: tuple[Answer, ...], /) -> Sheet:
    return tuple(block for answer in answers for block in _explanations(answer))


def _explanations(answer: Answer) -> Iterator[Block]:
    for estimate in answer.estimates:
        yield from title(answer)
        yield Lines(tuple(_summary(estimate, answer)))
        yield Flow(knobs((estimate,)))
        yield from _phases(estimate.memory)
        yield from _terms(estimate.memory)
        yield from _tiers(estimate.memory)
        yield from _speed(estimate)
        yield from _levers(estimate)
        if estimate.notes:
            yield Heading("Notes")
            yield Items(estimate.notes)


def _summary(estimate: Estimate, answer: Answer) -> Iterator[Cell]:
    trained = f"{many(estimate.parameters.trainable)} parameters ({_share_trained(estimate)})"
    yield Cell(f"{estimate.recipe.method} trains {trained}")
    if answer.gpu is not None and estimate.headroom_bytes is not None:
        needs, spare = gib(estimate.memory.device_bytes), signed_gib(estimate.headroom_bytes)
        said = verdict(estimate)
        yield Cell(
            f"{said.text}: needs {needs} of {gib(answer.gpu.capacity_bytes)} GiB, at least {spare} to spare", said.tone
        )


def _share_trained(estimate: Estimate) -> str:
    return percent(estimate.parameters.trainable, estimate.parameters.total)


def _phases(memory: Memory) -> Iterator[Block]:
    longest = max(phase.allocated_bytes for phase in memory.phases) or 1
    yield Heading("Peak of each phase (allocated, GiB)")
    yield Bars(
        tuple(
            Bar(
                label=phase.name.replace("_", " "),
                value=gib(phase.allocated_bytes, 2),
                share=phase.allocated_bytes / longest,
                mark="← the peak" if phase.name == memory.binding_phase else "",
            )
            for phase in memory.phases
        )
    )


def _terms(memory: Memory) -> Iterator[Block]:
    peak = memory.binding_phase
    there = [term for term in memory.terms if peak in term.phases]
    elsewhere = [term for term in memory.terms if peak not in term.phases]
    yield Heading(f"At the peak, in {peak.replace('_', ' ')} (GiB)")
    yield _ledger(there, memory)
    if elsewhere:
        yield Heading("Only in other phases (GiB)")
        yield _ledger(elsewhere, memory)


def _ledger(terms: list[Term], memory: Memory) -> Entries:
    """Largest first; those that round to nothing share one entry."""
    terms = sorted(terms, key=lambda term: -term.bytes)
    entries = [_entry(term, memory) for term in terms if term.bytes >= SMALLEST_SHOWN_BYTES]
    small = [term for term in terms if term.bytes < SMALLEST_SHOWN_BYTES]
    if small:
        amount, names = gib(sum(term.bytes for term in small), _DECIMALS), ", ".join(term.name for term in small)
        entries.append(Entry(amount=amount, name=f"{len(small)} smaller terms", aside="", body=names))
    return Entries(titles=("GiB", "term", "lives in · source", "formula"), entries=tuple(entries))


def _entry(term: Term, memory: Memory) -> Entry:
    everywhere = len(term.phases) == len(memory.phases)
    phases = "every phase" if everywhere else ", ".join(term.phases).replace("_", " ")
    aside = f"{phases} · {term.source}"
    return Entry(amount=gib(term.bytes, _DECIMALS), name=term.name, aside=aside, body=term.formula)


def _tiers(memory: Memory) -> Iterator[Block]:
    low, high = memory.device_interval_bytes
    rows = (
        ("allocated", gib(memory.allocated_bytes, 2), "what tensors take, each rounded up to 512 B"),
        ("reserved", gib(memory.reserved_bytes, 2), "what PyTorch's allocator holds with room to spare"),
        ("device", gib(memory.device_bytes, 2), f"what nvidia-smi shows; likely {gib(low, 2)} – {gib(high, 2)}"),
    )
    yield Heading("Three tiers (GiB)")
    yield Table(
        columns=(Column(""), Column("", "right"), Column("")),
        rows=tuple((Cell(name), Cell(size, "strong"), Cell(meaning, "dim")) for name, size, meaning in rows),
    )


def _speed(estimate: Estimate) -> Iterator[Block]:
    """Where the time of a step goes, and what it costs."""
    speed, cost = estimate.speed, estimate.cost
    if speed is None:
        return
    yield Heading("Time of a step (ms)")
    between = " – ".join(map(whole, speed.interval))
    said = [
        f"{whole(speed.tokens_per_s_per_gpu)} tokens/s, likely {between}; {milliseconds(speed.step_time_s)} ms a step"
    ]
    said.append(f"most of it: {speed.bound_by}; {speed.flops_per_token / 1e9:,.4g} GFLOP a token")
    if speed.mfu is not None:
        said[-1] += f", {percent(round(1000 * speed.mfu), 1000)} of the card's peak (MFU, without recomputation)"
    if cost is not None:
        low, high = map(dollars, cost.interval)
        said.append(f"${dollars(cost.usd_per_million_tokens)} per million tokens, likely {low} – {high}")
    yield Lines((*map(Cell, said), *price_line((estimate,))))
    entries = (
        Entry(
            amount=milliseconds(term.duration_s),
            name=term.name,
            aside=f"{term.bound} · {term.source}",
            body=term.formula,
        )
        for term in sorted(speed.terms, key=lambda term: -term.duration_s)
    )
    if speed.terms:
        yield Entries(titles=("ms", "part", "bound by · source", "formula"), entries=tuple(entries))


def _levers(estimate: Estimate) -> Iterator[Block]:
    if not estimate.levers:
        return
    yield Heading("What one change would save (device, at the upper end, GiB)")
    yield Table(
        columns=(Column("change"), Column("saves", "right"), Column("needs then", "right"), Column("")),
        rows=tuple(
            (
                Cell(change(lever)),
                Cell(gib(lever.saved_bytes, 2)),
                Cell(gib(lever.device_bytes, 2)),
                Cell("makes it fit", "good") if lever.makes_it_fit and estimate.verdict == "does_not_fit" else Cell(""),
            )
            for lever in sorted(estimate.levers, key=lambda lever: -lever.saved_bytes)
        ),
    )
