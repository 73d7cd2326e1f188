"""Reports from what other commands saved, and of measured runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner

from vramplan.budget.build import budget
from vramplan.budget.measured import measured
from vramplan.budget.saved import is_records, scenario_of
from vramplan.budget.scenario import Scenario
from vramplan.cli.app import app
from vramplan.errors import VramplanError
from vramplan.record import write_records
from vramplan.units import GIB
from vramplan_reports.budget.files import WRITERS
from vramplan_reports.measured import files, summary

from .records import record

Read = Callable[..., Scenario]


def saved(path: Path, *arguments: str) -> Path:
    """What a command prints as JSON."""
    path.write_text(CliRunner().invoke(app, [*arguments, "--json"]).stdout, encoding="utf-8")
    return path


def test_saved_estimate(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "e.json", "estimate", "llama-8b", "--gpu", "l40s", "--gpu", "h100", "--batch", "2", "--rank", "8"
    )
    plan = scenario_of(path, 5_000_000)
    (job,) = plan.jobs
    assert (job.model, job.methods, job.recipe.batch, job.recipe.rank) == (
        "meta-llama/Llama-3.1-8B",
        ("full", "lora", "qlora"),
        2,
        8,
    )
    assert job.tokens and job.tokens.value == 5_000_000
    assert plan.limits.gpus == ("l40s", "h100")
    report = budget(plan)
    assert report.commands[0].text == "vramplan report build e.json --tokens 5000000 --json"
    found = report.jobs[0]
    document = json.loads(path.read_text())
    for answer in document["answers"]:
        for estimate in answer["estimates"]:
            (way,) = (
                w for w in found.ways if w.gpu.key == answer["gpu"]["key"] and w.recipe.method == estimate["method"]
            )
            assert way.verdict == estimate["verdict"]
            assert way.recipe.as_dict() == estimate["recipe"]


def test_saved_estimate_of_one_method(tmp_path: Path) -> None:
    path = saved(tmp_path / "e.json", "estimate", "llama-8b", "--gpu", "h200", "--method", "full")
    found = budget(scenario_of(path)).jobs[0]
    assert (
        found.estimate
        and found.estimate.memory.device_bytes == json.loads(path.read_text())["estimates"][0]["memory"]["device_bytes"]
    )
    assert (
        found.plan.tokens and found.plan.tokens.value == 1_000_000 and "no amount of work" in found.plan.tokens.reason
    )


def test_report_of_a_report(scenario: Read, tmp_path: Path) -> None:
    plan = scenario()
    WRITERS[".json"](str(tmp_path / "b.json"), budget(plan))
    again = scenario_of(tmp_path / "b.json")
    assert again.jobs == plan.jobs
    (tmp_path / "scenario.toml").unlink()
    with pytest.raises(VramplanError, match=r"the report's scenario 'scenario.toml' is not beside it"):
        scenario_of(tmp_path / "b.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "neither the JSON of estimate or plan nor that of a report"),
        ("[1]", "holds a JSON list"),
        ("{", "not JSON"),
        ('{"estimates": []}', "not the JSON of estimate"),
        ('{"estimates": [{}], "model": {}, "gpu": null}', "names no card"),
        ('{"estimates": [{"recipe": {}}], "model": {"id": 3}, "gpu": {"key": "l40s"}}', "not the JSON of estimate"),
        (
            '{"estimates": [{"method": "dora", "recipe": {"stack": "trl", "method": "dora", "quant": "none"}}], '
            '"model": {"id": "gpt2", "alias": null}, "gpu": {"key": "l40s"}}',
            "unknown method 'dora'",
        ),
        ('{"picks": []}', "found no way"),
        ('{"picks": [{"plan": 3}]}', "not the JSON of plan"),
        ('{"kind": "budget"}', "the report's scenario None is not beside it"),
    ],
)
def test_other_json(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(VramplanError, match=said):
        scenario_of(path)


def test_tokens_only_for_estimates(scenario: Read, tmp_path: Path) -> None:
    scenario()
    with pytest.raises(VramplanError, match="--tokens goes with a saved estimate"):
        scenario_of(tmp_path / "scenario.toml", 5)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "h100.jsonl"
    longer = record(recipe={"seq_len": 4096}, tokens_per_s=1800.0)
    full = record(recipe={"batch": 64}, outcome="oom", tokens_per_s=None)
    write_records(path, [record(), record(tokens_per_s=2200.0, repeat=1), longer, full])
    return path


def test_measured_cells(records: Path) -> None:
    found = measured([records])
    assert found.cards == ("NVIDIA H100 80GB HBM3",)
    assert [(c.recipe["seq_len"], c.recipe["batch"], c.runs, c.outcomes, c.tokens_per_s) for c in found.cells] == [
        (2048, 4, 2, ("ok",), 2100.0), (2048, 64, 1, ("oom",), None), (4096, 4, 1, ("ok",), 1800.0),
    ]  # fmt: skip
    assert [phase.allocated_bytes for phase in found.cells[0].phases] == [10 * GIB]
    rate = found.cells[0].rate
    assert rate and rate.usd_per_million_tokens == (rate.usd_per_hour * 10**6 / (2100 * 3600)).quantize(
        Decimal("0.000001")
    )
    assert found.environment["torch"] == ("2.13.0",)
    assert len(found.accuracy.rows) == 4


def test_measured_against_another_card(records: Path, tmp_path: Path) -> None:
    other = tmp_path / "a100.jsonl"
    write_records(other, [record("a100-80", tokens_per_s=1050.0)])
    found = measured([records], other)
    assert found.other_cards == ("NVIDIA A100-SXM4-80GB",)
    assert [(pair.cell.id == found.cells[0].id, pair.speedup) for pair in found.pairs] == [(True, 2.0)]


def test_nothing_alike_on_the_other_card_is_said(records: Path, tmp_path: Path) -> None:
    other = tmp_path / "a100.jsonl"
    write_records(other, [record("a100-80", recipe={"rank": 99})])
    found = measured([records], other)
    assert not found.pairs and "no cell was measured on NVIDIA A100-SXM4-80GB too" in summary.opening_lines(found)[1]


def test_measured_files(records: Path, tmp_path: Path) -> None:
    other = tmp_path / "a100.jsonl"
    write_records(other, [record("a100-80", tokens_per_s=1050.0)])
    with records.open("ab") as file:
        file.write(b'{"cell_id": 3}\nnonsense\n')
    found = measured([records], other)
    assert len(found.bad_lines) == 2
    for suffix in files.WRITERS:
        files.WRITERS[suffix](str(tmp_path / f"m{suffix}"), found)
    page = (tmp_path / "m.html").read_text()
    assert page.count('class="chart"') == 4 and "Against NVIDIA A100-SXM4-80GB" in page
    assert json.loads((tmp_path / "m.json").read_text()) == json.loads(json.dumps(summary.document(found)))
    assert "2,100" in (tmp_path / "m.md").read_text()
    assert f"vramplan report bench {records} --against {other} -o report.html" in page


def test_no_records(tmp_path: Path) -> None:
    path = tmp_path / "none.jsonl"
    path.write_text("")
    with pytest.raises(VramplanError, match="no measured runs"):
        measured([path])
    assert is_records(path) and not is_records(tmp_path / "gone")


@pytest.mark.parametrize("form", ["lines", "torn first line", "as bench show prints it"])
def test_build_knows_records(records: Path, tmp_path: Path, form: str) -> None:
    if form == "torn first line":
        records.write_text('{"schema_ver\n' + records.read_text())
    if form == "as bench show prints it":
        shown = CliRunner().invoke(app, ["bench", "show", str(records), "--json"])
        records = tmp_path / "shown.json"
        records.write_text(shown.stdout)
    assert is_records(records)
    result = CliRunner().invoke(app, ["report", "build", str(records)])
    assert result.exit_code == 0 and result.stdout.startswith("Measured on NVIDIA H100")


def test_names_of_records_are_text(tmp_path: Path) -> None:
    villain = "<script>alert(1)</script>"
    path = tmp_path / "v.jsonl"
    write_records(path, [record(), record(model=villain, machine={"gpu": villain}, flags=(villain,))])
    page = files.WRITERS[".html"]
    page(str(tmp_path / "v.html"), measured([path]))
    text = (tmp_path / "v.html").read_text()
    assert villain not in text and "&lt;script&gt;alert(1)" in text
