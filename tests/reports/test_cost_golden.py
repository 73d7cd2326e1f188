"""How a bill and a data file are written, with results made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal

from vramplan.cost import Cost, Currency, Energy, Job, Spot, cost_of, hires, work_of
from vramplan.data import Lengths, inspect_data
from vramplan.data.files import BadLine
from vramplan.data.inspect import DataFile
from vramplan.estimator.result import Speed
from vramplan.price import Price
from vramplan.recipe import ResolvedRecipe
from vramplan_reports import cost as report
from vramplan_reports import data, markdown, terminal
from vramplan_reports.prices import Prices
from vramplan_reports.prices import document as prices_document
from vramplan_reports.prices import sheet as prices_sheet

Golden = Callable[[str, str], None]
TODAY = date(2026, 11, 22)


def _price(**more: object) -> Price:
    words: dict[str, object] = {
        "date": date(2026, 10, 1), "provider": "somecloud", "region": "eu-north1", "instance": "h100-8x",
        "gpu_key": "h100", "count": 8, "usd_per_hour": Decimal("23.60"), "kind": "spot", "note": "lowest zone",
        "source": "a price table",
    }  # fmt: skip
    return Price(**(words | more))  # type: ignore[arg-type]


def _file() -> DataFile:
    return DataFile(
        path="chat.jsonl", format="jsonl", size_bytes=123_456, lengths=Lengths.of({10: 50, 100: 30, 3000: 20}),
        schemas={"messages": 99, "text": 1}, empty=3, bad=5,
        bad_lines=(BadLine(line=7, reason="not JSON: Expecting value"), BadLine(line=9, reason="damaged", count=4)),
        counted_by="3.94 characters a token (as given)", exact=False,
    )  # fmt: skip


def _cost() -> Cost:
    recipe = ResolvedRecipe(
        method="lora", stack="trl", rank=16, targets="all-linear", quant="none", dtype="bf16", autocast="bf16",
        adapter_dtype="fp32", kbit_prep=False, optimizer="adamw_fused", batch=4, seq_len=2048, grad_accum=1,
        checkpointing=True, attention="sdpa", loss="chunked", lora_dropout=0.0, sharding="none", gpus=4,
    )  # fmt: skip
    job = Job(data=_file(), epochs=Decimal(500), evaluation_tokens=100_000, save_every_steps=1000)
    work = work_of(job, recipe, checkpoint=(160 * 2**20, 320 * 2**20), download_bytes=16 * 10**9)
    speed = Speed(
        tokens_per_s_per_gpu=900.0, interval=(700.0, 1200.0), step_time_s=1.0, bound_by="matrix", source="fitted"
    )
    hire = hires([_price(), _price(region="us", usd_per_hour=Decimal("30"))], "h100", 4, kinds=("spot",), today=TODAY)
    energy = Energy(energy_j=36_000_000.0, provenance="assumed", formula="4 x 700 W x 0.8 x 4.46 h", co2_g=3000.0)
    euro = Currency(code="EUR", per_usd=Decimal("0.92"))
    return cost_of(work, speed, hire[0], spot=Spot(), energy=energy, currency=euro)


def test_bill(golden: Golden) -> None:
    cost = _cost()
    sheet = tuple(report.bill(cost))
    golden("reports/cost.txt", terminal.render(sheet, width=100, color=False))
    golden("reports/cost.md", markdown.render(sheet))
    golden("reports/cost.json", json.dumps(report.cost_document(cost), indent=2) + "\n")


def test_data(golden: Golden) -> None:
    found = inspect_data(_file(), seq_len=2048, batch=4, sequences_per_step=16)
    golden("reports/data.txt", terminal.render(data.sheet(found), width=80, color=False))
    golden("reports/data.md", markdown.render(data.sheet(found)))
    golden("reports/data.json", json.dumps(data.document(found), indent=2) + "\n")


def test_prices_with_their_age(golden: Golden) -> None:
    found = Prices(rows=(_price(), _price(date=date(2026, 11, 1), kind="on_demand")), today=TODAY)
    golden("reports/prices-age.txt", terminal.render(prices_sheet(found), width=80, color=False))
    golden("reports/prices-age.json", json.dumps(prices_document(found), indent=2) + "\n")
