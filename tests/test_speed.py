"""Speed: FLOPs and bytes counted by hand, peaks of known cards, laws of time, and the formulas on arrays."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vramplan import estimate
from vramplan.catalog import find_gpu, find_model, find_stack, gpus, prices
from vramplan.errors import UnsupportedError
from vramplan.estimator.phases import StepMemory
from vramplan.estimator.result import Speed
from vramplan.gpu import Gpu
from vramplan.model import Model
from vramplan.profile import Constant, Interval, Profile
from vramplan.recipe import METHODS, Method, Recipe, ResolvedRecipe
from vramplan.resolve import resolve
from vramplan.speed import efficiencies, peaks, rates, speed, speed_notes, step_time, step_work
from vramplan.speed.card import has_inline_ecc, link_bytes_per_s, single_flops_per_s
from vramplan.speed.efficiency import reach
from vramplan.speed.products import tile_flops
from vramplan.speed.traffic import communication, dequantized_bytes, optimizer_traffic, unpacks_plainly
from vramplan.stack import Stack
from vramplan.step.setting import Setting
from vramplan.step.weights import Part

LAYERS, HIDDEN, WIDTH, VOCABULARY = 32, 4096, 11_008, 32_000
"""Llama-2-7B: all heads have keys of their own."""
IN_LAYERS = LAYERS * (4 * HIDDEN**2 + 3 * HIDDEN * WIDTH)
HEAD = HIDDEN * VOCABULARY
TOKENS = 2048
PAIRS = TOKENS * (TOKENS + 1) / 2 / TOKENS
"""Keys that a query of a causal sequence sees, on average."""
ATTENTION = LAYERS * 4 * HIDDEN * PAIRS
"""FLOPs a token of flash attention forwards."""
A100 = find_gpu("a100-80")


@cache
def model_called(name: str) -> Model:
    return find_model(name)


@cache
def stack_called(name: str) -> Stack:
    return find_stack(name)


def recipe_of(method: Method, stack: str = "hf-trainer", gpu: Gpu | None = A100, **knobs: Any) -> ResolvedRecipe:
    return resolve(Recipe(method=method, **knobs), method, stack_called(stack), gpu, strict=False)


def setting(
    method: Method = "full", *, name: str = "meta-llama/Llama-2-7b-hf", stack: str = "hf-trainer",
    gpu: Gpu | None = A100, **knobs: Any,
) -> Setting:  # fmt: skip
    return Setting(model_called(name), recipe_of(method, stack, gpu, **knobs), stack_called(stack), gpu)


def flops_per_token(c: Setting) -> float:
    return float(step_work(c).flops / c.tokens / c.recipe.grad_accum)


# --- FLOPs ------------------------------------------------------------------------------------------------------------


def test_full_fine_tuning_takes_six_for_each_parameter() -> None:
    """2 forwards, 4 backwards; the embedding is looked up, not multiplied; attention 1 forwards and 2.5 backwards."""
    by_hand = 6 * (IN_LAYERS + HEAD) + 3.5 * ATTENTION
    assert flops_per_token(setting(checkpointing=False)) == pytest.approx(by_hand, rel=1e-9)


def test_checkpoints_take_two_more_in_the_layers_only() -> None:
    by_hand = 8 * IN_LAYERS + 6 * HEAD + 4.5 * ATTENTION
    work = step_work(setting(checkpointing=True))
    assert work.flops / TOKENS == pytest.approx(by_hand, rel=1e-9)
    assert work.model_flops / TOKENS == pytest.approx(by_hand - 2 * IN_LAYERS - ATTENTION, rel=1e-9)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_lora_makes_no_gradient_of_frozen_weights(method: Method) -> None:
    """4 for each frozen parameter and 6 for each of an adapter; 2 more of both where a layer is recomputed."""
    adapters = LAYERS * 4 * 2 * 16 * HIDDEN
    knobs: dict[str, Any] = {"targets": "attention", "rank": 16}
    without = 4 * (IN_LAYERS + HEAD) + 6 * adapters + 3.5 * ATTENTION
    assert flops_per_token(setting(method, checkpointing=False, **knobs)) == pytest.approx(without, rel=1e-9)
    again = without + 2 * IN_LAYERS + 2 * adapters + ATTENTION
    assert flops_per_token(setting(method, checkpointing=True, **knobs)) == pytest.approx(again, rel=1e-9)


def test_eager_attention_works_on_the_whole_square() -> None:
    """Two products of S x S forwards and four backwards."""
    flash, eager = (setting(checkpointing=False, attention=kernel) for kernel in ("flash2", "eager"))
    square = LAYERS * 4 * HIDDEN * TOKENS
    assert flops_per_token(eager) - flops_per_token(flash) == pytest.approx(3 * square - 3.5 * ATTENTION, rel=1e-9)


def test_a_window_bounds_attention() -> None:
    """Mistral-7B sees 4,096 tokens: twice that length takes less than twice the attention a token."""
    name = "mistralai/Mistral-7B-v0.1"
    model = model_called(name)
    per_pair = 3.5 * LAYERS * 4 * HIDDEN
    rest = 6 * sum(m.weights * count for m, count in model.linears()) + 6 * model.head.weights
    c = setting(name=name, seq_len=8192, checkpointing=False, attention="flash2")
    pairs = 4096 - 4096 * 4095 / 2 / 8192
    assert flops_per_token(c) == pytest.approx(rest + per_pair * pairs, rel=1e-9)


@pytest.mark.parametrize(("loss", "passes"), [("standard", 3), ("fused-ce", 3), ("fused-linear", 3), ("chunked", 4)])
def test_products_of_the_head(loss: str, passes: int) -> None:
    """The chunked loss forms its logits a second time backwards (TRL's chunked_logprob.py)."""
    head_flops = flops_per_token(setting(loss=loss)) - 8 * IN_LAYERS - 4.5 * ATTENTION
    assert head_flops == pytest.approx(2 * passes * HEAD, rel=1e-9)


def test_only_the_chosen_experts_work() -> None:
    """Mixtral: 2 of 8 experts a token, and the router."""
    model = model_called("mistralai/Mixtral-8x7B-v0.1")
    attention = LAYERS * (2 * 4096**2 + 2 * 4096 * 1024)
    experts, router = LAYERS * 2 * 3 * 4096 * 14_336, LAYERS * 4096 * 8
    c = setting(name=model.id, checkpointing=False)
    by_hand = 6 * (attention + experts + router + model.head.weights) + 3.5 * ATTENTION
    assert flops_per_token(c) == pytest.approx(by_hand, rel=1e-9)


def test_experts_are_launched_one_by_one_before_hopper() -> None:
    """128 experts, two matrices, forwards, again and backwards, in 48 layers: a quarter of a launch each."""
    ampere, hopper = (
        step_work(setting("qlora", name="Qwen/Qwen3-30B-A3B", gpu=find_gpu(key), targets="q_proj")).kernels
        for key in ("a100-80", "h100")
    )
    assert ampere - hopper == 48 * 2 * 3 * (128 / 4 - 1)


def test_micro_batches_repeat_all_but_the_optimizer() -> None:
    once, four = (step_work(setting("lora", grad_accum=count)) for count in (1, 4))
    assert four.flops == 4 * once.flops
    assert four.once.bytes == once.once.bytes


# --- bytes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("checkpointing", "uses"), [(False, 2), (True, 3)])
def test_each_use_of_a_quantised_matrix_writes_it_out(checkpointing: bool, uses: int) -> None:
    """Forwards, again on recompute, backwards: half a byte and 4 / 64 read, 2 written, for each weight."""
    work = step_work(setting("qlora", checkpointing=checkpointing))
    assert work.dequantized_bytes == uses * IN_LAYERS * (0.5 + 0.0625 + 2)


def test_a_fused_4bit_product_writes_nothing_out_forwards() -> None:
    """bitsandbytes 0.50, for a few tokens; backwards always does."""
    few = step_work(setting("qlora", seq_len=16))
    assert few.dequantized_bytes == IN_LAYERS * 2.5625
    assert step_work(setting("lora")).dequantized_bytes == 0


def test_plain_gptq_unpacks_slowly() -> None:
    assert unpacks_plainly(setting("qlora", stack="qwen-1", quant="gptq-int4"))
    assert not unpacks_plainly(setting("qlora", stack="transformers-4.45+foak", quant="gptq-int4"))
    assert not unpacks_plainly(setting("qlora"))
    assert dequantized_bytes(setting("qlora"), 64) == 164


@pytest.mark.parametrize(
    ("optimizer", "accesses"),
    [("adamw", 21 * 2), ("adamw_fused", 7 * 2), ("sgd", 3 * 2), ("sgd_momentum", 6 * 2), ("adamw_8bit", 3 * 2 + 4),
     ("paged_adamw_32bit", 3 * 2 + 16), ("lion_8bit", 3 * 2 + 2), ("adafactor", 120)],
)  # fmt: skip
def test_bytes_of_an_optimizer_step(optimizer: str, accesses: int) -> None:
    """For an element of 16 bit, with clipping: 3 accesses of the gradient more."""
    part = Part("matrix", 1_000_000, "bf16", 3, columns=1000)
    c = setting("lora", optimizer=optimizer)
    assert optimizer_traffic(c, [part]).bytes == 3_000_000 * (accesses + 3 * 2)
    unclipped = setting("lora", stack="transformers-5", optimizer=optimizer)
    assert optimizer_traffic(unclipped, [part]).bytes == 3_000_000 * accesses


def test_bytes_between_cards() -> None:
    """Of what is shared among 8, each sends 7 / 8."""
    c = setting(grad_accum=4)
    weights = 2 * model_called("meta-llama/Llama-2-7b-hf").parameters
    sent = {"ddp": 2, "zero1": 2, "zero2": 5, "zero3": 12, "fsdp": 12}
    for sharding, times in sent.items():
        c.recipe = replace(c.recipe, gpus=8, sharding=sharding)  # type: ignore[arg-type]
        assert communication(c) == pytest.approx(times * weights * 7 / 8, rel=1e-6), sharding
    assert communication(setting()) == 0


def test_a_tile() -> None:
    assert tile_flops(4096, 4096, 4096) == 2 * 128 * 128 * 4096
    assert tile_flops(4096, 16, 4096) == 2 * 128 * 16 * 4096
    assert tile_flops(4096, 4096, 65_536) == 2 * 128 * 128 * 4096


# --- cards ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "tera"),
    [("t4", 8.1), ("v100-32", 15.7), ("a100-80", 19.5), ("h100", 61.8), ("rtx-3090", 35.6), ("rtx-4090", 82.6),
     ("rtx-a6000", 38.7), ("l40s", 91.6), ("a10g", 35.0), ("l4", 30.3), ("p100-16", 9.3), ("rtx-5090", 104.8)],
)  # fmt: skip
def test_fp32_peak_without_matrix_units(key: str, tera: float) -> None:
    """As the data sheets have it; H100's at the clock of its matrix units."""
    found = single_flops_per_s(find_gpu(key))
    assert found is not None
    assert found / 1e12 == pytest.approx(tera, rel=0.03)


def test_bf16_on_a_card_without_it_runs_on_cuda_cores() -> None:
    t4 = find_gpu("t4")
    half, brain = peaks(t4, "fp16"), peaks(t4, "bf16")
    assert half is not None and brain is not None
    assert (half.matrix_flops_per_s, brain.matrix_flops_per_s) == (65e12, single_flops_per_s(t4))


def test_check_bits_in_gddr6_take_a_sixteenth() -> None:
    assert {g.key for g in gpus() if has_inline_ecc(g)} == {
        "t4", "a2", "a10", "a10g", "a16", "a40", "l4", "l20", "l40", "l40s"
    }  # fmt: skip
    t4 = peaks(find_gpu("t4"), "fp16")
    assert t4 is not None and t4.memory_bytes_per_s == 320e9 * 15 / 16


def test_power_limits_the_matrix_units() -> None:
    """Where there is a measurement it comes out: A100 87 %, H100 80 %, B200 78 %."""
    for key, part in (("a100-80", 0.87), ("h100", 0.80), ("b200", 0.78), ("mi300x", 0.51), ("mi325x", 0.60)):
        assert reach(find_gpu(key)) == pytest.approx(part, abs=0.005), key
    assert reach(find_gpu("rtx-4090")) == 1
    assert reach(find_gpu("l4")) < reach(find_gpu("l40s")) < 1
    assert reach(find_gpu("h100-pcie")) < reach(find_gpu("h100"))


def test_links() -> None:
    assert link_bytes_per_s(A100) == (300e9, True)
    assert link_bytes_per_s(find_gpu("rtx-4090")) == (pytest.approx(31.5e9, rel=0.01), False)
    assert link_bytes_per_s(find_gpu("rtx-3090")) == (pytest.approx(31.5e9, rel=0.01), False)  # a bridge is optional


@pytest.mark.parametrize("gpu", tuple(gpus()), ids=lambda gpu: gpu.key)
def test_every_card_has_a_speed_or_a_reason(gpu: Gpu) -> None:
    model, stack = model_called("llama-8b"), stack_called("trl")
    found = speed(model, recipe_of("qlora", "trl", gpu), stack, gpu)
    said = speed_notes(model, gpu)
    assert (found is None) == bool(said)
    if found:
        assert 0 < found.interval[0] < found.tokens_per_s_per_gpu < found.interval[1]
        assert found.mfu is not None and 0 < found.mfu < 0.9


# --- profiles ---------------------------------------------------------------------------------------------------------


def profile(**values: float) -> Profile:
    units = {"launch_s": "s"}
    return Profile(
        name="a", gpu_key="a100-80", stack="trl", created="2026-11-22",
        constants={
            name: Constant(value=value, standard_error=0.0, unit=units.get(name, "1"), records=9)
            for name, value in values.items()
        },
        quantiles={"tokens_per_s": Interval(level=0.9, low=-0.05, high=0.04, records=9, models=3)},
    )  # fmt: skip


def test_a_profile_takes_the_place_of_published_constants() -> None:
    plain = efficiencies(A100)
    own = efficiencies(A100, profile(matmul_efficiency=plain.matmul_efficiency / 2, launch_s=1e-5))
    assert own.matmul_efficiency == plain.matmul_efficiency / 2
    assert own.flash_efficiency == pytest.approx(plain.flash_efficiency / 2)
    assert own.memory_efficiency == plain.memory_efficiency
    assert own.launch_s == 1e-5
    assert (plain.source, own.source) == ("assumed", "fitted")
    assert (own.low, own.high) == (0.95, 1.04)
    assert efficiencies(A100, replace(profile(), quantiles={})) == plain


def test_a_profile_narrows_the_interval() -> None:
    c = setting("lora")
    wide, narrow = rates(c, A100), rates(c, A100, profile(matmul_efficiency=0.7))
    assert wide is not None and narrow is not None
    for found in (wide, narrow):
        assert found.low_tokens_per_s < found.tokens_per_s < found.high_tokens_per_s
    assert narrow.high_tokens_per_s / narrow.tokens_per_s < wide.high_tokens_per_s / wide.tokens_per_s


def test_cards_without_published_runs_and_mixtures_are_less_sure() -> None:
    plain, other = efficiencies(A100), efficiencies(find_gpu("rtx-4090"))
    assert other.low < plain.low < 1 < plain.high < other.high
    assert efficiencies(A100, mixture=True).low < plain.low


# --- time -------------------------------------------------------------------------------------------------------------

MODELS = (
    "llama-8b", "gpt2", "gemma-2-9b", "tiiuae/falcon-7b", "microsoft/phi-2", "mixtral", "openai/gpt-oss-20b",
    "deepseek-ai/DeepSeek-V2-Lite", "bigcode/gpt_bigcode-santacoder", "SmolLM2-135M",
)  # fmt: skip
CARDS = ("t4", "v100-32", "rtx-3090", "rtx-4090", "l40s", "a100-80", "h100")
STACKS = ("trl", "transformers-5", "unsloth", "transformers-4.35", "qwen-1", "trl+compile")


class Case:
    """One question with every knob decided."""

    def __init__(self, model: Model, recipe: ResolvedRecipe, stack: Stack, gpu: Gpu) -> None:
        self.model, self.recipe, self.stack, self.gpu = model, recipe, stack, gpu

    def speed(self, gpu: Gpu | None = None, **changes: Any) -> Speed:
        found = speed(self.model, replace(self.recipe, **changes), self.stack, gpu or self.gpu)
        assert found is not None
        return found

    def __repr__(self) -> str:
        return f"{self.model.id}, {self.gpu.key}, {self.stack.name}, {self.recipe.as_dict()}"


@st.composite
def cases(draw: st.DrawFn) -> Case:
    model = model_called(draw(st.sampled_from(MODELS)))
    stack, gpu = stack_called(draw(st.sampled_from(STACKS))), find_gpu(draw(st.sampled_from(CARDS)))
    knobs: dict[str, Any] = {
        "batch": draw(st.integers(1, 64)), "seq_len": draw(st.integers(1, 16_384)),
        "rank": draw(st.sampled_from((1, 16, 256))), "grad_accum": draw(st.sampled_from((1, 4))),
        "checkpointing": draw(st.booleans()), "quant": draw(st.sampled_from((None, "nf4", "int8", "gptq-int4"))),
        "optimizer": draw(st.sampled_from((None, "adamw", "adamw_8bit", "adafactor", "sgd"))),
        "loss": draw(st.sampled_from(("standard", "chunked", "fused-linear", "fused-ce"))),
        "attention": draw(st.sampled_from(("sdpa", "eager"))),
    }  # fmt: skip
    method = draw(st.sampled_from(METHODS))
    try:
        resolved = resolve(Recipe(method=method, **knobs), method, stack, gpu, strict=False)
        Setting(model, resolved, stack, gpu)
    except UnsupportedError:
        assume(False)
    return Case(model, resolved, stack, gpu)


@given(cases())
def test_a_speed_holds_together(case: Case) -> None:
    found = case.speed()
    tokens = case.recipe.batch * case.recipe.seq_len * case.recipe.grad_accum
    assert found.tokens_per_s_per_gpu * found.step_time_s == pytest.approx(tokens)
    assert sum(found.shares.values()) == pytest.approx(1)
    assert min(found.shares.values()) >= 0
    assert found.shares[found.bound_by] == max(found.shares.values())
    assert found.mfu is not None and 0 < found.mfu < 1
    explained = speed(case.model, case.recipe, case.stack, case.gpu, explained=True)
    assert explained is not None
    assert sum(term.duration_s for term in explained.terms) == pytest.approx(found.step_time_s)


@given(cases(), st.sampled_from(("batch", "seq_len", "rank", "grad_accum")), st.integers(1, 64))
def test_more_work_never_takes_less_time(case: Case, knob: str, more: int) -> None:
    assume(knob != "rank" or case.recipe.has_adapters)
    longer = case.speed(**{knob: getattr(case.recipe, knob) + more})
    assert longer.step_time_s >= case.speed().step_time_s * (1 - 1e-12)


@given(cases())
def test_checkpoints_never_make_it_faster(case: Case) -> None:
    with_them, without = (case.speed(checkpointing=on).step_time_s for on in (True, False))
    assert with_them >= without


@given(cases(), st.floats(1, 8), st.floats(1, 8), st.floats(1, 8))
def test_a_faster_card_is_never_slower(case: Case, matrix: float, memory: float, power: float) -> None:
    gpu = case.gpu
    assert gpu.fp16_dense_tflops is not None and gpu.mem_bandwidth_gb_per_s is not None and gpu.tdp_w is not None
    brain = gpu.bf16_dense_tflops
    better = replace(
        gpu,
        fp16_dense_tflops=gpu.fp16_dense_tflops * matrix,
        bf16_dense_tflops=None if brain is None else brain * matrix,
        mem_bandwidth_gb_per_s=gpu.mem_bandwidth_gb_per_s * memory,
        tdp_w=math.ceil(gpu.tdp_w * power),
    )
    # the clock that a peak implies tells half-rate cards from others: a matter of real cards, not of this law
    assume(case.recipe.dtype != "fp32" and not case.recipe.kbit_prep)
    assume(gpu.compute_capability == (8, 0) or matrix == 1 or brain is None)
    assert case.speed(better).step_time_s <= case.speed().step_time_s * (1 + 1e-9)


@given(cases())
def test_merging_equal_products_loses_none(case: Case) -> None:
    """A layer's own products, one by one, take as long as the counted ones."""
    c = Setting(case.model, case.recipe, case.stack, case.gpu)
    for work, _ in step_work(c).passes:
        counted = sum(product.count * product.flops for product in work.products.values())
        assert counted + work.attention_flops == pytest.approx(work.flops)


@settings(max_examples=15)
@given(cases(), st.lists(st.tuples(st.integers(1, 64), st.integers(1, 4096), st.integers(1, 256)), min_size=1))
def test_many_at_once_are_as_one_by_one(case: Case, rows: list[tuple[int, int, int]]) -> None:
    """A window shorter than some texts and longer than others picks another kernel, and several sequences may be
    copied where one is not: one kind at a time."""
    windows = {block.attention.window for block in case.model.blocks}
    assume(windows == {None} and len({batch > 1 for batch, _, _ in rows}) == 1)
    batch, seq_len, rank = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    ranks = {"rank": rank} if case.recipe.has_adapters else {}
    recipe = replace(case.recipe, batch=batch, seq_len=seq_len, **ranks)
    found = rates(StepMemory(Setting(case.model, recipe, case.stack, case.gpu)), case.gpu)
    assert found is not None
    for place, (b, s, r) in enumerate(rows):
        one = case.speed(batch=b, seq_len=s, **({"rank": r} if ranks else {}))
        assert found.time.step_s[place] == pytest.approx(one.step_time_s)
        assert found.low_tokens_per_s[place] == pytest.approx(one.interval[0])


def test_the_host_sets_the_pace_of_small_steps() -> None:
    small = speed(model_called("SmolLM2-135M"), recipe_of("lora", seq_len=64), stack_called("hf-trainer"), A100)
    large = speed(model_called("llama-8b"), recipe_of("lora", batch=8), stack_called("hf-trainer"), A100)
    assert small is not None and large is not None
    assert (small.bound_by, large.bound_by) == ("launches", "matrix")
    assert small.interval[0] / small.tokens_per_s_per_gpu < large.interval[0] / large.tokens_per_s_per_gpu


def test_several_cards_send() -> None:
    """Sharded weights travel: hidden on NVLink, in the open over PCIe."""
    c = setting("lora", batch=8)
    work = step_work(c)
    for key, most in (("a100-80", 1.05), ("rtx-3090", 99.0)):
        gpu = find_gpu(key)
        c.recipe = replace(c.recipe, gpus=4, sharding="fsdp")
        alone, card = rates(Setting(c.model, replace(c.recipe, gpus=1), c.stack, gpu), gpu), peaks(gpu, "bf16")
        work.sent_bytes = communication(c)
        assert alone is not None and card is not None
        time = step_time(work, card, efficiencies(gpu), link_bytes_per_s(gpu))
        assert alone.time.step_s < time.step_s <= most * alone.time.step_s


# --- in the answer ----------------------------------------------------------------------------------------------------


def test_speed_and_cost_join_the_estimate() -> None:
    found = estimate("llama-8b", "a100-80").estimates
    for one in found:
        assert one.speed is not None and one.cost is not None
        tokens_per_dollar = one.speed.tokens_per_s_per_gpu * 3600 / float(one.cost.usd_per_hour)
        assert float(one.cost.usd_per_million_tokens) == pytest.approx(1e6 / tokens_per_dollar, rel=1e-3)
        assert one.cost.interval[0] < one.cost.usd_per_million_tokens < one.cost.interval[1]
        assert one.speed.terms == ()
    (explained,) = estimate("llama-8b", "a100-80", Recipe(method="lora"), levers=True).estimates
    assert explained.speed is not None and explained.speed.terms


def test_nothing_is_invented_for_a_card_that_is_not_known() -> None:
    for key in ("gb10", "gtx-1080-ti"):
        for one in estimate("llama-8b", key).estimates:
            assert (one.speed, one.cost) == (None, None)
            assert any(note.startswith("No speed: ") for note in one.notes)
    assert all(one.speed is None for one in estimate("llama-8b").estimates)


def test_a_card_without_a_price_has_no_cost() -> None:
    priceless = next(
        gpu
        for gpu in gpus()
        if gpu.cuda and not speed_notes(model_called("llama-8b"), gpu) and not tuple(prices(gpu.key))
    )
    (one,) = estimate("llama-8b", priceless, Recipe(method="qlora")).estimates
    assert one.speed is not None and one.cost is None
    assert f"No cost: no price of the {priceless.name} is known." in one.notes
