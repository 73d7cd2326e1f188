"""Records of the rig as runs, so that one comparison serves both."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeVar

from ..errors import VramplanError
from ..record import FULL, RECORDS_SUFFIXES, BadLine, Record, read_records
from ..runs import BadRow, Run

_WORDS = {
    "stack": "stack", "method": "method", "sharding": "sharding", "targets": "targets", "quant": "quant",
    "weights_dtype": "dtype", "autocast": "autocast", "adapter_dtype": "adapter_dtype", "optimizer": "optimizer",
    "attention": "attention", "loss": "loss",
}  # fmt: skip
_COUNTS = {"gpus": "gpus", "rank": "rank", "micro_batch": "batch", "seq_len": "seq_len", "grad_accum": "grad_accum"}
"""Field of a run -> knob of a recipe."""

Plain = TypeVar("Plain", str, int, bool, float)

_UNLIKE = frozenset({"varied_lengths", "waits_for_data"})
"""Flags of a real job whose speed is not that of full batches one after the other."""


def holds_records(path: str | os.PathLike[str]) -> bool:
    """By its name, whatever its first line is; else JSON lines begin with a brace, and no header of a runs file does.
    False too where there is nothing to read."""
    if os.fspath(path).lower().endswith(RECORDS_SUFFIXES):
        return True
    try:
        with open(path, "rb") as file:
            return file.read(64).lstrip()[:1] == b"{"
    except (OSError, ValueError):
        return False


def runs_of_records(path: str | os.PathLike[str]) -> tuple[Run | BadRow, ...]:
    """The records of a file of JSON lines, repeats of a cell numbered; a line that holds none is a bad row.

    Raises VramplanError where no line holds one."""
    seen: dict[str, int] = {}
    rows: list[Run | BadRow] = []

    def bad(line: BadLine) -> None:
        where = f"{os.fspath(path)}, line {line.number}"
        rows.append(BadRow(id=where, where=where, reason=line.reason))

    for number, record in enumerate(read_records(path, bad), 1):
        repeat = seen[record.cell_id] = seen.get(record.cell_id, 0) + 1
        id = record.cell_id if repeat == 1 else f"{record.cell_id}#{repeat}"
        rows.append(_run(record, id, f"{os.fspath(path)}, record {number}"))
    if not rows:
        raise VramplanError(f"{os.fspath(path)}: the file holds no records")
    if all(isinstance(row, BadRow) and row.id == row.where for row in rows):
        first = rows[0]
        assert isinstance(first, BadRow)
        raise VramplanError(f"{os.fspath(path)}: not one of {len(rows)} lines can be read; the first: {first.reason}")
    return tuple(rows)


def _run(record: Record, id: str, where: str) -> Run | BadRow:
    if record.outcome != "ok" and record.outcome not in FULL:
        return BadRow(id=id, where=where, reason=f"{where}: the run failed: {record.reason}")
    return Run(
        id=id,
        where=where,
        outcome="ok" if record.outcome == "ok" else "oom",
        model=record.request.model,
        layers=record.request.layers,
        kind=record.kind,
        context_bytes=None if record.busy else record.context_bytes,
        gpu=record.request.gpu,
        capacity_bytes=record.capacity_bytes,
        allocated_bytes=record.allocated_bytes,
        reserved_bytes=record.reserved_bytes,
        device_bytes=None if record.busy else record.device_bytes,
        tokens_per_s_per_gpu=None if record.busy or _UNLIKE.intersection(record.flags) else record.tokens_per_s,
        **_knobs(record.request.recipe),
    )


def _knobs(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe in the words of a run. Nothing and 0 (rank and targets of a full fine-tune) are unknown there."""
    checkpointing = _typed(recipe.get("checkpointing"), bool)
    return {
        **{field: _typed(recipe.get(knob), str) or None for field, knob in _WORDS.items()},
        **{field: _typed(recipe.get(knob), int) or None for field, knob in _COUNTS.items()},
        "kbit_prep": _typed(recipe.get("kbit_prep"), bool),
        "checkpointing": None if checkpointing is None else str(checkpointing).lower(),
        "lora_dropout": _typed(recipe.get("lora_dropout"), float),
    }


def _typed(value: object, kind: type[Plain]) -> Plain | None:
    """A knob of the right type; a record's recipe is a plain mapping, and anything else in it is unknown."""
    return value if type(value) is kind else None
