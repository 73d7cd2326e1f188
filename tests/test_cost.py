"""Money: cases worked out on paper, and what holds whatever the prices are."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramplan.catalog import find_gpu, find_model, find_stack
from vramplan.cost import (
    Cost,
    Currency,
    Job,
    Machine,
    Market,
    PowerPlan,
    Spot,
    Work,
    cost_of,
    cost_rate,
    energy_of,
    hires,
    named_price,
    own_price,
    rate_of,
    spot_overhead,
    usd_per_million_tokens,
    work_of,
)
from vramplan.cost.hire import hire_usd_per_hour
from vramplan.cost.own import amortised_usd_per_hour
from vramplan.cost.work import checkpoint_sizes, evaluation_share
from vramplan.errors import VramplanError
from vramplan.estimator.result import Speed
from vramplan.price import Kind, Price
from vramplan.recipe import Recipe, ResolvedRecipe
from vramplan.resolve import resolve

TODAY = date(2026, 11, 22)


def price(usd: str, count: int = 1, kind: Kind = "on_demand", **more: object) -> Price:
    words: dict[str, object] = {
        "date": date(2026, 11, 1), "provider": "aws", "region": "r1", "instance": f"m{count}", "gpu_key": "h100",
        "note": "", "source": "a test",
    }  # fmt: skip
    return Price(count=count, usd_per_hour=Decimal(usd), kind=kind, **(words | more))  # type: ignore[arg-type]


def speed(tokens_per_s: float, slow: float | None = None, fast: float | None = None) -> Speed:
    return Speed(
        tokens_per_s_per_gpu=tokens_per_s, interval=(slow or tokens_per_s, fast or tokens_per_s), step_time_s=1.0,
        bound_by="matrix", source="assumed",
    )  # fmt: skip


def recipe(**knobs: object) -> ResolvedRecipe:
    defaults: dict[str, object] = {
        "method": "lora", "stack": "trl", "rank": 16, "targets": "all-linear", "quant": "none", "dtype": "bf16",
        "autocast": "bf16", "adapter_dtype": "fp32", "kbit_prep": False, "optimizer": "adamw_fused", "batch": 4,
        "seq_len": 1000, "grad_accum": 2, "checkpointing": True, "attention": "sdpa", "loss": "chunked",
        "lora_dropout": 0.0, "sharding": "none", "gpus": 1,
    }  # fmt: skip
    return ResolvedRecipe(**(defaults | knobs))  # type: ignore[arg-type]


def work(job: Job, checkpoint: tuple[int, int] = (0, 0), download_bytes: int = 0, **knobs: object) -> Work:
    return work_of(job, recipe(**knobs), checkpoint=checkpoint, download_bytes=download_bytes)


def first(prices: list[Price], gpus: int = 1, kinds: tuple[Kind, ...] = ("on_demand",)) -> Price:
    return hires(prices, "h100", gpus, kinds=kinds, today=TODAY)[0].price


def total(cost: Cost) -> Decimal:
    return sum((line.amount for line in cost.lines), Decimal(0))


@pytest.mark.parametrize(
    ("usd", "count", "gpus", "hour"),
    [
        ("55.04", 8, 1, "55.04"),  # one card of an 8-GPU machine costs what eight do
        ("55.04", 8, 8, "55.04"),
        ("55.04", 8, 9, "110.08"),
        ("55.04", 8, 12, "110.08"),
        ("6.88", 1, 1, "6.88"),
        ("6.88", 1, 3, "20.64"),
        ("13.3504", 4, 6, "26.7008"),
    ],
)
def test_machines_are_paid_whole(usd: str, count: int, gpus: int, hour: str) -> None:
    assert hire_usd_per_hour(Decimal(usd), count, gpus) == Decimal(hour)
    hire = hires([price(usd, count)], "h100", gpus, today=TODAY)[0]
    assert hire.usd_per_hour == Decimal(hour)
    assert hire.idle_gpus == hire.instances * count - gpus >= 0


def test_rates_on_paper() -> None:
    # 4,000 tokens a second are 14.4 M an hour: 55.04 / 14.4 = 3.8222...
    assert usd_per_million_tokens(Decimal("55.04"), 4000.0, 1) == Decimal("3.822222")
    # Eight cards make eight times the tokens for the same money.
    assert usd_per_million_tokens(Decimal("55.04"), 4000.0, 8) == Decimal("0.477778")
    rate = rate_of(speed(4000, 2000, 8000), hires([price("55.04", 8)], "h100", 1, today=TODAY)[0])
    assert rate.usd_per_hour == Decimal("55.04")
    assert rate.interval == (Decimal("1.911111"), Decimal("7.644444"))


def test_no_price_no_cost() -> None:
    gpu = find_gpu("h100")
    assert cost_rate(speed(1000), gpu, prices=[price("1", gpu_key="l4")], today=TODAY) is None
    assert cost_rate(speed(1000), gpu, prices=[price("1", kind="spot")], today=TODAY) is None
    assert hires([], "h100") == ()
    unpriced = [gpu for gpu in ("rtx-4090-laptop", "gb10") if cost_rate(speed(1000), find_gpu(gpu)) is not None]
    assert unpriced == []


def test_catalogue_gives_a_rate() -> None:
    rate = cost_rate(speed(1000), find_gpu("h100"), today=TODAY)
    assert rate is not None
    assert rate.price.gpu_key == "h100"
    assert rate.interval[0] <= rate.usd_per_million_tokens <= rate.interval[1]


def test_which_price_is_the_default() -> None:
    old, new = date(2026, 6, 1), date(2026, 11, 1)
    assert first([price("3"), price("2", provider="gcp")]).provider == "gcp"
    assert first([price("3"), price("2", provider="gcp", date=old)]).provider == "aws"  # fresh before cheap
    assert first([price("3", date=old), price("2", provider="gcp", date=old)]).provider == "gcp"  # all stale: cheap
    assert first([price("1", date=old), price("3", date=new)]).usd_per_hour == 3  # the newest of one machine counts
    assert first([price("2"), price("1", kind="spot")]).usd_per_hour == 2
    assert first([price("2"), price("8", count=8)], gpus=1).count == 1
    # A stale price of one card before a fresh one of eight, of which one is used.
    assert first([price("2", date=old), price("8", count=8)]).count == 1
    assert first([price("2", date=old), price("8", count=8)], gpus=4).count == 8
    # Cards of one machine before cheaper ones scattered over several; RunPod sells any number of cards.
    assert first([price("1"), price("16", count=8)], gpus=4).count == 8
    assert first([price("1", provider="runpod"), price("16", count=8)], gpus=4).count == 1


def test_stale_and_spread_are_said() -> None:
    listed = [price("2", date=date(2026, 10, 8)), price("5", region="r2", date=date(2026, 10, 7)), price("9", count=8)]
    cheap, dear = hires(listed[:2], "h100", today=TODAY)
    assert (cheap.stale, dear.stale) == (False, True)  # 45 and 46 days
    assert cheap.spread == (Decimal(2), Decimal(5))
    assert hires(listed, "h100", today=TODAY, regions=("r2",))[0].price.region == "r2"
    bill = cost_of(work(Job(tokens=1000)), speed(100), dear)
    assert any("stale" in note for note in bill.notes)


@given(
    usd=st.decimals("0.01", "200", places=4), count=st.sampled_from((1, 2, 4, 8, 16)), gpus=st.integers(1, 64)
)  # fmt: skip
def test_more_gpus_are_never_cheaper(usd: Decimal, count: int, gpus: int) -> None:
    assert hire_usd_per_hour(usd, count, gpus) <= hire_usd_per_hour(usd, count, gpus + 1)


def test_overhead_of_spot_on_paper() -> None:
    # M = 86,400 s, T = 1,800 s, R = 900 s: 48 e^(1/96) (e^(1/48) - 1) - 1; 48 x 0.0210518620 x 1.0104711086 = 1.0210703
    found = spot_overhead(Spot(interruptions_per_day=Decimal(1), checkpoint_every_s=1800, restart_s=900))
    assert float(found) == pytest.approx(0.0210703, abs=1e-7)
    assert float(found) == pytest.approx(48 * exp(1 / 96) * (exp(1 / 48) - 1) - 1, rel=1e-12)
    # No interruptions: only the writing of checkpoints, 18 s in 1,800.
    never = Spot(interruptions_per_day=Decimal(0), checkpoint_every_s=1800, restart_s=900)
    assert spot_overhead(never) == 0
    assert spot_overhead(never, 18.0) == Decimal("0.01")


@given(
    a_day=st.decimals(0, 50, places=2), every_s=st.integers(60, 20_000), restart_s=st.integers(0, 5000),
    write_s=st.integers(0, 600),
)  # fmt: skip
def test_spot_costs_something_and_more_interruptions_more(
    a_day: Decimal, every_s: int, restart_s: int, write_s: int
) -> None:
    def overhead(a_day: Decimal) -> Decimal:
        spot = Spot(interruptions_per_day=a_day, checkpoint_every_s=every_s, restart_s=restart_s)
        try:
            return spot_overhead(spot, float(write_s))
        except VramplanError:
            return Decimal("Infinity")

    assert 0 <= overhead(a_day) <= overhead(a_day + 1) + Decimal("1e-20")


def test_hours_and_a_bill_on_paper() -> None:
    # 36 M tokens at 1,000 a second: 10 h. Two passes of 3.6 M at a third of the time: 2/3 h. Start 0.5 h,
    # download 18 GB at 100 MB/s: 0.05 h. Two checkpoints of 9 GB at 500 MB/s: 36 s = 0.01 h.
    job = Job(
        tokens=18_000_000, epochs=Decimal(2), evaluation_tokens=3_600_000, save_every_steps=2250, startup_s=1800,
    )  # fmt: skip
    found = work(job, checkpoint=(8 * 10**9, 10**9), download_bytes=18 * 10**9)
    assert (found.steps, found.checkpoints, found.evaluation_passes) == (4500, 2, 2)
    hire = hires([price("8", count=8)], "h100", 1, today=TODAY)[0]
    bill = cost_of(found, speed(1000, 500, 2000), hire)
    assert {line.label: line.quantity for line in bill.lines} == {
        "start-up": Decimal("0.5"), "download": Decimal("0.05"), "training": Decimal(10),
        "evaluation": Decimal("0.6667"), "checkpoints": Decimal("0.01"),
    }  # fmt: skip
    assert [line.amount for line in bill.lines] == [Decimal(t) for t in ("4.00", "0.40", "80.00", "5.33", "0.08")]
    assert bill.total == Decimal("89.81") == total(bill)
    assert bill.hours == Decimal("11.2267")
    # At twice the speed 5 h and 0.3333 h, at half of it 20 h and 1.3333 h.
    assert (bill.low, bill.high) == (Decimal("47.15"), Decimal("175.15"))


def test_a_bill_on_spot_on_paper() -> None:
    # 100 h of training, 2.10703 % of interruptions: 2.1070 h at 2 USD.
    job = Job(tokens=360_000_000, startup_s=0)
    hire = hires([price("2", kind="spot")], "h100", kinds=("spot",), today=TODAY)[0]
    spot = Spot(interruptions_per_day=Decimal(1), checkpoint_every_s=1800, restart_s=900)
    bill = cost_of(work(job), speed(1000), hire, spot=spot)
    assert [(line.label, line.quantity, line.amount) for line in bill.lines] == [
        ("training", Decimal(100), Decimal("200.00")),
        ("interruptions", Decimal("2.1070"), Decimal("4.21")),
    ]
    assert any("interruptions a day" in note for note in bill.notes)
    on_demand = hires([price("2")], "h100", today=TODAY)[0]
    assert cost_of(work(job), speed(1000), on_demand, spot=spot).total == Decimal("200.00")


@given(
    tokens=st.integers(1, 10**11), usd=st.decimals("0.01", "100", places=4), rate=st.floats(0.5, 10**5),
    gpus=st.integers(1, 20), count=st.sampled_from((1, 4, 8)),
)  # fmt: skip
def test_lines_add_up_to_the_cent(tokens: int, usd: Decimal, rate: float, gpus: int, count: int) -> None:
    hire = hires([price(str(usd), count)], "h100", gpus, today=TODAY)[0]
    bill = cost_of(work(Job(tokens=tokens), gpus=gpus), speed(rate, rate / 2, rate * 2), hire)
    assert bill.total == total(bill)
    for line in bill.lines:
        assert line.unit_price is not None
        assert abs(line.quantity * line.unit_price - line.amount) <= Decimal("0.005")
    assert bill.low <= bill.total <= bill.high


def test_own_hardware_on_paper() -> None:
    # 280,512 USD over 4 years (35,064 h) half of the time: 280,512 / 17,532 = 16 an hour, 2 a card.
    machine = Machine(purchase_usd=Decimal(280_512), gpus=8, years=Decimal(4), utilisation=Decimal("0.5"))
    assert amortised_usd_per_hour(machine) == 16
    owned = own_price(machine, "h100", TODAY)
    assert (owned.usd_per_gpu_hour, owned.kind) == (2, "own")
    market = Market(machine=machine, power=PowerPlan(pue=1.5, usd_per_kwh=Decimal("0.2"), grams_co2_per_kwh=400.0))
    (hire,) = market.hires(find_gpu("h100"), 8, TODAY)
    # 8 cards of 700 W at a load of 0.8, PUE 1.5, for 100 h: 672 kWh, 134.40 USD, 268.8 kg.
    energy = energy_of(market.power, find_gpu("h100"), gpus=8, processed_tokens=1, busy_s=360_000.0)
    assert energy is not None and energy.co2_g is not None
    assert (energy.kwh, round(energy.co2_g), energy.provenance) == (Decimal(672), 268_800, "assumed")
    job = Job(tokens=8 * 360_000_000, startup_s=0)
    bill = cost_of(work(job, gpus=8), speed(1000), hire, energy=energy, usd_per_kwh=Decimal("0.2"))
    assert [(line.label, line.amount) for line in bill.lines] == [
        ("training", Decimal("1600.00")), ("electricity", Decimal("134.40")),
    ]  # fmt: skip
    assert bill.total == Decimal("1734.40")


def test_a_price_of_ones_own_and_measured_energy() -> None:
    market = Market(usd_per_gpu_hour=Decimal("1.85"), power=PowerPlan(joules_per_token=0.36, pue=1.0))
    (hire,) = market.hires(find_gpu("rtx-4090-laptop"), 3, TODAY)  # a card without any published price
    assert hire.usd_per_hour == Decimal("5.55")
    energy = energy_of(market.power, find_gpu("h100"), gpus=3, processed_tokens=10**9, busy_s=1.0)
    assert energy is not None
    assert (energy.kwh, energy.provenance, energy.co2_g) == (Decimal(100), "measured", None)
    assert named_price(Decimal(0), "h100", TODAY).usd_per_hour == 0


def test_electricity_is_paid_beside_ones_own_hardware_only() -> None:
    gpu, job = find_gpu("h100"), Job(tokens=360_000_000, startup_s=0)
    power = PowerPlan(joules_per_token=0.01, pue=1.0, usd_per_kwh=Decimal("0.3"), grams_co2_per_kwh=100.0)
    own = Market(usd_per_gpu_hour=Decimal(1), power=power)
    bill = own.cost(work(job), speed(1000), own.hires(gpu, 1, TODAY)[0], gpu)
    assert [(line.label, line.amount) for line in bill.lines] == [
        ("training", Decimal("100.00")), ("electricity", Decimal("0.30")),
    ]  # fmt: skip
    rented = Market(power=power)
    bill = rented.cost(work(job), speed(1000), rented.hires(gpu, 1, TODAY)[0], gpu)
    assert [line.label for line in bill.lines] == ["training"]
    assert bill.energy is not None
    assert (bill.energy.kwh, bill.energy.co2_g) == (Decimal(1), 100.0)


def test_another_currency() -> None:
    euro = Currency(code="EUR", per_usd=Decimal("0.925"))
    assert euro.of(Decimal("10.02")) == Decimal("9.27")  # 9.2685
    for code, rate in (("eur", "1"), ("EURO", "1"), ("EUR", "0"), ("EUR", "NaN")):
        with pytest.raises(VramplanError):
            Currency(code=code, per_usd=Decimal(rate))


@pytest.mark.parametrize(
    ("trains_base", "checkpointing", "share"),
    [(False, True, 2 / 6), (False, False, 2 / 4), (True, True, 2 / 8), (True, False, 2 / 6)],
)
def test_evaluation_is_a_forward_pass(trains_base: bool, checkpointing: bool, share: float) -> None:
    assert evaluation_share(trains_base=trains_base, checkpointing=checkpointing) == share


def test_examples_of_a_length() -> None:
    found = work(Job(examples=1000, length=600, epochs=Decimal("1.5")), gpus=2)
    assert (found.tokens, found.processed_tokens, found.padding_waste) == (900_000, 900_000, 0.0)
    assert found.steps == 95  # ceil(1.5 x ceil(1000 / (4 x 2 x 2))): 63 an epoch
    assert Job(tokens=1, epochs=1.5) == Job(tokens=1, epochs=Decimal("1.5"))  # type: ignore[arg-type]
    cut = work(Job(examples=1000, length=1600))
    assert (cut.tokens, cut.cut_tokens) == (1_000_000, 600_000)


def test_what_a_checkpoint_holds() -> None:
    """gpt2 has 124,439,808 parameters; two fp32 states each, wherever they lie and on however many cards."""
    model, stack, card = find_model("gpt2"), find_stack("trl"), find_gpu("h100")
    for knobs in ({}, {"optimizer": "paged_adamw_32bit"}, {"gpus": 4, "sharding": "fsdp"}):
        recipe = resolve(Recipe(dtype="fp32", method="full", **knobs), "full", stack, card)
        weights, state = checkpoint_sizes(model, recipe, stack)
        assert weights == 4 * 124_439_808
        assert state == pytest.approx(8 * 124_439_808, rel=0.001)
    adapter = resolve(Recipe(method="lora", rank=8), "lora", stack, card)
    assert sum(checkpoint_sizes(model, adapter, stack)) < 0.1 * weights


BAD_JOBS: dict[str, dict[str, object]] = {
    "--tokens": {},
    "only one of": {"tokens": 1, "examples": 1, "length": 1},
    "go together": {"examples": 5},
    "--tokens: 1000": {"tokens": 10**30},
    "--tokens: 0": {"tokens": 0},
    "epochs: '0'": {"tokens": 5, "epochs": Decimal(0)},
    "epochs: 'NaN'": {"tokens": 5, "epochs": float("nan")},
    "epochs: 'three'": {"tokens": 5, "epochs": "three"},
    "packing": {"tokens": 5, "packing": "tight"},
    "--save-every-steps": {"tokens": 5, "save_every_steps": 0},
}


@pytest.mark.parametrize("said", BAD_JOBS)
def test_jobs_that_cannot_be(said: str) -> None:
    with pytest.raises(VramplanError, match=said):
        Job(**BAD_JOBS[said])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Spot(interruptions_per_day=Decimal(-1)),
        lambda: Spot(interruptions_per_day=Decimal("NaN")),
        lambda: Spot(checkpoint_every_s=0),
        lambda: Spot(restart_s=-1),
        lambda: spot_overhead(Spot(interruptions_per_day=Decimal(1000), checkpoint_every_s=10**6)),
        lambda: Machine(purchase_usd=Decimal(1), gpus=1, years=Decimal(1), utilisation=Decimal(0)),
        lambda: Machine(purchase_usd=Decimal(1), gpus=1, years=Decimal(0), utilisation=Decimal(1)),
        lambda: named_price(Decimal(-1), "h100", TODAY),
        lambda: PowerPlan(pue=0.5),
        lambda: PowerPlan(grams_co2_per_kwh=float("nan")),
    ],
)
def test_terms_that_cannot_be(make: object) -> None:
    with pytest.raises(VramplanError):
        make()  # type: ignore[operator]
