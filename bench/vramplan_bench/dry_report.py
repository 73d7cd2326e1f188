"""A dry run for people and programs: what each phase holds, and what was alive at the peak, so that one sees why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from vramplan import __version__
from vramplan_reports.figures import gib, many
from vramplan_reports.sheet import Bar, Bars, Block, Cell, Column, Flow, Heading, Items, Lines, Sheet, Table

from .answer import DryAnswer

SCHEMA_VERSION = 1
GROUPS = ("weights", "adapters", "optimizer", "gradients", "activations", "logits", "workspace")
LISTED = 12
"""Kinds of storages in the table; the document holds all."""


def by_group(result: Any) -> dict[str, int]:
    """Bytes alive at the peak, by what they are."""
    sums = dict.fromkeys(GROUPS, 0)
    for part in result.alive_at_peak:
        sums[part.group] += part.bytes
    return {name: size for name, size in sums.items() if size}


def document(answer: DryAnswer) -> dict[str, Any]:
    """JSON-ready: per run the record, the peak by group, and every kind of storage alive at it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "vramplan_version": __version__,
        "model": {"id": answer.model, "layers": answer.results[0].layers},
        "gpu": answer.gpu.key if answer.gpu else None,
        "dry_runs": [
            {
                "method": record.request.recipe["method"],
                "record": record.as_dict(),
                "depths_run": list(result.depths),
                "binding_phase": result.binding_phase,
                "steady_bytes": result.steady_bytes,
                "totals": asdict(result.facts),
                "groups": [{"group": name, "bytes": size} for name, size in by_group(result).items()],
                "alive_at_peak": [asdict(part) for part in result.alive_at_peak],
                "allocator": asdict(replayed) if replayed is not None else None,
                "duration_s": round(result.seconds, 2),
            }
            for record, result, replayed in zip(answer.records, answer.results, answer.replays, strict=True)
        ],
    }


def sheet(answer: DryAnswer) -> Sheet:
    """The same as headings, bars and tables."""
    return tuple(_blocks(answer))


def _blocks(answer: DryAnswer) -> Iterator[Block]:
    yield Heading(f"{answer.model}, dry run")
    card = (
        f"as on one {answer.gpu.name} ({answer.gpu.key})"
        if answer.gpu
        else "as on an A100; --gpu KEY names another card"
    )
    yield Lines((Cell(f"{answer.results[0].layers} layers, {card}"),))
    for record, result, replayed in zip(answer.records, answer.results, answer.replays, strict=True):
        yield from _one(record, result, replayed)


def _one(record: Any, result: Any, replayed: Any) -> Iterator[Block]:
    recipe = record.request.recipe
    yield Heading(f"{recipe['method']}: {gib(result.peak_bytes, 2)} GiB allocated, in {result.binding_phase}")
    words = ("stack", "quant", "dtype", "autocast", "optimizer", "batch", "seq_len", "attention", "loss")
    yield Flow(tuple(f"{knob.replace('_', '-')} {recipe[knob]}" for knob in words))
    peak = max(result.phase_peaks.values())
    yield Bars(
        tuple(
            Bar(name.replace("_", " "), f"{gib(size, 2)} GiB", size / peak) for name, size in result.phase_peaks.items()
        )
    )
    yield Heading("held at the peak")
    yield Bars(tuple(Bar(name, f"{gib(size, 2)} GiB", size / peak) for name, size in by_group(result).items()))
    yield _storages(result)
    yield Items(tuple(_notes(record, result, replayed)))


def _storages(result: Any) -> Table:
    shown = result.alive_at_peak[:LISTED]
    rows = [
        (
            Cell(gib(part.bytes, 2)),
            Cell(f"{part.count:,}"),
            Cell(part.group),
            Cell("x".join(map(str, part.shape)) + f" {part.dtype}"),
            Cell(" ".join(filter(None, (part.operator.removeprefix("aten::"), _short(part.module))))),
        )
        for part in shown
    ]
    columns = (
        Column("GiB", align="right"),
        Column("tensors", align="right"),
        Column("what"),
        Column("shape"),
        Column("made by"),
    )
    return Table(columns, tuple(rows))


def _short(module: str) -> str:
    """The path without what all have in common."""
    return module.removeprefix("base_model.model.").removeprefix("model.")


def _notes(record: Any, result: Any, replayed: Any) -> Iterator[str]:
    facts, effective = result.facts, record.effective
    trained = ", ".join(effective.trainable_dtypes)
    yield f"{many(facts.parameters)} parameters, {many(facts.trainable)} trained ({trained})"
    yield f"{effective.optimizer}, attention {effective.attention}, " + ", ".join(
        f"{package} {version}" for package, version in effective.versions.items()
    )
    if len(result.depths) > 1:
        ran = " and ".join(map(str, result.depths))
        yield f"{ran} layers ran, a line gave {result.layers}; --full-depth runs all, and tells reserved bytes"
    if replayed is not None:
        yield (
            f"caching allocator: {gib(replayed.allocated_bytes, 2)} GiB in blocks, "
            f"{gib(replayed.reserved_bytes, 2)} GiB reserved, {replayed.retries} flushes"
        )
        if record.reason:
            yield record.reason
    yield f"{result.seconds:.1f} s"
