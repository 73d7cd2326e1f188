"""How limits, grids and plans are written, with results made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from vramplan.cost import Cost, Job, Market, cost_of, hires, work_of
from vramplan.estimator.result import Speed
from vramplan.gpu import Gpu
from vramplan.model import Model
from vramplan.plan.fit import CardFit, CardModels, Cell, Fit, FrontierPoint, HeldModel, HeldModels
from vramplan.plan.result import Pick, Plan, Plans, Relaxation
from vramplan.plan.sweep import VERDICTS, Coded, Columns
from vramplan.plan.wishes import Wishes
from vramplan.price import Price
from vramplan.recipe import ResolvedRecipe
from vramplan.units import GIB
from vramplan_reports import fit, markdown, plan, sweep, terminal
from vramplan_reports.plot import Point, plot

Golden = Callable[[str, str], None]
TODAY = date(2026, 11, 22)


def _check(golden: Golden, name: str, report: Any, subject: Any) -> None:
    text = terminal.render(report.sheet(subject), width=80, color=False)
    golden(f"reports/{name}.txt", text)
    golden(f"reports/{name}.md", markdown.render(report.sheet(subject)))
    golden(f"reports/{name}.json", json.dumps(report.document(subject), indent=2) + "\n")
    assert max(map(len, text.splitlines())) <= 80


def _recipe(**knobs: Any) -> ResolvedRecipe:
    base = ResolvedRecipe(
        method="qlora", stack="trl", rank=16, targets="all-linear", quant="nf4-dq", dtype="bf16", autocast="bf16",
        adapter_dtype="bf16", kbit_prep=False, optimizer="adamw_fused", batch=1, seq_len=2048, grad_accum=1,
        checkpointing=True, attention="sdpa", loss="chunked", lora_dropout=0.0, sharding="none", gpus=1,
    )  # fmt: skip
    return replace(base, **knobs)


# --- fit --------------------------------------------------------------------------------------------------------------


def _cells() -> tuple[Cell, ...]:
    needs = {(1, 512): 20, (1, 2048): 39.9, (1, 8192): 79, (2, 512): 22, (2, 2048): 60, (2, 8192): 82,
             (4, 512): 30, (4, 2048): 79.9, (4, 8192): 1200}  # fmt: skip
    return tuple(
        Cell(
            batch=batch, seq_len=length, need_bytes=int(need * GIB),
            verdict="fits" if need <= 80 else "tight" if need < 100 else "does_not_fit",
        )
        for (batch, length), need in needs.items()
    )  # fmt: skip


@pytest.fixture
def limits(llama_70b: Model, a100: Gpu) -> CardFit:
    points = ((512, 9), (2048, 4), (8192, 1))
    held = Fit(
        recipe=_recipe(), verdict="fits", largest_batch=4, longest_seq_len=8_300, highest_rank=65_536,
        frontier=tuple(FrontierPoint(seq_len=n, largest_batch=batch) for n, batch in points), cells=_cells(),
    )  # fmt: skip
    nothing = Fit(
        recipe=_recipe(method="full", rank=0, targets="", quant="none"), verdict="does_not_fit", largest_batch=0,
        longest_seq_len=0, highest_rank=None,
        frontier=tuple(FrontierPoint(seq_len=n, largest_batch=0) for n, _ in points), cells=(),
    )  # fmt: skip
    return CardFit(model=llama_70b, gpu=a100, fits=(nothing, held))


def test_limits(golden: Golden, limits: CardFit) -> None:
    _check(golden, "fit", fit.FRONTIER, (limits,))
    assert [card["gpu"]["key"] for card in fit.FRONTIER.document((limits, limits))["answers"]] == ["a100-80"] * 2


def test_largest_models(golden: Golden, a100: Gpu) -> None:
    held = HeldModels(
        recipe=_recipe(), held=2, described=219,
        models=(
            HeldModel(id="meta-llama/Llama-3.3-70B-Instruct", parameters=70_553_706_496, need_bytes=46 * GIB),
            HeldModel(id="a/small-one", parameters=8_030_261_248, need_bytes=7 * GIB),
        ),
    )  # fmt: skip
    none = HeldModels(recipe=_recipe(method="full", rank=0, quant="none"), held=0, described=219, models=())
    _check(golden, "fit-models", fit.MODELS, (CardModels(gpu=a100, methods=(none, held)),))


# --- sweep ------------------------------------------------------------------------------------------------------------


def test_heat_maps(golden: Golden) -> None:
    cells = _cells()
    rows = len(cells)

    def one(name: str) -> Coded:
        return Coded(names=(name,), codes=np.zeros(rows, dtype=np.int32))

    columns = Columns(
        size=rows,
        knobs={"model": one("llama"), "gpu": one("a100-80"), "batch": np.array([c.batch for c in cells]),
               "seq_len": np.array([c.seq_len for c in cells])},
        figures={"need_bytes": np.array([c.need_bytes for c in cells]), "capacity_bytes": np.full(rows, 80 * GIB),
                 "verdict": Coded(names=VERDICTS, codes=np.array([VERDICTS.index(c.verdict) for c in cells]))},
        errors=Coded(names=(), codes=np.full(rows, -1)),
    )  # fmt: skip
    maps = sweep.HeatMaps(columns, "seq_len", "batch")
    golden("reports/sweep-map.txt", terminal.render(maps.sheet(columns), width=80, color=False))
    assert len(maps.document(columns)["maps"][0]["cells"]) == rows


# --- plan -------------------------------------------------------------------------------------------------------------


def _price(usd: str, count: int, provider: str, **more: Any) -> Price:
    return Price(
        date=more.get("date", date(2026, 11, 1)), provider=provider, region=more.get("region", ""),
        instance=f"{count}x", gpu_key="a100-80", count=count, usd_per_hour=Decimal(usd), kind="on_demand", note="",
        source="a price table",
    )  # fmt: skip


def _cost(recipe: ResolvedRecipe, speed: Speed, price: Price) -> Cost:
    work = work_of(Job(tokens=50_000_000), recipe, checkpoint=(400 * 2**20, 800 * 2**20), download_bytes=140 * 10**9)
    return cost_of(work, speed, hires([price], "a100-80", recipe.gpus, today=TODAY)[0])


def _plan(gpu: Gpu, price: Price, tokens_per_s: float, **knobs: Any) -> Plan:
    recipe = _recipe(**knobs)
    speed = Speed(
        tokens_per_s_per_gpu=tokens_per_s, interval=(0.8 * tokens_per_s, 1.25 * tokens_per_s), step_time_s=2.0,
        bound_by="matrix", source="assumed",
    )  # fmt: skip
    several = ("8 cards work in parallel",) if recipe.gpus > 1 else ()
    return Plan(
        gpu=gpu, gpus=recipe.gpus, recipe=recipe, speed=speed, cost=_cost(recipe, speed, price), need_bytes=39 * GIB,
        verdict="fits", side_by_side=2 if recipe.gpus == 1 else 1, notes=several,
    )  # fmt: skip


def _plans(model: Model, picks: tuple[Pick, ...], front: tuple[Plan, ...], **more: Any) -> Plans:
    words: dict[str, Any] = {
        "wishes": Wishes(budget_usd=Decimal(200), deadline_s=86_400), "market": Market(), "cards": 63, "fitting": 470,
        "offers": 1729, "by_method": (), "nearest": None, "relaxations": (),
    }  # fmt: skip
    return Plans(
        model=model, stack="trl", job=Job(tokens=50_000_000), picks=picks, front=front, **(words | more)
    )  # fmt: skip


def test_plans(golden: Golden, llama_70b: Model, a100: Gpu) -> None:
    cheap = _plan(a100, _price("1.10", 1, "somecloud"), 900.0, batch=4, grad_accum=4)
    whole = _plan(
        a100, _price("12.00", 8, "bigcloud", region="eu-1", date=date(2026, 9, 1)), 850.0, batch=2, gpus=8,
        sharding="ddp", checkpointing=False,
    )  # fmt: skip
    picks = (
        Pick(kind="cheapest", plan=cheap, runner_up=whole),
        Pick(kind="balanced", plan=whole, runner_up=cheap),
        Pick(kind="fastest", plan=whole, runner_up=None),
    )
    found = _plans(llama_70b, picks, (cheap, whole), by_method=(cheap, whole))
    _check(golden, "plan", plan, found)


def test_nothing_will_do(golden: Golden, llama_70b: Model, a100: Gpu) -> None:
    nearest = _plan(a100, _price("12.00", 8, "bigcloud"), 850.0, batch=2, gpus=8, sharding="ddp")
    wish = Relaxation(constraint="--budget", asked="5", needed=f"{nearest.usd}", excess=5.04, plan=nearest)
    wishes = Wishes(budget_usd=Decimal(5), deadline_s=86_400, no_quantization=True, effective_batch=16)
    _check(golden, "plan-nothing", plan, _plans(llama_70b, (), (), wishes=wishes, nearest=nearest, relaxations=(wish,)))


def test_a_field_of_points() -> None:
    lines = plot([Point(1, 10, "o"), Point(100, 1, "C")], "hours", "USD")
    assert lines[0] == "USD"
    assert lines[1].startswith("10.00 |o") and lines[12].startswith(" 1.00 |") and lines[12].endswith("C")
    assert lines[-1].split() == ["1.00", "hours", "100.00"]
    assert len({len(line) for line in lines[-2:]}) == 1
    assert plot([Point(2, 3, "o")], "x", "y"), "one point is a picture too"
