"""Runs files: what is read, and how a bad row or file is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vramplan.errors import VramplanError
from vramplan.runs import REQUIRED, BadRow, Run, read_runs

HEADER = ",".join((*REQUIRED, "gpus", "allocated_bytes", "kbit_prep", "lora_dropout", "notes", "unheard_of"))
GOOD = "{id},meta-llama/Llama-3.1-8B,a100-80,qlora,4,4096,trl,ok,1,{allocated},{kbit_prep},{dropout},{notes},x"

File = Callable[..., Path]


@pytest.fixture
def file(tmp_path: Path) -> File:
    def write(*lines: str, header: str = HEADER) -> Path:
        path = tmp_path / "runs.csv"
        path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
        return path

    return write


def row(id: str = "a", allocated: str = "1000", kbit_prep: str = "", dropout: str = "", notes: str = "") -> str:
    return GOOD.format(id=id, allocated=allocated, kbit_prep=kbit_prep, dropout=dropout, notes=notes)


def test_a_row(file: File) -> None:
    path = file(row(allocated="1000.0", kbit_prep="true", dropout="0.05", notes='"x, ""y"""'))
    assert read_runs(path) == (
        Run(
            id="a", where=f"{path}:2", outcome="ok", model="meta-llama/Llama-3.1-8B", gpu="a100-80", gpus=1,
            method="qlora", micro_batch=4, seq_len=4096, stack="trl", allocated_bytes=1000, kbit_prep=True,
            lora_dropout=0.05, notes='x, "y"',
        ),
    )  # fmt: skip


def test_empty_is_unknown(file: File) -> None:
    (run,) = read_runs(file("a,,,,,,,fits,,,,,,"))
    assert isinstance(run, Run)
    assert (run.model, run.gpu, run.gpus, run.micro_batch, run.kbit_prep, run.lora_dropout) == (None,) * 6
    assert run.notes == ""


def test_blank_lines_order_of_columns_and_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    columns = ",".join(reversed(REQUIRED))
    path.write_text(f"\ufeff{columns}\r\n\r\nok,trl,8,1,full,t4,gpt2,a\r\n", encoding="utf-8")
    (run,) = read_runs(path)
    assert isinstance(run, Run)
    assert (run.id, run.gpu, run.seq_len, run.where) == ("a", "t4", 8, f"{path}:3")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (row(allocated="many"), "allocated_bytes: 'many' is not a whole number from 1 to"),
        (row(allocated="-1"), "allocated_bytes: '-1'"),
        (row(allocated="0"), "allocated_bytes: '0'"),
        (row(allocated="1e30"), "allocated_bytes: '1e30'"),
        (row(allocated="9" * 40), "allocated_bytes: '999"),
        (row(allocated="²"), "allocated_bytes: '²'"),
        (row(kbit_prep="perhaps"), "kbit_prep: 'perhaps' is not true or false"),
        (row(dropout="nan"), "lora_dropout: 'nan'"),
        (row(dropout="1"), "lora_dropout: '1'"),
        (row().replace(",ok,", ",fine,"), "unknown outcome 'fine'"),
        (row().replace(",ok,", ",,"), "outcome: missing"),
        (row(id=""), "id: missing"),
        (row() + ",y,z", "2 cells too many for the header"),
        ("a,b", "12 cells too few for the header"),
        (row(id="good"), "same id as"),
        (row(notes='"never closed'), "too few"),
    ],
)
def test_a_bad_row_spoils_no_other(file: File, line: str, reason: str) -> None:
    path = file(row(id="good"), line)
    first, second = read_runs(path)
    assert isinstance(first, Run)
    assert isinstance(second, BadRow)
    assert second.reason.startswith(f"{path}:3: ")
    assert reason in second.reason


def test_a_field_beyond_all_bounds(file: File) -> None:
    rows = read_runs(file(row(id="a"), row(id="b", notes="x" * 200_000), row(id="c")))
    assert [type(found) for found in rows] == [Run, BadRow, Run]


def test_not_one_row(file: File) -> None:
    with pytest.raises(VramplanError, match=r"not one of 2 rows can be read; the first: .*runs.csv:2: allocated"):
        read_runs(file(row(allocated="?"), row(id="")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b" \n \n", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not a text file"),
        (b"\xff\xfe\x00", "not a text file"),
        (HEADER.encode(), "holds no runs"),
        (b"id,model\na,b\n", "lacks the columns gpu, method"),
        (b"{}\n", "lacks the columns id"),
        ((HEADER + ",id\n" + row()).encode(), "two columns are called id"),
    ],
)
def test_no_runs_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_bytes(content)
    with pytest.raises(VramplanError, match=message):
        read_runs(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(VramplanError, match="no such file"):
        read_runs(tmp_path / "none.csv")
    with pytest.raises(VramplanError, match="a folder"):
        read_runs(tmp_path)
    with pytest.raises(VramplanError):
        read_runs("a\0b")


cells = st.one_of(
    st.sampled_from(("", "1", "ok", "true", "qlora", "4096", "a100-80", "trl", "gpt2", '"', "\r", "-1", "1e9", "nan")),
    st.text(max_size=8),
)
lines = st.lists(cells, max_size=16).map(",".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=500)
@given(rows=st.lists(st.one_of(lines, st.just(row())), max_size=6))
def test_garbage(tmp_path: Path, rows: list[str]) -> None:
    path = tmp_path / "runs.csv"
    path.write_bytes("\n".join((HEADER, row(id="good"), *rows)).encode("utf-8", "surrogatepass"))
    try:
        found = read_runs(path)
    except VramplanError:
        return
    ids = [run.id for run in found if isinstance(run, Run)]
    assert len(ids) == len(set(ids))
    assert all(bad.reason.startswith(str(path)) for bad in found if isinstance(bad, BadRow))
