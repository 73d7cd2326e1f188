"""Speed against public runs: how far off, how often outside the interval, how well ranked; and that nothing was
fitted that the runs do not say."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vramplan.accuracy import percentile, question
from vramplan.accuracy.question import speed_obstacle
from vramplan.estimator.result import Speed
from vramplan.runs import Run, read_runs
from vramplan.speed import efficiencies, speed
from vramplan.speed.efficiency import published

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "speed.md"
FILES = ("../shared/corpus/runs.csv", "../shared/corpus/throughput.csv")
pytestmark = pytest.mark.skipif(
    not all((ROOT / name).exists() for name in FILES), reason="the public runs are not beside the repository"
)


@pytest.fixture(scope="module")
def derive() -> ModuleType:
    pytest.importorskip("numpy")
    spec = spec_from_file_location("derive_speed", ROOT / "profiles" / "derive_speed.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def points(derive: ModuleType) -> list[Any]:
    found: list[Any] = derive.points(str(ROOT / name) for name in FILES)
    return found


def said(point: Any) -> Speed:
    asked = question(point.run)
    assert asked.gpu is not None
    found = speed(asked.model, asked.recipe, asked.stack, asked.gpu)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def pairs(points: list[Any]) -> list[tuple[Run, float, Speed]]:
    """Run, measured, predicted."""
    return [(point.run, point.measured, said(point)) for point in points]


def test_errors_on_public_runs(pairs: list[tuple[Run, float, Speed]]) -> None:
    """Target: median 20 %, 90th percentile 40 %."""
    sizes = [abs(found.tokens_per_s_per_gpu / measured - 1) for _, measured, found in pairs]
    assert len(sizes) >= 188
    assert percentile(sizes, 0.5) < 0.06
    assert percentile(sizes, 0.9) < 0.20


@pytest.mark.parametrize("key", [lambda run: run.stack, lambda run: run.gpu, lambda run: run.method])
def test_no_group_is_far_off(key: Callable[[Run], str], pairs: list[tuple[Run, float, Speed]]) -> None:
    """Groups of ten runs and more, but for the four that a slow host held up (docs/speed.md)."""
    groups: dict[str, list[float]] = {}
    for run, measured, found in pairs:
        if run.stack == "fms-hf-tuning":
            continue
        groups.setdefault(key(run), []).append(abs(found.tokens_per_s_per_gpu / measured - 1))
    large = {name: sizes for name, sizes in groups.items() if len(sizes) >= 10}
    assert len(large) >= 2
    for name, sizes in large.items():
        assert percentile(sizes, 0.5) < 0.10, name
        assert percentile(sizes, 0.9) < 0.25, name


def test_nine_runs_in_ten_lie_inside(pairs: list[tuple[Run, float, Speed]]) -> None:
    inside = sum(found.interval[0] <= measured <= found.interval[1] for _, measured, found in pairs)
    assert 0.9 <= inside / len(pairs) <= 0.98


def test_methods_and_cards_are_ranked_right(pairs: list[tuple[Run, float, Speed]]) -> None:
    """Pairs of one model that differ by more than 15 %; target 90 %."""
    right = 0
    asked = [
        (a, b)
        for a, b in combinations(pairs, 2)
        if a[0].model == b[0].model and max(a[1], b[1]) > 1.15 * min(a[1], b[1])
    ]
    for a, b in asked:
        right += (a[1] > b[1]) == (a[2].tokens_per_s_per_gpu > b[2].tokens_per_s_per_gpu)
    assert len(asked) > 900
    assert right / len(asked) > 0.97


@pytest.mark.parametrize("key", [lambda p: p.run.stack.partition("+")[0], lambda p: p.run.gpu, lambda p: p.run.model])
def test_what_was_left_out_is_predicted(key: Callable[[Any], str], derive: ModuleType, points: list[Any]) -> None:
    """Stacks, cards and models that the fit has not seen; target as above."""
    sizes = [abs(float(residual)) for residual in derive.left_out(dict(published()), points, key)]
    assert percentile(sizes, 0.5) < 0.10
    assert percentile(sizes, 0.9) < 0.30


def test_the_file_is_what_the_runs_say(derive: ModuleType, points: list[Any]) -> None:
    fitted, _ = derive.fit(dict(published()), points)
    for name in derive.FITTED:
        kept, new = derive.entry(published(), name), derive.entry(fitted, name)
        assert new["value"] == pytest.approx(kept["value"], abs=2 * kept["standard_error"]), name
        assert kept["records"] > 100


def test_every_constant_names_its_source() -> None:
    def walk(value: Any, name: str) -> None:
        if "value" in value:
            assert value["source"] and value["unit"], name
            return
        for key, inner in value.items():
            if isinstance(inner, dict):
                walk(inner, f"{name}.{key}")

    walk(json.loads((ROOT / "profiles/vramplan_profiles/speed.json").read_text(encoding="utf-8")), "")


def test_speeds_of_shorter_sequences_are_not_compared(points: list[Any]) -> None:
    assert not any(speed_obstacle(point.run) for point in points)
    assert speed_obstacle(Run(id="a", where="b", outcome="ok", notes="lengths vary: seq_len is a cap"))


def test_runs_of_one_unknown_length_agree() -> None:
    """PEFT's comparison on an L40S: 19 runs of the same examples, in batches of 4. At 250 tokens a sequence all of them
    saw as many tokens a step, but for three slow ones; none was fitted but the gain from the cache."""
    seen: list[float] = []
    for run in read_runs(ROOT / FILES[0]):
        if isinstance(run, Run) and run.gpu == "l40s" and run.method in ("full", "lora"):
            asked = question(run)
            assert asked.gpu is not None and run.tokens_per_s_per_gpu is not None
            found = speed(asked.model, replace(asked.recipe, seq_len=250), asked.stack, asked.gpu)
            assert found is not None
            seen.append(run.tokens_per_s_per_gpu * found.step_time_s)
    assert len(seen) == 19
    middle = percentile(seen, 0.5)
    assert 0.9 * 4 * 250 < middle < 4 * 250
    assert sum(abs(tokens / middle - 1) < 0.15 for tokens in seen) == 16


@pytest.mark.parametrize(("source", "runs", "median"), [("transformers-", 72, 0.06), ("fsdp_qlora", 7, 0.15)])
def test_several_cards(source: str, runs: int, median: float) -> None:
    """Sharded over NVLink and PCIe: the estimate does not describe these, their speed is not far off."""
    sizes: list[float] = []
    for run in (run for name in FILES for run in read_runs(ROOT / name)):
        if not (isinstance(run, Run) and run.tokens_per_s_per_gpu and (run.stack or "").startswith(source)):
            continue
        if run.gpus in (None, 1) or run.sharding != "fsdp":
            continue
        asked = question(replace(run, gpus=1, sharding="none"))
        assert asked.gpu is not None and run.gpus is not None
        recipe = replace(asked.recipe, gpus=run.gpus, sharding="fsdp")
        found = speed(asked.model, recipe, asked.stack, asked.gpu)
        assert found is not None
        sizes.append(abs(found.tokens_per_s_per_gpu / run.tokens_per_s_per_gpu - 1))
    assert len(sizes) >= runs
    assert percentile(sizes, 0.5) < median


def test_constants_of_cards_with_runs_are_those_of_the_fit(points: list[Any]) -> None:
    cards = {point.run.gpu for point in points}
    assert set(published()["residuals"]["cards"]) <= cards
    assert efficiencies(points[0].c.gpu).low == published()["residuals"]["low"]


def test_the_page_is_current(derive: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    derive.main(["--dry", *(str(ROOT / name) for name in FILES)])
    block = "```console\n$ python profiles/derive_speed.py --dry " + " ".join(FILES) + "\n"
    text = PAGE.read_text(encoding="utf-8")
    printed = re.sub(
        re.escape(block) + r".*?```", lambda _: block + capsys.readouterr().out.strip() + "\n```", text, flags=re.S
    )
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(printed, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == printed
