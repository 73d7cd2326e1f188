"""A small world with round numbers, so that golden files and sums by hand show how a budget is made and written, not
what the planner thinks today: two cards, one memory, speeds and prices that a person can multiply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vramplan.budget import physics, ways
from vramplan.budget.scenario import Scenario
from vramplan.budget.scenario_file import read_scenario
from vramplan.estimator.result import Estimate, Memory, ParameterCounts, Phase, PhaseName, Speed, Term, Verdict
from vramplan.gpu import Gpu
from vramplan.model import Model
from vramplan.price import Price
from vramplan.recipe import ResolvedRecipe
from vramplan.units import GIB

PHASES: tuple[PhaseName, ...] = ("load", "forward", "loss", "backward", "optimizer_step")
TOKENS_PER_S = {"l40s": 1000.0, "h100": 4000.0}
USD = {"l40s": "1.00", "h100": "6.00"}
SCENARIO = """\
[project]
name = "Small world"
date = 2026-10-15
start = 2026-10-20
owner = "Tests"
summary = "Round numbers."

[limits]
gpus = ["l40s", "h100"]
budget_usd = 200
deadline = 2026-11-30

[[job]]
name = "Tune"
model = "llama-8b"
method = "qlora"
tokens = "36M"
runs = { value = 2, low = 1, high = 4, reason = "two mixes" }
startup_s = 0

[job.recipe]
batch = 4
seq_len = 2048

[[job]]
name = "Refresh"
model = "llama-8b"
method = "lora"
tokens = "3.6M"
every_days = 7
times = 3
startup_s = 0

[job.recipe]
batch = 4
seq_len = 2048

[habits]
failed_share = { value = 0.1, low = 0, high = 0.2, reason = "as last time" }

[contingency]
value = 0.1
reason = "house rule"

[[line]]
label = "Storage"
quantity = 2
unit = "TB months"
unit_price_usd = { value = 10, low = 5, high = 20, reason = "two offers" }
reason = "data and checkpoints"

[[assumption]]
text = "Cards are there when they are wanted."
reason = "they were in summer"
"""


def need_bytes(recipe: ResolvedRecipe, gpu: Gpu) -> int:
    """8 GiB and 1 GiB for each 2,048 tokens; 100 GiB for full fine-tuning."""
    base = 100 if recipe.method == "full" else 8
    return base * GIB + int(recipe.batch) * int(recipe.seq_len) * GIB // 2048


def verdict_of(recipe: ResolvedRecipe, gpu: Gpu) -> Verdict:
    need = need_bytes(recipe, gpu)
    if need <= gpu.capacity_bytes:
        return "fits"
    return "tight" if need <= gpu.capacity_bytes * 1.05 else "does_not_fit"


def fake_tiers(model: Model, recipe: ResolvedRecipe, stack: Any, gpu: Gpu, profile: Any = None) -> Any:
    return SimpleNamespace(edge_high_bytes=need_bytes(recipe, gpu)), verdict_of(recipe, gpu)


def fake_speed(model: Model, recipe: ResolvedRecipe, stack: Any, gpu: Gpu, profile: Any = None) -> Speed:
    """1,000 tokens a second on an L40S, 4,000 on an H100, from half of it to double."""
    rate = TOKENS_PER_S.get(gpu.key, 500.0)
    return Speed(
        tokens_per_s_per_gpu=rate, interval=(rate / 2, rate * 2), step_time_s=8.0, bound_by="matrix", source="assumed"
    )


def fake_estimate(model: Model, recipe: ResolvedRecipe, stack: Any, gpu: Gpu, **more: Any) -> Estimate:
    need = need_bytes(recipe, gpu)
    inside: tuple[PhaseName, ...] = ("forward", "loss", "backward")
    terms = (
        Term(name="base weights", group="weights", bytes=6 * GIB, phases=PHASES, source="exact", formula="6 GiB"),
        Term(name="adapters", group="adapters", bytes=GIB, phases=PHASES, source="exact", formula="1 GiB"),
        Term(name="saved", group="activations", bytes=need - 8 * GIB, phases=inside, source="exact", formula="tokens"),
        Term(name="context", group="context", bytes=GIB, phases=PHASES, source="assumed", formula="1 GiB"),
    )
    sizes = (7 * GIB, need - 2 * GIB, need - 2 * GIB, need - GIB, 7 * GIB)
    phases = tuple(Phase(name=name, allocated_bytes=size) for name, size in zip(PHASES, sizes, strict=True))
    memory = Memory(
        allocated_bytes=need - GIB, reserved_bytes=need - GIB, device_bytes=need,
        device_interval_bytes=(need - GIB, need), binding_phase="backward", phases=phases, terms=terms,
    )  # fmt: skip
    return Estimate(
        recipe=recipe, parameters=ParameterCounts(total=8, trainable=1, quantized=7), memory=memory,
        verdict=verdict_of(recipe, gpu), headroom_bytes=gpu.capacity_bytes - need, largest_micro_batch=9,
        longest_seq_len=4096, notes=("a note of the estimate",),
    )  # fmt: skip


def fake_prices(gpu_key: str | None = None, *more: Any) -> Iterator[Price]:
    if gpu_key in USD:
        price = Price(
            date=date(2026, 10, 1), provider="acme", region="global", instance=f"one {gpu_key}", gpu_key=gpu_key,
            count=1, usd_per_hour=Decimal(USD[gpu_key]), kind="on_demand", note="", source="a price list",
        )  # fmt: skip
        yield price
        yield replace(price, provider="bolt", instance=f"a {gpu_key}", usd_per_hour=price.usd_per_hour * 2)


@pytest.fixture
def small_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Physics and prices of round numbers; downloads and checkpoints take no time."""
    monkeypatch.setattr(physics, "memory_tiers", fake_tiers)
    monkeypatch.setattr(physics, "estimate_one", fake_estimate)
    monkeypatch.setattr(physics, "speed", fake_speed)
    monkeypatch.setattr(physics, "profile_for", lambda *names: None)
    monkeypatch.setattr(ways, "catalogue_prices", fake_prices)
    monkeypatch.setattr(ways, "download_bytes", lambda model: 0)
    monkeypatch.setattr(physics, "checkpoint_sizes", lambda *_: (0, 0))


@pytest.fixture
def scenario(tmp_path: Path, small_world: None) -> Callable[..., Scenario]:
    """The scenario above, with texts replaced: `scenario(("runs = {", "# runs = {"))`."""

    def read(*changes: tuple[str, str]) -> Scenario:
        text = SCENARIO
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        path = tmp_path / "scenario.toml"
        path.write_text(text, encoding="utf-8")
        return replace(read_scenario(path), path="scenario.toml")

    return read
