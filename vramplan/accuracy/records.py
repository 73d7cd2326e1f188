"""Records of the rig as runs, so that one comparison serves both."""

from __future__ import annotations

import os
from typing import Any

from ..record import Record, read_records
from ..runs import BadRow, Run


def holds_records(path: str | os.PathLike[str]) -> bool:
    """JSON lines begin with a brace; no header of a runs file does. False too where there is nothing to read."""
    try:
        with open(path, "rb") as file:
            return file.read(64).lstrip()[:1] == b"{"
    except (OSError, ValueError):
        return False


def runs_of_records(path: str | os.PathLike[str]) -> tuple[Run | BadRow, ...]:
    """The records of a file of JSON lines, repeats of a cell numbered. Raises VramplanError where a line is none."""
    seen: dict[str, int] = {}
    rows: list[Run | BadRow] = []
    for number, record in enumerate(read_records(path), 1):
        repeat = seen[record.cell_id] = seen.get(record.cell_id, 0) + 1
        id = record.cell_id if repeat == 1 else f"{record.cell_id}#{repeat}"
        rows.append(_run(record, id, f"{os.fspath(path)}, record {number}"))
    return tuple(rows)


def _run(record: Record, id: str, where: str) -> Run | BadRow:
    if record.outcome == "error":
        return BadRow(id=id, where=where, reason=f"{where}: the run failed: {record.reason}")
    knobs: dict[str, Any] = dict(record.request.recipe)
    return Run(
        id=id,
        where=where,
        outcome=record.outcome,
        model=record.request.model,
        layers=record.request.layers,
        gpu=record.request.gpu,
        stack=knobs.get("stack"),
        method=knobs.get("method"),
        gpus=knobs.get("gpus"),
        sharding=knobs.get("sharding"),
        rank=knobs.get("rank") or None,
        targets=knobs.get("targets") or None,
        quant=knobs.get("quant"),
        weights_dtype=knobs.get("dtype"),
        autocast=knobs.get("autocast"),
        adapter_dtype=knobs.get("adapter_dtype"),
        kbit_prep=knobs.get("kbit_prep"),
        optimizer=knobs.get("optimizer"),
        micro_batch=knobs.get("batch"),
        seq_len=knobs.get("seq_len"),
        grad_accum=knobs.get("grad_accum"),
        checkpointing={True: "true", False: "false"}.get(knobs.get("checkpointing", "")),
        attention=knobs.get("attention"),
        loss=knobs.get("loss"),
        lora_dropout=knobs.get("lora_dropout"),
        allocated_bytes=record.allocated_bytes,
        reserved_bytes=record.reserved_bytes,
        device_bytes=record.device_bytes,
        tokens_per_s_per_gpu=record.tokens_per_s,
    )
