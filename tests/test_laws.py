"""Laws that hold for any model, recipe, stack and card: more work never needs less memory, and every sum adds up."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vramplan.catalog import find_gpu, find_model, find_stack, gpus, models, stacks
from vramplan.errors import UnsupportedError, VramplanError
from vramplan.estimator import allocated_bytes, answer, estimate_one, memory_tiers
from vramplan.estimator.phases import StepMemory
from vramplan.estimator.result import Estimate
from vramplan.estimator.search import Evaluator, largest_that_fits
from vramplan.families import model_from_config
from vramplan.gpu import Gpu
from vramplan.model import Experts, Model
from vramplan.recipe import CHOICES, LIMITS, METHODS, Method, Recipe, ResolvedRecipe
from vramplan.resolve import resolve
from vramplan.stack import Stack
from vramplan.step.setting import Setting
from vramplan.step.weights import quantized, total, unquantized

MODELS = (
    "llama-8b", "llama-70b", "qwen2.5-7b", "bloom-560m", "gpt2", "facebook/opt-350m", "tiiuae/falcon-7b", "gemma-2-9b",
    "google/gemma-3-4b-pt", "microsoft/phi-2", "microsoft/Phi-3-mini-4k-instruct", "EleutherAI/gpt-j-6b",
    "EleutherAI/pythia-6.9b", "allenai/OLMo-2-1124-7B", "mixtral", "Qwen/Qwen1.5-MoE-A2.7B", "openai/gpt-oss-20b",
    "deepseek-ai/DeepSeek-V2-Lite", "CohereLabs/aya-23-8B", "bigcode/gpt_bigcode-santacoder",
)  # fmt: skip
CARDS = ("t4", "rtx4090", "a100-40", "a100-80", "h100", "v100-32")
STACKS = (*(stack.name for stack in stacks() if not stack.unsupported), "transformers-4.48+foak", "trl+compile")


@cache
def model_called(name: str) -> Model:
    return find_model(name)


@cache
def card_called(name: str | None) -> Gpu | None:
    return None if name is None else find_gpu(name)


STACK_CALLED = {name: find_stack(name) for name in STACKS}


class Case:
    """One question with every knob decided."""

    def __init__(self, model: Model, recipe: ResolvedRecipe, stack: Stack, gpu: Gpu | None) -> None:
        self.model, self.recipe, self.stack, self.gpu = model, recipe, stack, gpu

    def __repr__(self) -> str:
        return f"{self.model.id}, {self.gpu and self.gpu.key}, {self.stack.name}, {self.recipe.as_dict()}"

    def needs(self, **changes: Any) -> tuple[int, int, int]:
        """Bytes: allocated, and both ends of the edge on the device."""
        tier, _ = memory_tiers(self.model, replace(self.recipe, **changes), self.stack, self.gpu)
        return tier.allocated_bytes, tier.edge_low_bytes, tier.edge_high_bytes

    def estimate(self) -> Estimate:
        return estimate_one(self.model, self.recipe, self.stack, self.gpu)


def knob(name: str) -> st.SearchStrategy[Any]:
    return st.none() | st.sampled_from(CHOICES[name])


recipes = st.builds(
    Recipe,
    rank=st.none() | st.sampled_from((1, 8, 64, 256)),
    targets=st.none() | st.sampled_from(("all-linear", "attention")),
    quant=knob("quant"),
    dtype=knob("dtype"),
    autocast=knob("autocast"),
    adapter_dtype=knob("adapter_dtype"),
    kbit_prep=st.none() | st.booleans(),
    optimizer=knob("optimizer"),
    batch=st.integers(1, 64),
    seq_len=st.integers(1, 16_384),
    grad_accum=st.sampled_from((1, 4)),
    checkpointing=st.none() | st.booleans(),
    attention=knob("attention"),
    loss=knob("loss"),
    lora_dropout=st.sampled_from((None, 0.0, 0.1)),
)


@st.composite
def cases(draw: st.DrawFn, names: tuple[str, ...] = MODELS, methods: tuple[Method, ...] = METHODS) -> Case:
    model = model_called(draw(st.sampled_from(names)))
    stack = STACK_CALLED[draw(st.sampled_from(STACKS))]
    gpu = card_called(draw(st.none() | st.sampled_from(CARDS)))
    recipe = draw(recipes)
    try:
        resolved = resolve(recipe, draw(st.sampled_from(methods)), stack, gpu, strict=False)
        memory_tiers(model, resolved, stack, gpu)
    except UnsupportedError:
        assume(False)
    return Case(model, resolved, stack, gpu)


def no_less(more: tuple[int, ...], less: tuple[int, ...]) -> bool:
    return all(a >= b for a, b in zip(more, less, strict=True))


# --- more never needs less -------------------------------------------------------------------------------------------


@given(cases(), st.integers(1, 64))
def test_a_larger_batch(case: Case, more: int) -> None:
    assert no_less(case.needs(batch=case.recipe.batch + more), case.needs())


@given(cases(), st.integers(1, 4096))
def test_a_longer_sequence(case: Case, more: int) -> None:
    assert no_less(case.needs(seq_len=case.recipe.seq_len + more), case.needs())


@given(cases(methods=("lora", "qlora")), st.integers(1, 64))
def test_a_higher_rank(case: Case, more: int) -> None:
    """Not with 8-bit or paged states: a tensor of 4,096 elements has smaller ones than a tensor of 4,095, and one of
    100,000 has them outside torch's memory (test_step.py)."""
    assume("8bit" not in case.recipe.optimizer and "paged" not in case.recipe.optimizer)
    assert no_less(case.needs(rank=case.recipe.rank + more), case.needs())


@given(cases(), st.integers(2, 16))
def test_accumulated_gradients(case: Case, count: int) -> None:
    assert no_less(case.needs(grad_accum=count), case.needs(grad_accum=1))


def llama(**figures: int) -> Model:
    base = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 4, "num_attention_heads": 16,
            "num_key_value_heads": 4, "vocab_size": 32_000}  # fmt: skip
    return model_from_config({"model_type": "llama", "dtype": "bfloat16", **base, **figures}, id="config.json")


FIGURES = ("num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size")


@given(cases(), st.integers(1, 4), st.sampled_from(FIGURES))
def test_a_larger_model(case: Case, times: int, figure: str) -> None:
    """Layers, width of the stream, width of the MLP, vocabulary."""
    assume("8bit" not in case.recipe.optimizer and "paged" not in case.recipe.optimizer)
    assume(not (case.recipe.loss == "fused-linear" and figure == "vocab_size"))  # Liger then cuts thinner chunks
    unit = {"num_hidden_layers": 1, "hidden_size": 256, "intermediate_size": 128, "vocab_size": 1000}[figure]
    start = {"num_hidden_layers": 2, "hidden_size": 1024, "intermediate_size": 1024, "vocab_size": 8000}[figure]
    small = Case(llama(**{figure: start}), case.recipe, case.stack, case.gpu)
    large = Case(llama(**{figure: start + times * unit}), case.recipe, case.stack, case.gpu)
    assert no_less(large.needs(), small.needs())


@pytest.mark.parametrize("name", MODELS)
def test_qlora_weights_never_exceed_loras(name: str) -> None:
    """Before k-bit preparation: that doubles what is not quantised, more than a small model with a large vocabulary
    saves (BLOOM-560m)."""
    model, stack = model_called(name), find_stack("hf-trainer")
    for dtype in CHOICES["dtype"]:
        plain = Setting(model, resolve(Recipe(dtype=dtype), "lora", stack), stack, None)  # type: ignore[arg-type]
        whole = total(unquantized(plain))
        for quant in ("nf4", "nf4-dq", "fp4", "fp4-dq", "int8"):
            asked = Recipe(dtype=dtype, quant=quant)  # type: ignore[arg-type]
            c = Setting(model, resolve(asked, "qlora", stack), stack, None)
            assert total(quantized(c)) + total(unquantized(c)) <= whole
        order = [
            total(quantized(Setting(model, resolve(Recipe(quant=q), "qlora", stack), stack, None)))  # type: ignore[arg-type]
            for q in ("nf4-dq", "nf4", "int8")
        ]
        assert order == sorted(order)


# --- one answer agrees with itself -----------------------------------------------------------------------------------


@given(cases())
def test_the_three_tiers_are_in_order(case: Case) -> None:
    memory = case.estimate().memory
    low, high = memory.device_interval_bytes
    assert 0 < memory.allocated_bytes <= memory.reserved_bytes <= memory.device_bytes
    assert low <= memory.device_bytes <= high
    assert all(type(size) is int for size in (memory.allocated_bytes, memory.reserved_bytes, low, high))


@given(cases())
def test_the_terms_of_the_binding_phase_are_the_allocated_peak(case: Case) -> None:
    memory = case.estimate().memory
    living = [
        term for term in memory.terms
        if memory.binding_phase in term.phases and term.group not in ("allocator", "context")
    ]  # fmt: skip
    assert sum(term.bytes for term in living) == memory.allocated_bytes
    assert all(term.bytes >= 0 for term in memory.terms), [term for term in memory.terms if term.bytes < 0]
    assert all(term.formula and term.phases for term in memory.terms)


@given(cases())
def test_phases_peak_at_the_allocated_peak(case: Case) -> None:
    memory = case.estimate().memory
    peaks = {phase.name: phase.allocated_bytes for phase in memory.phases}
    assert max(peaks.values()) == peaks[memory.binding_phase] == memory.allocated_bytes
    assert min(peaks.values()) > 0


@given(cases())
def test_parameters_are_counted(case: Case) -> None:
    counted = case.estimate().parameters
    assert 0 < counted.trainable <= counted.total
    assert 0 <= counted.quantized <= case.model.parameters
    if case.recipe.method == "full":
        assert counted.total == counted.trainable == case.model.parameters
    else:
        assert counted.total == case.model.parameters + counted.trainable


@given(cases())
def test_the_verdict_is_what_the_interval_says(case: Case) -> None:
    found = case.estimate()
    if case.gpu is None:
        assert (found.verdict, found.headroom_bytes, found.largest_micro_batch) == (None, None, None)
        return
    _, low, high = case.needs()
    capacity = case.gpu.capacity_bytes
    expected = "fits" if high <= capacity else "tight" if low <= capacity else "does_not_fit"
    assert found.verdict == expected
    assert (found.verdict == "fits") == (found.headroom_bytes is not None and found.headroom_bytes >= 0)


# --- arrays ----------------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(
    cases(),
    st.lists(st.tuples(st.integers(1, 300), st.integers(1, 9000), st.integers(1, 300)), min_size=1, max_size=6),
)
def test_arrays_and_single_questions_give_the_same_numbers(case: Case, counts: list[tuple[int, int, int]]) -> None:
    batch, seq_len, rank = (np.array(column) for column in zip(*counts, strict=True))
    together = allocated_bytes(case.model, case.recipe, case.stack, case.gpu, batch=batch, seq_len=seq_len, rank=rank)
    for (b, s, r), found in zip(counts, together, strict=True):
        asked = replace(case.recipe, batch=b, seq_len=s, rank=r if case.recipe.has_adapters else 0)
        one = StepMemory(Setting(case.model, asked, case.stack, case.gpu)).allocated
        assert (type(one), int(found)) == (int, one)


def test_arrays_broadcast_and_refuse_nonsense() -> None:
    stack = find_stack("trl")
    recipe = resolve(Recipe(), "qlora", stack)
    model = model_called("llama-8b")
    grid = allocated_bytes(model, recipe, stack, batch=np.arange(1, 4)[:, None], seq_len=np.array([128, 4096]))
    assert grid.shape == (3, 2) and grid.dtype == np.int64
    assert allocated_bytes(model, recipe, stack, batch=7) == allocated_bytes(model, recipe, stack, batch=[7])[0]
    assert allocated_bytes(model, recipe, stack, batch=np.array([], dtype=int)).shape == (0,)
    nonsense: tuple[dict[str, Any], ...] = (
        {}, {"layers": [1]}, {"batch": [0]}, {"seq_len": [-1]}, {"rank": [10**9]}, {"batch": [1.5]}, {"batch": [1e30]},
        {"batch": [float("nan")]}, {"batch": ["a"]}, {"batch": [None]}, {"batch": [[1], [2, 3]]},
        {"batch": [1, 2], "seq_len": [1, 2, 3]},
    )  # fmt: skip
    for counts in nonsense:
        with pytest.raises(VramplanError):
            allocated_bytes(model, recipe, stack, **counts)


# --- search ----------------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=80), st.integers(-10, 2500))
def test_the_search_finds_what_trying_all_finds(steps: list[int], limit: int) -> None:
    needs = np.cumsum(steps).tolist()
    calls: list[int] = []

    def need(n: int) -> int:
        calls.append(n)
        return int(needs[n - 1])

    expected = sum(value <= limit for value in needs)
    assert largest_that_fits(need, limit, len(needs)) == expected
    assert len(calls) <= 40


@settings(max_examples=100)
@given(st.integers(0, 10**9), st.integers(0, 10**6), st.integers(0, 10**3), st.integers(0, 10**12))
def test_the_search_is_quick_on_curves(start: int, slope: int, bend: int, limit: int) -> None:
    calls = 0

    def need(n: int) -> int:
        nonlocal calls
        calls += 1
        return start + slope * n + bend * n * n

    found = largest_that_fits(need, limit, LIMITS["seq_len"])
    used = calls
    assert found == 0 or need(found) <= limit
    assert found == LIMITS["seq_len"] or need(found + 1) > limit
    assert used <= 60


@settings(max_examples=25)
@given(cases(names=("llama-8b", "bloom-560m", "gemma-2-9b", "mixtral", "gpt2")))
def test_limits_are_the_edge(case: Case) -> None:
    """What the answer calls the largest batch and length fits; one more does not."""
    assume(case.gpu is not None)
    assert case.gpu is not None
    found, capacity = case.estimate(), case.gpu.capacity_bytes
    evaluator = Evaluator(case.model, case.recipe, case.stack, case.gpu)
    for knob_name, limit in (("batch", found.largest_micro_batch), ("seq_len", found.longest_seq_len)):
        assert limit is not None
        assert limit == 0 or evaluator.need(**{knob_name: limit}) <= capacity
        assert limit == LIMITS[knob_name] or evaluator.need(**{knob_name: limit + 1}) > capacity
    asked = case.recipe.batch
    assert (found.verdict == "fits") == (found.largest_micro_batch is not None and found.largest_micro_batch >= asked)


# --- everything answers ----------------------------------------------------------------------------------------------

KNOBS: tuple[dict[str, Any], ...] = (
    {},
    {"checkpointing": False, "attention": "eager", "loss": "standard", "optimizer": "adafactor"},
    {"batch": 8, "seq_len": 512, "autocast": "none", "kbit_prep": True, "optimizer": "paged_adamw_8bit", "rank": 64},
)


@pytest.mark.parametrize("knobs", KNOBS, ids=("defaults", "plain", "kbit"))
def test_every_model_of_the_catalogue_answers_or_says_why(knobs: dict[str, Any]) -> None:
    refused = []
    for entry in models():
        try:
            model = entry.model()
        except VramplanError:
            continue
        for method in METHODS:
            try:
                found = answer(model, None, Recipe(method=method, **knobs), methods=(method,)).estimates[0]
            except VramplanError as error:
                refused.append((entry.id, method, str(error)))
                continue
            memory = found.memory
            assert memory.allocated_bytes > model.parameters // 3
            assert min(term.bytes for term in memory.terms) >= 0
            assert max(phase.allocated_bytes for phase in memory.phases) == memory.allocated_bytes
    assert not refused, refused


def test_mixtures_say_that_experts_stay_whole() -> None:
    for name in MODELS:
        model = model_called(name)
        mixture = any(isinstance(block.feed_forward, Experts) for block in model.blocks)
        notes = answer(model, None, Recipe(method="qlora"), methods=("qlora",)).estimates[0].notes
        assert mixture == any("experts" in note for note in notes), name


@pytest.mark.parametrize("gpu", [gpu for gpu in gpus() if gpu.cuda], ids=lambda gpu: gpu.key)
def test_every_card_answers(gpu: Gpu) -> None:
    for found in answer(model_called("llama-8b"), gpu, Recipe()).estimates:
        assert found.verdict in ("fits", "tight", "does_not_fit")
        assert found.memory.device_bytes >= found.memory.allocated_bytes
