"""How the catalogue's rows are listed and shown, with rows made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from vramplan.catalog import ModelEntry
from vramplan.gpu import Gpu
from vramplan.model import Model
from vramplan.price import Price
from vramplan.stack import Stack
from vramplan_reports import gpus, markdown, models, prices, stacks, terminal

Golden = Callable[[str, str], None]


@pytest.fixture
def entry() -> ModelEntry:
    return ModelEntry(
        id="meta-llama/Llama-3.1-70B",
        config={"model_type": "llama", "dtype": "bf16"},
        same_architecture=("meta-llama/Llama-3.3-70B-Instruct", "deepseek-ai/DeepSeek-R1-Distill-Llama-70B"),
        published_total_params=70_553_706_496,
        computed_params=70_553_706_496,
        check_ok="exact",
        check_note="",
        confidence="A",
        stored_dtype="bf16",
        note="",
        source="a model table",
    )


@pytest.fixture
def price() -> Price:
    return Price(
        date=date(2026, 10, 10),
        provider="somecloud",
        region="eu-north1",
        instance="gpu-h100-sxm-8x-with-a-long-name",
        gpu_key="h100",
        count=8,
        usd_per_hour=Decimal("23.60"),
        kind="on_demand",
        note="list price",
        source="a price table",
    )


@pytest.fixture
def stack() -> Stack:
    return Stack(
        name="trl",
        title="TRL's SFTTrainer of today",
        versions="transformers 5, trl 1",
        source="trl/trainer/sft_config.py",
        defaults={"loss": "chunked", "optimizer": "adamw_fused"},
        method_defaults={"qlora": {"quant": "nf4-dq"}},
        notes=("packs nothing unless asked",),
    )


def _check(golden: Golden, name: str, report: Any, subject: Any) -> None:
    text = terminal.render(report.sheet(subject), width=80, color=False)
    document = json.dumps(report.document(subject), indent=2) + "\n"
    golden(f"reports/{name}.txt", text)
    golden(f"reports/{name}.md", markdown.render(report.sheet(subject)))
    golden(f"reports/{name}.json", document)


def test_gpus(golden: Golden, a100: Gpu, h200: Gpu) -> None:
    _check(golden, "gpus", gpus.LISTING, (a100, h200))
    _check(golden, "gpu", gpus.DETAIL, a100)


def test_models(golden: Golden, entry: ModelEntry, llama_70b: Model) -> None:
    named = models.named_models((entry,), {"llama-70b": "meta-llama/Llama-3.3-70B-Instruct"})
    _check(golden, "models", models.LISTING, tuple(named))
    _check(golden, "model", models.DETAIL, models.ShownModel(model=llama_70b, entry=entry))


def test_prices(golden: Golden, price: Price) -> None:
    _check(golden, "prices", prices.LISTING, (price,))


def test_stacks(golden: Golden, stack: Stack) -> None:
    _check(golden, "stacks", stacks.LISTING, (stack,))
    _check(golden, "stack", stacks.DETAIL, stack)
