"""Records survive a file, and what is not one is refused with its place."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from vramplan.errors import VramplanError
from vramplan.record import (
    BadLine,
    Effective,
    PhaseRecord,
    PricedRun,
    Record,
    Request,
    StepRecord,
    read_records,
    write_records,
)


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


def test_what_the_commands_print_as_json_is_read_like_a_file_of_lines(tmp_path: Path) -> None:
    """`bench run --json > x.json`: a document with the records in it."""
    path = tmp_path / "shown.json"
    path.write_text(json.dumps({"records": [a_record().as_dict(), {"schema_version": 1}]}, indent=2))
    bad: list[BadLine] = []
    assert list(read_records(path, bad.append)) == [a_record()]
    assert [line.reason.startswith(f"{path}, record 2, kind") for line in bad] == [True]


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
        (_broken(surprise=1), "unknown key in .* line 1: 'surprise'"),
        (_broken(allocated_bytes="7"), "allocated_bytes"),
        (_broken(tokens_per_s=10**400, absent={}), "tokens_per_s: 1000.* is not a number"),
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


def test_everything_that_a_measured_run_has_comes_back(tmp_path: Path) -> None:
    request = Request(model="a/b", layers=2, gpu="h100", recipe={}, settings={"capacity_bytes": 2**30})
    phase = PhaseRecord(name="forward", step=3, allocated_bytes=5, reserved_bytes=6, active_bytes=5, requested_bytes=4,
                        inactive_split_bytes=1, allocated_end_bytes=2, reserved_end_bytes=6, device_used_bytes=9,
                        duration_s=0.5)  # fmt: skip
    price = PricedRun(usd_per_million_tokens=Decimal("0.1234"), usd_per_hour=Decimal("2.99"), date="2026-10-04",
                      provider="x", region="y", instance="z", kind="on_demand")  # fmt: skip
    record = a_record(
        kind="cuda", request=request, phases=(phase,), price=price, throttle_reasons=("power cap",),
        flags=("unsteady",),
        capacity_bytes=2**30, context_bytes=500, step_time_s=0.5, step_time_cv=0.01, power_w=350.0, repeat=2, busy=True,
        suite="quick",
    )  # fmt: skip
    path = tmp_path / "runs.jsonl"
    write_records(path, [record])
    assert list(read_records(path)) == [record]


OLD = (
    '{"schema_version":1,"cell_id":"%s","kind":"dry","created":"2026-11-22","request":{"model":"a/b","layers":2,"gpu":null,'
    '"recipe":{"method":"lora"}},"effective":null,"phases":[{"name":"load","step":0,"allocated_bytes":5,"reserved_bytes":'
    'null}],"steps":[{"step":1,"allocated_bytes":7,"reserved_bytes":null,"duration_s":null}],"allocated_bytes":7,'
    '"reserved_bytes":null,"device_bytes":null,"tokens_per_s":null,"outcome":"ok","reason":null,"absent":{"effective":"x",'
    '"reserved_bytes":"x","device_bytes":"x","tokens_per_s":"x"},"machine":{}}'
)
"""A line as the first version of this schema wrote it."""


def test_old_records_are_read(tmp_path: Path) -> None:
    request = Request(model="a/b", layers=2, gpu=None, recipe={"method": "lora"})
    path = tmp_path / "old.jsonl"
    path.write_text(OLD % "4bb0795571222d13" + "\n")
    (record,) = read_records(path)
    assert record.cell_id == request.cell_id == "4bb0795571222d13", "the id of a cell never changes"
    assert record.busy is False and record.step_time_s is None


def test_settings_make_another_cell() -> None:
    plain = Request(model="a/b", layers=2, gpu=None, recipe={})
    small = Request(model="a/b", layers=2, gpu=None, recipe={}, settings={"capacity_bytes": 1})
    assert plain.cell_id != small.cell_id
    held = [Request(model=str(n), layers=1, gpu=None, recipe={}).held_out for n in range(400)]
    assert 0.15 < sum(held) / len(held) < 0.25


def test_bad_lines_are_named_and_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    write_records(path, [a_record()])
    path.write_bytes(b"\xff\n\n" + path.read_bytes() + b"[" * 5000 + b'\n{"torn": ')
    write_records(path, [a_record(outcome="timeout", reason="slow")])
    bad: list[BadLine] = []
    found = list(read_records(path, bad.append))
    assert [record.outcome for record in found] == ["ok", "timeout"], "a torn end does not spoil what is appended"
    assert [(line.number, line.reason.partition(": ")[2]) for line in bad] == [
        (1, "not text in UTF-8"), (4, "not JSON"), (5, "not JSON"),
    ]  # fmt: skip
    with pytest.raises(VramplanError, match="line 1"):
        list(read_records(path))


@pytest.mark.parametrize("value", ["x", 3, None])
def test_money_is_decimal_text(tmp_path: Path, value: object) -> None:
    price = {"usd_per_million_tokens": value, "usd_per_hour": "1", "date": "", "provider": "", "region": "",
             "instance": "", "kind": ""}  # fmt: skip
    path = tmp_path / "runs.jsonl"
    path.write_text(_broken(price=price) + "\n")
    with pytest.raises(VramplanError, match="price, usd_per_million_tokens"):
        list(read_records(path))
