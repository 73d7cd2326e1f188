"""`vramplan bench` as people and scripts see it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from vramplan.errors import VramplanError
from vramplan.record import read_records

from .conftest import tiny

pytestmark = pytest.mark.rig


def bench(*words: str) -> Any:
    from vramplan_bench.commands import command

    return CliRunner().invoke(command, list(words), standalone_mode=False)


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(tiny("llama", num_hidden_layers=12)))
    return str(path)


def test_json_tells_phases_groups_and_every_storage(model: str, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("runs.jsonl", "step.html")}
    result = bench(
        "dry", model, "--method", "qlora", "--seq-len", "64", "--gpu", "a100-80", "--full-depth", "--json",
        "--record", str(files["runs.jsonl"]), "--html", str(files["step.html"]),
    )  # fmt: skip
    assert result.exception is None and result.return_value == 0
    answer = json.loads(result.stdout)
    run = answer["dry_runs"][0]
    assert (answer["schema_version"], run["method"], run["depths_run"]) == (1, "qlora", [12])
    assert [p["name"] for p in run["record"]["phases"]][:5] == ["load", "forward", "loss", "backward", "optimizer_step"]
    peak = max(p["allocated_bytes"] for p in run["record"]["phases"] if p["step"] == 3)
    assert sum(g["bytes"] for g in run["groups"]) == sum(g["bytes"] for g in run["alive_at_peak"]) == peak
    assert run["allocator"]["reserved_bytes"] >= run["allocator"]["allocated_bytes"] >= peak
    assert json.loads(json.dumps(next(read_records(files["runs.jsonl"])).as_dict())) == run["record"]
    assert "plotly" in files["step.html"].read_text()


def test_the_table_says_what_was_held(model: str) -> None:
    result = bench("dry", model, "--method", "lora", "--seq-len", "64")
    assert result.exception is None
    for words in ("12 layers", "held at the peak", "weights", "backward", "caching allocator", "reserved"):
        assert words in result.stdout


def test_a_card_that_is_too_small_answers_one(model: str) -> None:
    big = ("--layers", "4", "--seq-len", "64", "--batch", "16384", "--method", "lora", "--no-checkpointing")
    result = bench("dry", model, *big, "--loss", "standard", "--gpu", "t4", "--full-depth", "--json")
    assert result.exception is None and result.return_value == 1
    record = json.loads(result.stdout)["dry_runs"][0]["record"]
    assert record["outcome"] == "oom" and "out of memory in" in record["reason"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("no-such-model",), "unknown model"),
        (("llama-8b", "--gpu", "a100-80", "--gpu", "t4"), "one card"),
        (("llama-8b", "--method", "qlora", "--quant", "gptq-int4"), "no GPTQ"),
        (("llama-8b", "--method", "lora", "--stack", "unsloth"), "fused LoRA"),
    ],
)
def test_errors_are_one_line(words: tuple[str, ...], says: str) -> None:
    error = bench("dry", *words).exception
    assert isinstance(error, VramplanError) and says in str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--layers", "31"), "up to the 30 of"),
        (("--capacity-gib", "4"), "emulated on a GPU"),
        (("--gpus", "2"), "measures one GPU, not 2"),
        (("--sharding", "zero3"), "shares nothing"),
    ],
)
def test_a_run_that_no_method_can_make_is_refused(words: tuple[str, ...], says: str, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    error = bench("run", "smollm2-135m", "--device", "cpu", "--out", str(out), *words).exception
    assert isinstance(error, VramplanError) and says in str(error) and "\n" not in str(error)
    assert not out.exists()


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import vramplan_bench.answer as answer

    monkeypatch.setattr(answer, "NEEDED", ("torch", "surely_not_installed"))
    error = bench("env").exception
    assert str(error) == "the rig needs surely_not_installed, which is not installed: pip install 'vramplan[bench]'"


def test_env_lists_what_is_installed() -> None:
    assert "torch" in bench("env").stdout
