"""`fit`, `sweep` and `plan` as commands: what they print and write, their exit codes, and how they refuse."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

from vramplan.cli.plan import Deadline
from vramplan.errors import VramplanError
from vramplan.plan.grid import parse_axis

Run = Callable[..., Result]
Golden = Callable[[str, str], None]
GRID = ("sweep", "gpt2", "--gpu", "t4", "--method", "lora", "--vary", "batch=1,2", "--vary", "seq-len=64,128")
PLAN = ("plan", "gpt2", "--tokens", "5M", "--gpu", "t4", "--gpu", "l4", "--method", "lora", "--gpus", "1")

REFUSED = {
    "fit without a card": (("fit", "gpt2"), "--gpu"),
    "fit of nothing": (("fit", "--gpu", "t4"), "MODEL is missing"),
    "fit of models and a model": (("fit", "gpt2", "--gpu", "t4", "--what", "model"), "'gpt2'"),
    "fit of what": (("fit", "gpt2", "--gpu", "t4", "--what", "bach"), "nearest: batch"),
    "fit of models as a picture": (("fit", "--gpu", "t4", "--what", "model", "--html", "x.html"), "--html"),
    "sweep of no knob": (("sweep", "gpt2", "--vary", "bach=1"), "nearest: batch"),
    "sweep of no range": (("sweep", "gpt2", "--vary", "batch=1:2"), "FROM:TO:STEP"),
    "sweep without values": (("sweep", "gpt2", "--vary", "batch"), "KNOB=VALUES"),
    "sweep of too much": (("sweep", "gpt2", "--vary", "batch=1:1000000:1", "--vary", "rank=1:60000:1"), "at most"),
    "sweep of an unknown card": (("sweep", "gpt2", "--vary", "gpu=t4,t44"), "t44"),
    "sweep twice": (("sweep", "gpt2", "--vary", "batch=1", "--vary", "batch=2"), "twice"),
    "sweep of methods twice": ((*GRID, "--method", "full", "--vary", "method=lora"), "twice"),
    "sweep into no form": ((*GRID, "-o", "x.xlsx"), "suffix 'xlsx'"),
    "sweep into no folder": ((*GRID, "-o", "no/such/folder/x.csv"), "no folder"),
    "sweep into a folder": ((*GRID, "-o", "."), "is a folder"),
    "map of what does not vary": ((*GRID, "--map", "rank,batch"), "rank"),
    "map of one knob": ((*GRID, "--map", "batch"), "two knobs"),
    "map without a card": ((*GRID[:2], "--vary", "batch=1,2", "--vary", "rank=1,2", "--map", "rank,batch"), "a card"),
    "plan of nothing": (("plan", "gpt2"), "--tokens"),
    "plan of too many tokens": (("plan", "gpt2", "--tokens", "1" + "0" * 30), "--tokens"),
    "plan of no tokens": (("plan", "gpt2", "--tokens", "0"), "--tokens"),
    "budget of 0": ((*PLAN, "--budget", "0"), "--budget"),
    "budget below 0": ((*PLAN, "--budget", "-5"), "--budget"),
    "deadline without a unit": ((*PLAN, "--deadline", "24"), "--deadline"),
    "deadline of 0": ((*PLAN, "--deadline", "0h"), "--deadline"),
    "deadline in the past": ((*PLAN, "--deadline", "2020-01-01"), "still to come"),
    "deadline at the end of time": ((*PLAN, "--deadline", "9999-12-31"), "--deadline"),
    "deadline next century": ((*PLAN, "--deadline", "2126-12-31"), "--deadline"),
    "deadline that is none": ((*PLAN, "--deadline", "soon"), "--deadline"),
    "more cards than a machine has": ((*PLAN[:-1], "64"), "--gpus"),
    "nobody's prices": ((*PLAN, "--provider", "nobody"), "no card with a price"),
    "own price of any card": (("plan", "gpt2", "--tokens", "5M", "--price", "2"), "--gpu"),
    "export to nobody": ((*PLAN, "--export", "tlr"), "nearest: trl"),
    "a file for no export": ((*PLAN, "-o", "x.yaml"), "--export"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(run: Run, case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, named = REFUSED[case]
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert named in result.stderr
    assert 1 <= len(result.stderr.splitlines()) <= 2 and "internal error" not in result.stderr
    assert not list(tmp_path.iterdir())


@settings(max_examples=100)
@given(st.text(max_size=30) | st.text("0123456789-:TZ+.hd,=x", max_size=25))
def test_garbage_is_refused_in_one_line(text: str) -> None:
    for parse in (
        parse_axis,
        lambda text: parse_axis(f"batch={text}"),
        lambda text: Deadline().convert(text, None, None),
    ):
        try:
            assert parse(text)
        except VramplanError as error:
            assert len(str(error).splitlines()) == 1


def test_a_deadline_with_its_zone() -> None:
    for text in ("2026-12-01T12:00", "2026-12-01T12:00+02:00", "2026-12-01T12:00Z"):
        assert 7 * 86_400 < Deadline().convert(text, None, None) < 11 * 86_400


# --- fit --------------------------------------------------------------------------------------------------------------


def test_fit(run: Run) -> None:
    result = run("fit", "gpt2", "--gpu", "t4", "--method", "lora", "--json")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["schema_version"]) == (0, 1)
    (fit,) = document["fits"]
    largest = {point["seq_len"]: point["largest_batch"] for point in fit["frontier"]}
    estimate = json.loads(run("estimate", "gpt2", "--gpu", "t4", "--method", "lora", "--json").stdout)["estimates"][0]
    assert fit["largest_batch"] == estimate["largest_micro_batch"]
    assert fit["longest_seq_len"] == estimate["longest_seq_len"]
    assert all((cell["verdict"] == "fits") == (cell["batch"] <= largest[cell["seq_len"]]) for cell in fit["cells"])
    assert run("fit", "llama-70b", "--gpu", "t4").exit_code == 1
    several = json.loads(run("fit", "gpt2", "--gpu", "t4", "--gpu", "l4", "--what", "rank", "--json").stdout)
    assert [answer["gpu"]["key"] for answer in several["answers"]] == ["t4", "l4"]


def test_fit_in_every_format(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "fit.html"
    table = run("fit", "gpt2", "--gpu", "t4", "--html", str(page))
    assert table.exit_code == 0
    assert max(map(len, table.stdout.splitlines())) <= 80
    assert "| --- |" in run("fit", "gpt2", "--gpu", "t4", "--format", "markdown").stdout
    text = page.read_text(encoding="utf-8")
    assert "Plotly.newPlot" in text and 'src="http' not in text
    again = run("fit", "gpt2", "--gpu", "t4", "--html", str(page))
    assert (again.exit_code, again.stdout) == (2, "")
    assert "--force" in again.stderr
    assert run("fit", "gpt2", "--gpu", "t4", "--html", str(page), "--force").exit_code == 0
    assert page.read_text(encoding="utf-8") == text, "the same data, the same page"


def test_largest_models(run: Run) -> None:
    document = json.loads(run("fit", "--gpu", "t4", "--what", "model", "--method", "full", "--json").stdout)
    (held,) = document["methods"]
    sizes = [model["parameters"] for model in held["models"]]
    assert sizes == sorted(sizes, reverse=True) and 0 < held["held"] < held["described"]


# --- sweep ------------------------------------------------------------------------------------------------------------


def test_sweep_to_stdout(run: Run) -> None:
    result = run(*GRID)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert result.exit_code == 0
    assert [(row["batch"], row["seq_len"]) for row in rows] == [("1", "64"), ("1", "128"), ("2", "64"), ("2", "128")]
    estimate = json.loads(
        run("estimate", "gpt2", "--gpu", "t4", "--method", "lora", "--batch", "2", "--seq-len", "64", "--json").stdout
    )["estimates"][0]
    assert int(rows[2]["device_bytes"]) == estimate["memory"]["device_bytes"]
    assert rows[2]["verdict"] == estimate["verdict"] == "fits"
    assert run("sweep", "llama-70b", "--gpu", "t4", "--vary", "batch=1,2").exit_code == 1


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_sweep_to_files(run: Run, tmp_path: Path, form: str) -> None:
    """Every form holds the same table: names, whole numbers, and nothing where there is nothing."""
    target = tmp_path / f"grid.{form}"
    result = run(*GRID, "--vary", "quant=none,nf4", "-o", str(target))
    assert (result.exit_code, result.stdout) == (0, "")
    readers = {"csv": pd.read_csv, "parquet": pd.read_parquet, "jsonl": lambda path: pd.read_json(path, lines=True)}
    table = readers[form](target)
    assert list(table.columns[:4]) == ["model", "gpu", "stack", "method"]
    assert len(table) == 8 and list(table.batch) == [1] * 4 + [2] * 4
    assert [bool(error) for error in table.error.notna()] == [False, True] * 4
    assert table.device_bytes.notna().tolist() == [True, False] * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [target.name]
    again = run(*GRID, "-o", str(target))
    assert again.exit_code == 2 and "--force" in again.stderr
    assert len(readers[form](target)) == 8
    assert run(*GRID, "-o", str(target), "--force").exit_code == 0
    assert len(readers[form](target)) == 4


def test_a_failure_leaves_what_was_there(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "grid.csv"
    target.write_text("mine\n")

    def breaks(table: object, file: io.BytesIO) -> None:
        file.write(b"half a ")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vramplan_reports.sweep._write_csv", breaks)
    result = run(*GRID, "-o", str(target), "--force")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"vramplan: {target}: No space left on device\n"
    assert target.read_text() == "mine\n"
    assert [path.name for path in tmp_path.iterdir()] == ["grid.csv"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_is_one_line() -> None:
    command = [sys.executable, "-c", "from vramplan.cli import main; main()", *GRID]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[0].startswith("vramplan: ")
    assert b"Traceback" not in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_map(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "map.html"
    result = run(*GRID, "--map", "seq-len,batch", "--html", str(page))
    assert result.exit_code == 0
    assert result.stdout.startswith("batch (down) x seq-len (across)\n")
    assert "Plotly.newPlot" in page.read_text(encoding="utf-8")
    assert sum(line.lstrip().startswith(("1 ", "2 ")) for line in result.stdout.splitlines()) == 2


# --- plan -------------------------------------------------------------------------------------------------------------


def test_plan(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "front.html"
    result = run(*PLAN, "--budget", "50", "--deadline", "3d", "--html", str(page))
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "Plotly.newPlot" in page.read_text(encoding="utf-8")
    document = json.loads(run(*PLAN, "--budget", "50", "--deadline", "2026-12-31", "--json").stdout)
    assert (document["schema_version"], document["found"]) == (1, True)
    assert 38 * 86_400 < document["wishes"]["deadline_s"] <= 40 * 86_400
    assert [pick["kind"] for pick in document["picks"]] == ["cheapest", "balanced", "fastest"]
    plan = document["picks"][0]["plan"]
    assert plan["verdict"] == "fits" and plan["gpu"]["count"] == 1
    assert float(plan["cost"]["total_usd"]) <= 50
    total = sum(float(line["amount_usd"]) for line in plan["cost"]["lines"])
    assert float(plan["cost"]["total_usd"]) == pytest.approx(total)
    assert "| --- |" in run(*PLAN, "--format", "markdown").stdout


def test_options_fix_their_knobs(run: Run) -> None:
    fixed = ("--batch", "1", "--grad-accum", "4", "--no-checkpointing", "--loss", "standard", "--optimizer", "lion")
    document = json.loads(run(*PLAN, *fixed, "--json").stdout)
    for plan in document["front"]:
        recipe = plan["recipe"]
        assert (recipe["batch"], recipe["grad_accum"], recipe["checkpointing"]) == (1, 4, False)
        assert (recipe["loss"], recipe["optimizer"]) == ("standard", "lion")


def test_nothing_will_do(run: Run) -> None:
    result = run(*PLAN, "--budget", "0.01", "--deadline", "2d")
    assert result.exit_code == 1
    assert "Nothing will do" in result.stdout and "--budget" in result.stdout
    document = json.loads(run(*PLAN, "--budget", "0.01", "--json").stdout)
    assert not document["found"] and not document["picks"] and document["nearest"]
    assert {"--budget"} <= {found["constraint"] for found in document["relaxations"]}


@pytest.mark.parametrize("kind", ["trl", "axolotl", "llama-factory", "accelerate", "python"])
def test_exports(run: Run, tmp_path: Path, kind: str) -> None:
    target = tmp_path / "planned"
    printed = run(*PLAN, "--export", kind, "--pick", "fastest")
    written = run(*PLAN, "--export", kind, "--pick", "fastest", "-o", str(target))
    assert (printed.exit_code, written.exit_code, written.stdout) == (0, 0, "")
    assert target.read_text(encoding="utf-8") == printed.stdout
    assert "planned by vramplan" in printed.stdout


def test_a_planned_configuration_is_read_back(run: Run, tmp_path: Path) -> None:
    """What --export writes, --from reads to the recipe that was planned."""
    target = tmp_path / "planned.yaml"
    document = json.loads(run(*PLAN, "--json").stdout)
    assert run(*PLAN, "--export", "trl", "-o", str(target)).exit_code == 0
    again = run("estimate", "gpt2", "--gpu", "t4", "--from", str(target), "--json")
    recipe = json.loads(again.stdout)["estimates"][0]["recipe"]
    planned = document["picks"][0]["plan"]["recipe"]
    same = ("method", "rank", "batch", "grad_accum", "seq_len", "checkpointing", "optimizer", "quant", "dtype")
    assert {knob: recipe[knob] for knob in same} == {knob: planned[knob] for knob in same}


def test_an_error_is_not_lost_behind_what_files_say(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "axolotl.yaml"
    text = "base_model: nobody/nothing\nadapter: qlora\nload_in_4bit: true\nlora_r: 8\nmicro_batch_size: 2\n"
    config.write_text(text, "utf-8")
    for arguments in (("export", "--to", "trl"), ("plan", "--tokens", "5M"), ("sweep",)):
        result = run(*arguments, "--from", str(config))
        assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
        assert "nobody/nothing" in result.stderr
