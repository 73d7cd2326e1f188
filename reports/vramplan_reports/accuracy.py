"""The answer to `vramplan accuracy`: errors tier by tier, verdicts against outcomes, and what was not answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from vramplan.accuracy import Accuracy, Measured, Predicted, Row, Spread, TierAccuracy, Verdicts
from vramplan.estimator.result import Verdict
from vramplan.runs import Outcome

from .document import Document, opening
from .figures import percent, share
from .sheet import Block, Cell, Column, Heading, Items, Lines, Sheet, Table, Tone

_SHOWN_IDS = 5
_SHOWN_REASONS = 20
_SHOWN_BAD_ROWS = 10
_SAID: dict[str, str] = {"does_not_fit": "does not fit", "presumed_oom": "presumed oom"}
_LEGEND = (
    "Errors in percent of the measured figure: predicted / measured - 1. Median and 90th percentile are of their size; "
    "a minus means that too little was predicted."
)


def sheet(accuracy: Accuracy, /) -> Sheet:
    """For people."""
    return tuple(_blocks(accuracy))


def _blocks(accuracy: Accuracy) -> Iterator[Block]:
    counts = {status: sum(row.status == status for row in accuracy.rows) for status in ("unsupported", "error")}
    yield Heading(f"{len(accuracy.rows)} runs of {', '.join(map(_plain, accuracy.files))}")
    lines = [
        f"{accuracy.answered} answered, {counts['unsupported']} not described yet, {counts['error']} unreadable",
        f"on one GPU: {_share(accuracy.single_gpu_answered, accuracy.single_gpu)} answered",
    ]
    yield Lines(tuple(map(Cell, lines)))
    if accuracy.profile:
        yield Lines((Cell(f"with profile {accuracy.profile} where it applies"),))
    yield from _verdicts(accuracy.verdicts)
    for tier in accuracy.tiers:
        yield from _tier(tier)
    if accuracy.tiers:
        yield Lines((Cell(_LEGEND, "dim"),))
    yield from _unanswered(accuracy)


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({percent(part, whole)})"


def _plain(text: str) -> str:
    """Names out of a file, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _verdicts(verdicts: Verdicts) -> Iterator[Block]:
    if not verdicts.counts:
        return
    said: tuple[Verdict, ...] = get_args(Verdict)
    outcomes = [outcome for outcome in get_args(Outcome) if verdicts.of(outcome)]
    yield Heading("Verdicts")
    yield Table(
        columns=(Column("outcome", whole=True), *(Column(_SAID.get(verdict, verdict), "right") for verdict in said)),
        rows=tuple(
            (
                Cell(_SAID.get(outcome, outcome)),
                *(Cell(f"{verdicts.counts.get((outcome, verdict), 0):,}") for verdict in said),
            )
            for outcome in outcomes
        ),
    )
    found = (
        ("missed OOM", verdicts.missed_ooms, verdicts.of("oom")),
        ("missed presumed OOM", verdicts.missed_presumed_ooms, verdicts.of("presumed_oom")),
        ("false alarms", verdicts.false_alarms, verdicts.of("ok", "fits")),
    )
    yield Lines(tuple(_misses(what, ids, whole) for what, ids, whole in found))


def _misses(what: str, ids: tuple[str, ...], whole: int) -> Cell:
    tone: Tone = "plain" if not ids else "warn" if what == "missed presumed OOM" else "bad"
    named = ", ".join(map(_plain, ids[:_SHOWN_IDS])) + (", …" if len(ids) > _SHOWN_IDS else "")
    return Cell(f"{what}: {_share(len(ids), whole)}" + (f": {named}" if ids else ""), tone)


def _tier(tier: TierAccuracy) -> Iterator[Block]:
    yield Heading("Tokens a second" if tier.tier == "tokens_per_s" else tier.tier.capitalize())
    groups = (
        (tier.by_sample, "sample"), (tier.by_card, "card"), (tier.by_stack, "stack"), (tier.by_method, "method"),
        (tier.by_model, "model"),
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = [_spread("all", tier.overall)]
    for spreads, name in groups:
        if not spreads:
            continue
        rows += [(), (Cell(f"by {name}", "dim"), *(Cell(""),) * 5), *_spreads(spreads)]
    numbers = ("runs", "median", "90th", "worst", "lowest")
    yield Table(columns=(Column(""), *(Column(title, "right", True) for title in numbers)), rows=tuple(rows))


def _spreads(spreads: Mapping[str, Spread]) -> Iterator[tuple[Cell, ...]]:
    for name, spread in spreads.items():
        yield _spread(f"  {_plain(name)}", spread)


def _spread(name: str, spread: Spread) -> tuple[Cell, ...]:
    return (
        Cell(name),
        Cell(f"{spread.count:,}"),
        Cell(share(spread.median)),
        Cell(share(spread.percentile_90)),
        Cell(share(spread.worst, "+")),
        Cell(share(spread.worst_under, "+") if spread.worst_under else "-"),
    )


def _unanswered(accuracy: Accuracy) -> Iterator[Block]:
    if accuracy.reasons:
        yield Heading("Not described yet")
        reasons = list(accuracy.reasons.items())
        rows = [(Cell(f"{count:,}"), Cell(_plain(reason))) for reason, count in reasons[:_SHOWN_REASONS]]
        rest = sum(count for _, count in reasons[_SHOWN_REASONS:])
        rows += [(Cell(f"{rest:,}"), Cell("for other reasons"))] if rest else []
        yield Table(columns=(Column("runs", "right", True), Column("reason")), rows=tuple(rows))
    bad = [row.reason or "" for row in accuracy.rows if row.status == "error"]
    if bad:
        yield Heading("Rows that cannot be read")
        more = [f"and {len(bad) - _SHOWN_BAD_ROWS} more"] if len(bad) > _SHOWN_BAD_ROWS else []
        yield Items(tuple(map(_plain, bad[:_SHOWN_BAD_ROWS] + more)))


def document(accuracy: Accuracy, /) -> dict[str, Any]:
    """contract.md's JSON of `accuracy`."""
    verdicts = accuracy.verdicts
    return opening() | {
        "files": list(accuracy.files),
        "profile": accuracy.profile,
        "rows": [_row(row) for row in accuracy.rows],
        "summary": {
            "answered": accuracy.answered,
            "single_gpu": accuracy.single_gpu,
            "single_gpu_answered": accuracy.single_gpu_answered,
            "tiers": {tier.tier: _tier_document(tier) for tier in accuracy.tiers},
            "verdicts": [
                {"outcome": outcome, "fits": verdict, "count": count}
                for (outcome, verdict), count in sorted(verdicts.counts.items())
            ],
            "missed_ooms": list(verdicts.missed_ooms),
            "missed_presumed_ooms": list(verdicts.missed_presumed_ooms),
            "false_alarms": list(verdicts.false_alarms),
            "unsupported": dict(accuracy.reasons),
        },
    }


def _row(row: Row) -> Document:
    return {
        "id": row.id,
        "where": row.where,
        "status": row.status,
        "reason": row.reason,
        "assumed": dict(row.assumed),
        "speed_reason": row.speed_reason,
        "in_sample": row.fitted,
        "predicted": None if row.predicted is None else _predicted(row.predicted),
        "measured": None if row.measured is None else _measured(row.measured),
    }


def _predicted(predicted: Predicted) -> Document:
    return {
        "allocated_bytes": predicted.allocated_bytes,
        "reserved_bytes": predicted.reserved_bytes,
        "device_bytes": predicted.device_bytes,
        "tokens_per_s_per_gpu": predicted.tokens_per_s_per_gpu,
        "fits": predicted.fits,
    }


def _measured(measured: Measured) -> Document:
    return {
        "allocated_bytes": measured.allocated_bytes,
        "reserved_bytes": measured.reserved_bytes,
        "device_bytes": measured.device_bytes,
        "tokens_per_s_per_gpu": measured.tokens_per_s_per_gpu,
        "outcome": measured.outcome,
    }


def _tier_document(tier: TierAccuracy) -> Document:
    groups = {
        "by_sample": tier.by_sample, "by_card": tier.by_card, "by_stack": tier.by_stack, "by_method": tier.by_method,
        "by_model": tier.by_model,
    }  # fmt: skip
    found = {key: {name: _spread_document(spread) for name, spread in group.items()} for key, group in groups.items()}
    return {"overall": _spread_document(tier.overall)} | found


def _spread_document(spread: Spread) -> Document:
    return {
        "count": spread.count,
        "median": spread.median,
        "percentile_90": spread.percentile_90,
        "worst": spread.worst,
        "worst_under": spread.worst_under,
    }
