"""What to rent: the front against trying everything, wishes that answers keep, and what is said where none can."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from vramplan.catalog import find_gpu, find_model, find_stack, gpus
from vramplan.cost import Job, Machine, Market, PowerPlan, cost_of, work_of
from vramplan.cost.work import checkpoint_sizes, download_bytes
from vramplan.data import Lengths
from vramplan.data.inspect import DataFile
from vramplan.decide import plan_job
from vramplan.errors import VramplanError
from vramplan.estimator import memory_tiers
from vramplan.estimator.phases import StepMemory
from vramplan.plan.cards import kind_of
from vramplan.plan.choices import choices
from vramplan.plan.command import estimate_command, shell_lines
from vramplan.plan.result import Plan, Plans
from vramplan.plan.wishes import COUNTS, Wishes
from vramplan.recipe import METHODS, Recipe
from vramplan.resolve import resolve
from vramplan.speed import speed
from vramplan.step.setting import Setting

TODAY = date(2026, 10, 20)
CARDS = ("t4", "rtx-4090", "a100-80")
JOB = Job(tokens=20_000_000, evaluation_tokens=100_000)


@cache
def model_called(name: str) -> Any:
    return find_model(name)


NARROW = Recipe(optimizer="adamw_fused", loss="chunked")
"""Most laws hold without the whole grid."""


def asked(
    model: str = "gpt2", job: Job = JOB, cards: tuple[str, ...] = CARDS, recipe: Recipe = NARROW, **more: Any
) -> Plans:
    return plan_job(model_called(model), job, recipe, gpus=cards, today=TODAY, profile="none", **more)


# --- against trying everything ----------------------------------------------------------------------------------------


def every_plan(model: Any, job: Job, wishes: Wishes, market: Market, cards: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """(usd, hours) of every recipe that fits on every hire, one by one through the functions of an estimate."""
    stack = find_stack("trl")
    found = []
    for key in cards:
        gpu = find_gpu(key)
        for method in wishes.methods:
            for recipe in choices(Recipe(), method, stack, gpu, wishes):
                for count in wishes.counts:
                    for batch in wishes.batches(count):
                        one = replace(
                            recipe, batch=batch, grad_accum=wishes.accumulation(batch, count), gpus=count,
                            sharding="none" if count == 1 else "ddp",
                        )  # fmt: skip
                        found += bills(model, job, market, gpu, one, stack)
    return found


def need_bytes(model: Any, gpu: Any, recipe: Any, stack: Any) -> int:
    return memory_tiers(model, recipe, stack, gpu)[0].edge_high_bytes


def bills(model: Any, job: Job, market: Market, gpu: Any, recipe: Any, stack: Any) -> list[tuple[Any, ...]]:
    at = speed(model, recipe, stack, gpu)
    if at is None or need_bytes(model, gpu, recipe, stack) > gpu.capacity_bytes:
        return []
    sizes = checkpoint_sizes(model, recipe, stack)
    work = work_of(job, recipe, checkpoint=sizes, download_bytes=download_bytes(model))
    hires = (h for h in market.hires(gpu, recipe.gpus, TODAY) if recipe.gpus == 1 or not h.scattered)
    costs = (cost_of(work, at, hire, spot=market.spot) for hire in hires)
    return [(cost.total, cost.hours, gpu.key, recipe) for cost in costs]


def front(plans: list[tuple[Any, ...]]) -> list[tuple[Decimal, Decimal]]:
    places = {(usd, hours) for usd, hours, *_ in plans}
    return sorted(p for p in places if not any(o != p and o[0] <= p[0] and o[1] <= p[1] for o in places))


DATA = DataFile(
    path="chat.jsonl", format="jsonl", size_bytes=1, lengths=Lengths.of({10: 5000, 1000: 3000, 3000: 500}),
    schemas={"text": 8500}, empty=0, bad=0, bad_lines=(), counted_by="a tokenizer", exact=True,
)  # fmt: skip


@pytest.mark.parametrize(
    ("model", "kinds", "counts", "methods", "job"),
    [
        ("gpt2", ("on_demand",), (1,), ("full", "lora"), JOB),
        ("gpt2", ("on_demand",), (1,), ("full",), Job(data=DATA, epochs=Decimal("2.5"), save_every_steps=100)),
        ("gpt2", ("on_demand", "spot"), (1, 2), ("lora",), JOB),
        ("llama-8b", ("on_demand",), (4,), ("qlora",), JOB),
    ],
)
def test_the_front_is_that_of_all_plans(model: str, kinds: Any, counts: Any, methods: Any, job: Job) -> None:
    wishes = Wishes(counts=counts, methods=methods, effective_batch=4)
    market = Market(kinds=kinds)
    found = asked(model, job, wishes=wishes, market=market, cards=("t4", "a100-80"), recipe=Recipe())
    tried = every_plan(model_called(model), job, wishes, market, ("t4", "a100-80"))
    assert [(plan.usd, plan.hours) for plan in found.front] == front(tried)


def test_cards_of_a_kind_make_the_same_step() -> None:
    """The search describes a recipe once for all of them."""
    kinds: dict[Any, Any] = {}
    stack, model = find_stack("trl"), model_called("gpt2")
    for gpu in gpus():
        if not gpu.cuda:
            continue
        for method in METHODS:
            recipe = resolve(Recipe(batch=2), method, stack, gpu)
            step = StepMemory(Setting(model, recipe, stack, gpu))
            same = kinds.setdefault((kind_of(gpu), method), (recipe, step.allocated, step.static.workspace))
            assert same == (recipe, step.allocated, step.static.workspace), gpu.key


# --- every answer keeps the wishes ------------------------------------------------------------------------------------

wishes_of = st.builds(
    Wishes,
    budget_usd=st.none() | st.decimals("0.05", "20", places=2),
    deadline_s=st.none() | st.integers(900, 200_000),
    methods=st.lists(st.sampled_from(METHODS), min_size=1, unique=True).map(tuple),
    effective_batch=st.none() | st.integers(1, 40),
    batch=st.none() | st.sampled_from((1, 3)),
    counts=st.sampled_from(((1,), (1, 2), (2, 8))),
)
markets = st.builds(
    Market,
    kinds=st.sampled_from((("on_demand",), ("spot",), ("on_demand", "spot"))),
    providers=st.sampled_from(((), ("runpod",), ("aws", "lambda"))),
)


def check(plan: Plan, wishes: Wishes, market: Market, model: Any) -> None:
    """One plan by itself: everything about it but money and time."""
    r = plan.recipe
    assert r.method in wishes.methods
    assert not (wishes.no_quantization and r.quantizes)
    assert plan.gpus == r.gpus == plan.cost.work.gpus and plan.gpus in wishes.counts
    assert r.batch == (wishes.batch or r.batch)
    sequences = r.batch * r.grad_accum * r.gpus
    assert sequences >= wishes.sequences_per_step
    assert r.batch * (r.grad_accum - 1) * r.gpus < wishes.sequences_per_step
    assert plan.cost.hire.price.kind in market.kinds
    assert plan.cost.hire.price.provider in (market.providers or (plan.cost.hire.price.provider,))
    assert plan.cost.hire.price.gpu_key == plan.gpu.key
    stack = find_stack("trl")
    assert plan.verdict == "fits" and plan.need_bytes <= plan.gpu.capacity_bytes
    assert plan.need_bytes == need_bytes(model, plan.gpu, r, stack)
    assert plan.side_by_side * plan.need_bytes <= plan.gpu.capacity_bytes or plan.gpus > 1
    assert plan.cost.low <= plan.usd <= plan.cost.high
    assert plan.speed == speed(model, r, stack, plan.gpu)


@settings(max_examples=12, phases=[Phase.explicit, Phase.generate])
@given(wishes=wishes_of, market=markets, with_quantization=st.booleans())
def test_answers_keep_the_wishes(wishes: Wishes, market: Market, with_quantization: bool) -> None:
    if not with_quantization and wishes.methods != ("qlora",):
        wishes = replace(wishes, no_quantization=True)
    try:
        found = asked(wishes=wishes, market=market)
    except VramplanError as error:
        assert "no card with a price" in str(error)
        assume(False)
    model = model_called("gpt2")
    budget, deadline = wishes.budget_usd, wishes.deadline_s
    for plan in (*found.front, *found.by_method, *(pick.plan for pick in found.picks)):
        check(plan, wishes, market, model)
        assert budget is None or plan.usd <= budget
        assert deadline is None or plan.hours * 3600 <= deadline
    places = [(plan.usd, plan.hours) for plan in found.front]
    assert places == sorted(places)
    assert all(a[1] > b[1] for a, b in pairwise(places)), "dearer means sooner"
    assert found.found == bool(found.front) == (len(found.picks) == 3)
    if found.found:
        best = {pick.kind: pick.plan for pick in found.picks}
        assert best["cheapest"] == found.front[0] and best["fastest"] == found.front[-1]
        assert all(pick.plan in found.front for pick in found.picks)
        least = min(plan.usd * plan.hours for plan in found.front)
        assert best["balanced"].usd * best["balanced"].hours == least
        for pick in found.picks:
            other = pick.runner_up
            assert other is None or (other.gpu, other.gpus) != (pick.plan.gpu, pick.plan.gpus)
        assert {plan.recipe.method for plan in found.by_method} <= set(wishes.methods)
    elif found.offers:
        assert found.nearest is not None
        check(found.nearest, wishes, market, model)
        over = budget is not None and found.nearest.usd > budget
        assert over or (deadline is not None and found.nearest.hours * 3600 > deadline)


def test_in_parts_where_no_copy_fits() -> None:
    """Full fine-tuning of 8 B parameters on cards of 24 GiB, and what is asked for by name."""
    wishes = Wishes(methods=("full",), counts=(4, 8))
    found = asked("llama-8b", cards=("rtx-4090",), wishes=wishes)
    assert {(plan.gpus, plan.recipe.sharding) for plan in found.front} == {(8, "fsdp")}
    check(found.front[0], wishes, Market(), model_called("llama-8b"))
    stages = asked(cards=("a100-80",), wishes=wishes, recipe=Recipe(sharding="zero2"))
    assert {plan.recipe.sharding for plan in stages.front} == {"zero2"}
    for plan in stages.front:
        check(plan, wishes, Market(), model_called("gpt2"))


# --- where nothing will do --------------------------------------------------------------------------------------------


def test_a_budget_that_is_too_small_by_so_much() -> None:
    free = asked()
    cheapest = free.front[0]
    short = asked(wishes=Wishes(budget_usd=cheapest.usd - Decimal("0.01")))
    assert not short.found
    assert short.nearest == cheapest
    relaxed = {found.constraint: found for found in short.relaxations}
    assert relaxed["--budget"].needed == f"{cheapest.usd}"
    assert asked(wishes=Wishes(budget_usd=cheapest.usd)).found
    assert all(found.plan.usd <= cheapest.usd for found in short.relaxations)


def test_a_deadline_that_is_too_close_by_so_much() -> None:
    one = Wishes(counts=(1,), methods=("full",))
    fastest = asked(wishes=one).front[-1]
    late = asked(wishes=replace(one, deadline_s=int(fastest.hours * 3600) - 1))
    assert not late.found and late.nearest == fastest
    relaxed = {found.constraint: found for found in late.relaxations}
    assert float(relaxed["--deadline"].needed.split()[0]) >= float(fastest.hours)
    assert relaxed["--gpus"].plan.gpus > 1
    for found in late.relaxations:
        if found.constraint != "--deadline":
            assert found.plan.hours * 3600 <= fastest.hours * 3600 - 1


def test_nothing_holds_it_until_a_wish_is_dropped() -> None:
    found = asked("llama-70b", wishes=Wishes(methods=("full",), counts=(1,)))
    assert (found.fitting, found.offers, found.found, found.nearest) == (0, 0, False, None)
    assert [r.constraint for r in found.relaxations] == ["--method"], found.relaxations
    assert found.relaxations[0].plan.recipe.method == "qlora"
    quantised = asked("llama-70b", wishes=Wishes(no_quantization=True, counts=(1,)))
    assert "--no-quantization" in {r.constraint for r in quantised.relaxations}


def test_terms_on_which_nothing_is_for_hire() -> None:
    found = asked(wishes=Wishes(budget_usd=Decimal("0.2")), market=Market(providers=("azure",)))
    assert {"--provider", "--budget"} <= {r.constraint for r in found.relaxations}
    with pytest.raises(VramplanError, match="no card with a price among .*: on_demand · nobody"):
        asked(market=Market(providers=("nobody",)))


# --- the pieces -------------------------------------------------------------------------------------------------------


def test_steps_of_a_size() -> None:
    wishes = Wishes(effective_batch=12)
    assert wishes.batches(1) == (1, 2, 4, 8)
    assert [wishes.accumulation(batch, 1) for batch in wishes.batches(1)] == [12, 6, 3, 2]
    assert (wishes.batches(8), wishes.accumulation(1, 8)) == ((1,), 2)
    assert (Wishes(batch=3).batches(1), Wishes(batch=3).accumulation(3, 1)) == ((3,), 6)
    assert Wishes(grad_accum=5).accumulation(4, 2) == 5


def test_the_command_is_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run again, the command says what the plan says."""
    import json

    from click.testing import CliRunner

    from vramplan.cli.app import app

    picks = asked(wishes=Wishes(counts=(1,))).picks + asked(wishes=Wishes(counts=(2,)), recipe=Recipe()).picks
    for pick in picks:
        words = estimate_command("gpt2", pick.plan.gpu, pick.plan.recipe)
        result = CliRunner().invoke(app, [*words[1:], "--profile", "none", "--json"])
        (one,) = json.loads(result.stdout)["estimates"]
        assert one["recipe"] == pick.plan.recipe.as_dict()
        assert one["headroom_bytes"] == pick.plan.gpu.capacity_bytes - pick.plan.need_bytes
        assert one["verdict"] == "fits"


def test_a_price_of_ones_own_needs_a_card() -> None:
    own = Market(usd_per_gpu_hour=Decimal("1.5"))
    found = asked(market=own, cards=("h100",), wishes=Wishes(counts=(1,)))
    assert found.picks[0].plan.cost.hire.price.kind == "own"
    with pytest.raises(VramplanError, match="--gpu"):
        plan_job(model_called("gpt2"), JOB, market=own, today=TODAY)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ({"budget_usd": Decimal(0)}, "--budget"), ({"budget_usd": Decimal("NaN")}, "--budget"),
        ({"deadline_s": 0}, "--deadline"), ({"deadline_s": 10**12}, "--deadline"), ({"batch": 0}, "batch"),
        ({"effective_batch": 10**9}, "effective_batch"), ({"counts": ()}, "--gpus"), ({"counts": (16,)}, "'16'"),
        ({"methods": ("qlra",)}, "qlora"), ({"methods": ("qlora",), "no_quantization": True}, "--no-quantization"),
    ],
)  # fmt: skip
def test_wishes_that_are_none(words: dict[str, Any], named: str) -> None:
    with pytest.raises(VramplanError, match=named):
        Wishes(**words)


def test_electricity_is_in_the_price_of_a_hire() -> None:
    power = PowerPlan(usd_per_kwh=Decimal("0.5"))
    for market, lines in ((Market(power=power), 0), (Market(power=power, usd_per_gpu_hour=Decimal(1)), 1)):
        bill = asked(market=market, cards=("a100-80",), wishes=Wishes(counts=(1,))).picks[0].plan.cost
        assert len([line for line in bill.lines if line.label == "electricity"]) == lines


def test_one_machine_of_ones_own() -> None:
    """What it holds is all there is; prices of others do not count beside it."""
    machine = Machine(purchase_usd=Decimal(30_000), gpus=3, years=Decimal(4), utilisation=Decimal("0.5"))
    found = asked(market=Market(machine=machine), cards=("h100",))
    assert {plan.gpus for plan in found.front} <= {1, 2}
    assert {plan.cost.hire.instances for plan in found.front} == {1}
    with pytest.raises(VramplanError, match="--provider"):
        Market(machine=machine, providers=("aws",))


def test_cards_that_were_named_and_left_out() -> None:
    unpriced = next(gpu.key for gpu in gpus() if not Market().hires(gpu, 1, TODAY))
    assert asked(cards=("h100", unpriced)).left_out[0] == f"{unpriced} is left out: no price on these terms"
    with pytest.raises(VramplanError, match=f"no card with a price among {unpriced}: on_demand"):
        asked(cards=(unpriced,))


def test_losses_that_a_stack_can_run() -> None:
    """TRL computes its own, whatever is asked for; the Trainer's can be Liger's."""
    for stack, losses in (("trl", {"chunked"}), ("hf-trainer", {"standard", "fused-linear"})):
        tried = choices(Recipe(), "lora", find_stack(stack), find_gpu("h100"), Wishes())
        assert {recipe.loss for recipe in tried} == losses


def test_a_format_of_weights_is_kept() -> None:
    assert {plan.recipe.quant for plan in asked(recipe=replace(NARROW, quant="nf4")).by_method} == {"nf4"}
    assert {plan.recipe.method for plan in asked(recipe=replace(NARROW, quant="none")).by_method} == {"full", "lora"}
    with pytest.raises(VramplanError, match="--no-quantization with --quant nf4"):
        asked(recipe=replace(NARROW, quant="nf4"), wishes=Wishes(no_quantization=True))
    with pytest.raises(VramplanError, match="--quant nf4 with --method full"):
        asked(recipe=replace(NARROW, quant="nf4"), wishes=Wishes(methods=("full", "lora")))


def test_all_cards_and_counts_are_searched() -> None:
    found = plan_job(model_called("gpt2"), JOB, today=TODAY, profile="none")
    assert found.cards > 40
    assert {plan.gpus for plan in found.front} <= set(COUNTS)


def test_a_command_to_copy() -> None:
    words = ("vramplan", "estimate", "./my model", "--gpu", "t4", "--no-checkpointing", "--batch", "4")
    assert shell_lines(words, 80) == ("vramplan estimate './my model' --gpu t4 --no-checkpointing --batch 4",)
    lines = shell_lines(words, 44)
    assert lines == ("vramplan estimate './my model' --gpu t4 \\", "  --no-checkpointing --batch 4")
    assert all(len(line) <= 44 for line in lines)


def test_without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(VramplanError, match=r"vramplan\[plan\]"):
        asked()


def test_what_cannot_be_described_is_said() -> None:
    for stack, recipe, said in (("nemo-automodel", NARROW, "stack"), ("trl", Recipe(targets="q_prj"), "q_prj")):
        with pytest.raises(VramplanError, match=said):
            asked(stack=stack, recipe=recipe)


def test_experts_that_stay_whole_are_said() -> None:
    found = asked("allenai/OLMoE-1B-7B-0125", cards=("h100",), wishes=Wishes(methods=("qlora",), counts=(1,)))
    assert any("experts" in note for note in found.picks[0].plan.notes)
