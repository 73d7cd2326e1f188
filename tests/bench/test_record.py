"""Records survive a file, and what is not one is refused with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vramplan.errors import VramplanError
from vramplan.record import Effective, PhaseRecord, Record, Request, StepRecord, read_records, write_records


def a_record(**changes: Any) -> Record:
    request = Request(model="a/b", layers=2, gpu=None, recipe={"method": "lora", "batch": 1})
    effective = Effective(
        elements_by_dtype={"bfloat16": 10}, parameters=10, trainable=2, quantized=0, trainable_dtypes=("float32",),
        attention="sdpa", checkpointing=True, optimizer="torch.AdamW (fused)",
        optimizer_state_dtypes={"step": "float32"},
        adapter_targets=("q_proj",), versions={"torch": "2.13"},
    )  # fmt: skip
    values: dict[str, Any] = {
        "kind": "dry", "created": "2026-11-22T00:00:00+00:00", "request": request, "effective": effective,
        "phases": (PhaseRecord(name="load", step=0, allocated_bytes=5),),
        "steps": (StepRecord(step=1, allocated_bytes=7),),
        "allocated_bytes": 7, "reserved_bytes": None, "device_bytes": None, "tokens_per_s": None, "outcome": "ok",
        "absent": {"reserved_bytes": "not replayed", "device_bytes": "dry", "tokens_per_s": "dry"},
    }  # fmt: skip
    return Record(**(values | changes))


def test_a_record_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    write_records(path, [a_record()])
    write_records(path, [a_record(outcome="oom", reason="full")])
    assert list(read_records(path)) == [a_record(), a_record(outcome="oom", reason="full")]


def test_the_cell_depends_on_the_request_alone() -> None:
    other = Request(model="a/b", layers=3, gpu=None, recipe={"method": "lora", "batch": 1})
    turned = Request(model="a/b", layers=2, gpu=None, recipe={"batch": 1, "method": "lora"})
    assert a_record().cell_id == a_record(created="later", outcome="oom").cell_id == a_record(request=turned).cell_id
    assert a_record().cell_id != a_record(request=other).cell_id


def test_a_null_needs_its_reason() -> None:
    with pytest.raises(VramplanError, match="device_bytes"):
        a_record(absent={"reserved_bytes": "x", "tokens_per_s": "x"})


def _broken(**changes: Any) -> str:
    return json.dumps({**json.loads(json.dumps(a_record().as_dict())), **changes})


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 1: not JSON"),
        ("[]", "not an object"),
        (_broken(schema_version=9), "schema_version: 9"),
        (_broken(kind="gpu"), "kind"),
        (_broken(surprise=1), "unknown key 'surprise'"),
        (_broken(allocated_bytes="7"), "allocated_bytes"),
        (_broken(cell_id="0"), "cell_id"),
        (_broken(phases={}), "phases"),
        (_broken(steps=[{"step": 1}]), "allocated_bytes"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(VramplanError, match=says):
        list(read_records(path))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(VramplanError, match="No such file"):
        list(read_records(tmp_path / "none.jsonl"))
