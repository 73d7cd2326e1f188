"""Real children: from command line to record on the CPU, every injected failure, and on a GPU where there is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from vramplan.errors import UnsupportedError
from vramplan.record import Record, read_records

pytestmark = pytest.mark.rig
SMALL = ("HuggingFaceTB/SmolLM2-135M", "--method", "lora", "--seq-len", "32", "--stack", "hf-trainer")
ON_CPU = (*SMALL, "--layers", "2", "--dtype", "fp32", "--autocast", "none", "--device", "cpu")


def bench(*words: str) -> Any:
    from vramplan_bench.commands import command

    return CliRunner().invoke(command, list(words), standalone_mode=False)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, dict[str, Any]]:
    """A LoRA of two layers, really trained on the CPU, and the answer of the command."""
    path = tmp_path_factory.mktemp("measured") / "records.jsonl"
    result = bench("run", *ON_CPU, "--out", str(path), "--json")
    assert result.exception is None and result.return_value == 0
    (record,) = read_records(path)
    return record, json.loads(result.stdout)


def test_a_cell_runs_on_the_cpu_and_the_parent_needs_no_torch(measured: tuple[Record, dict[str, Any]]) -> None:
    record, answer = measured
    assert answer["records"] == [json.loads(json.dumps(record.as_dict()))]
    assert (record.outcome, record.kind, record.reason) == ("ok", "cpu", None)
    assert [p.name for p in record.phases[:4]] == ["context", "warm_library", "load", "adapters"]
    assert [p.name for p in record.phases if p.step == 1] == ["forward", "loss", "backward", "optimizer_step"]
    full = {p.step for p in record.phases if p.step > 1}
    assert len(full) == 2 and max(s.step for s in record.steps) < min(full)
    assert len(record.steps) >= 2 and all(step.duration_s for step in record.steps)
    assert record.tokens_per_s and record.step_time_s and record.effective is not None
    assert "unsteady" not in record.flags
    assert record.effective.attention_kernels and record.machine["torch"]


def test_its_peaks_are_those_of_a_dry_run(measured: tuple[Record, dict[str, Any]]) -> None:
    """The same construction path: without storage, and as no card's, it holds the same."""
    from vramplan.catalog import find_config, find_stack
    from vramplan.recipe import ResolvedRecipe
    from vramplan_bench.follow import STEPS, follow
    from vramplan_bench.loop import loop_of
    from vramplan_bench.timeline import phase_peaks

    record, _ = measured
    recipe = ResolvedRecipe(**record.request.recipe)
    dry = follow(find_config(record.request.model)[1], recipe, loop_of(find_stack("hf-trainer")), 2, card=None)
    expected = {**phase_peaks(dry.parts, 0), **phase_peaks(dry.parts, STEPS)}
    last = max(p.step for p in record.phases)
    found = {p.name: p.allocated_bytes for p in record.phases if p.step in (0, last)}
    found["load"] = max(found["load"], found.pop("adapters"))
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=0.005)
    assert record.allocated_bytes == pytest.approx(max(expected.values()), rel=0.005)


def test_the_runner_survives_every_injected_failure(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    result = bench("run", "selftest", "--device", "cpu", "--out", str(path))
    assert result.exception is None and result.return_value == 0, result.output
    outcomes = {str(r.request.settings["fault"]): r.outcome for r in read_records(path)}
    assert outcomes == {
        "kill": "killed", "hang": "timeout", "garbage": "error", "flood": "error", "exit": "error", "abort": "error",
        "fill_host": "killed", "raise": "error", "cuda": "error", "oom": "oom", "oom_driver": "oom_driver",
    }  # fmt: skip
    shown = bench("show", str(path))
    assert shown.exception is None and "injected error" in shown.stdout


def test_a_kernel_that_the_device_does_not_have_is_refused() -> None:
    from vramplan_bench.child.measure import _attention

    with pytest.raises(UnsupportedError, match="flash2"), _attention("flash2", "cpu"):
        pass
    with _attention("sdpa-math", "cpu"):
        import torch

        assert torch._fused_sdp_choice(*(torch.empty(1, 1, 8, 8),) * 3) == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("run", "quick", "--device", "cpu"), "needs a GPU"),
        (("run", "smoke", "--rank", "8"), "names its own recipes"),
        (("run", "no-such-thing"), "suites: "),
        (("run", *ON_CPU, "--gpu", "h100"), "at hand is no GPU"),
        (("list", "quik"), "nearest: quick"),
        (("show", "no-such-file"), "No such file"),
        (("wanted", "--gpu", "h1000"), "unknown GPU"),
    ],
)
def test_errors_are_one_line(
    words: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = bench(*words).exception
    assert says in str(error) and "\n" not in str(error)
    assert list(tmp_path.iterdir()) == [], "nothing was measured"


def test_suites_and_wanted_cells_are_listed() -> None:
    listed = bench("list").stdout
    assert all(name in listed for name in ("boundary", "full", "quick", "selftest", "smoke"))
    quick = json.loads(bench("list", "quick", "--json").stdout)["suites"][0]
    assert quick["needs_cuda"] and len(quick["cells"]) >= 20
    found = json.loads(bench("wanted", "--gpu", "h100", "--minutes", "2", "--suite", "quick", "--json").stdout)
    assert found["gpu"] == "h100" and 0 < sum(cell["expected_s"] for cell in found["cells"]) <= 120


@pytest.mark.gpu
def test_repeats_on_a_gpu_agree(tmp_path: Path) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    path = tmp_path / "records.jsonl"
    result = bench("run", *SMALL, "--repeats", "2", "--out", str(path))
    assert result.exception is None and result.return_value == 0, result.output
    first, second = read_records(path)
    assert first.allocated_bytes is not None and second.allocated_bytes is not None
    assert abs(first.allocated_bytes - second.allocated_bytes) <= 2 * 2**20
    assert first.reserved_bytes is not None and first.device_bytes is not None and first.context_bytes is not None
    assert first.allocated_bytes <= first.reserved_bytes <= first.device_bytes
    assert 50 * 2**20 < first.context_bytes < 2 * 2**30
    assert not {"unsteady", "retries"} & set(first.flags)


@pytest.mark.gpu
def test_every_injected_failure_on_a_gpu_leaves_it_as_it_was(tmp_path: Path) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    from vramplan_bench.runner.nvml import open_board

    board = open_board()
    assert board is not None
    before = board.used_bytes() or 0
    assert bench("run", "selftest", "--out", str(tmp_path / "records.jsonl")).return_value == 0
    assert (board.used_bytes() or 0) - before < 64 * 2**20
