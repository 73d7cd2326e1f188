"""Answers: how knobs are decided, what is refused, what is said besides, and that no input ends in a traceback."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vramplan import Answer, Recipe, VramplanError, estimate
from vramplan.catalog import find_gpu, find_model, find_stack, gpus, stacks
from vramplan.errors import InvalidValueError, UnknownNameError, UnsupportedError
from vramplan.estimator import memory_tiers
from vramplan.estimator.result import Estimate
from vramplan.estimator.search import smallest_cards
from vramplan.families import model_from_config
from vramplan.gpu import Gpu
from vramplan.recipe import CHOICES, LIMITS, METHODS, Method, ResolvedRecipe
from vramplan.resolve import resolve
from vramplan.step.setting import Setting


def resolved(
    method: Method = "qlora", stack: str = "hf-trainer", gpu: str | None = None, **asked: Any
) -> ResolvedRecipe:
    return resolve(Recipe(**asked), method, find_stack(stack), find_gpu(gpu) if gpu else None)


def one(model: str, gpu: str | None = None, stack: str = "trl", **asked: Any) -> Estimate:
    return estimate(model, gpu, Recipe(**asked), stack=stack).estimates[0]


# --- how knobs are decided -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "stack", "expected"),
    [
        ("qlora", "trl", {"quant": "nf4-dq", "adapter_dtype": "bf16", "loss": "chunked", "kbit_prep": False,
                          "autocast": "bf16", "optimizer": "adamw_fused", "attention": "sdpa", "rank": 16,
                          "targets": "all-linear"}),
        ("lora", "trl", {"quant": "none", "adapter_dtype": "fp32", "dtype": "bf16"}),
        ("full", "trl", {"quant": "none", "rank": 0, "targets": "", "lora_dropout": 0.0}),
        ("qlora", "peft-kbit", {"kbit_prep": True, "adapter_dtype": "fp32", "loss": "standard"}),
        ("lora", "peft-kbit", {"kbit_prep": False}),
        ("lora", "litgpt", {"autocast": "none", "adapter_dtype": "bf16", "checkpointing": False, "optimizer": "adamw"}),
        ("lora", "torchtune", {"autocast": "none", "adapter_dtype": "bf16", "loss": "chunked"}),
        ("lora", "unsloth", {"optimizer": "adamw_8bit", "loss": "fused-ce"}),
        ("lora", "liger", {"loss": "fused-linear"}),
        ("lora", "transformers-4.48", {"attention": "flash2", "targets": "attention", "lora_dropout": 0.1,
                                        "autocast": "none"}),
        ("qlora", "transformers-4.48", {"autocast": "bf16"}),
        ("lora", "transformers-4.48+foak", {"attention": "flash2"}),
    ],
)  # fmt: skip
def test_stacks_decide_what_is_left_out(method: Method, stack: str, expected: dict[str, Any]) -> None:
    found = resolved(method, stack).as_dict()
    assert {knob: found[knob] for knob in expected} == expected


@pytest.mark.parametrize("stack", [s.name for s in stacks() if not s.unsupported])
@pytest.mark.parametrize("method", METHODS)
def test_what_is_asked_wins_over_every_stack(stack: str, method: Method) -> None:
    asked: dict[str, Any] = {
        "dtype": "fp32", "autocast": "none", "optimizer": "sgd", "checkpointing": False, "attention": "eager",
        "loss": "standard", "batch": 3, "seq_len": 77, "grad_accum": 5,
    }  # fmt: skip
    if method != "full":
        asked |= {"rank": 5, "targets": "attention", "adapter_dtype": "fp16", "lora_dropout": 0.25}
    found = resolved(method, stack, **asked).as_dict()
    assert {knob: found[knob] for knob in asked} == asked
    assert set(found) == {f.name for f in fields(ResolvedRecipe)}
    assert all(value is not None for value in found.values())


@pytest.mark.parametrize(
    ("gpu", "method", "asked", "dtype", "autocast"),
    [
        ("t4", "qlora", {}, "fp16", "fp16"),
        ("t4", "lora", {}, "fp16", "fp16"),
        ("v100-32", "lora", {}, "fp16", "fp16"),
        ("t4", "full", {}, "fp32", "fp16"),  # the scaler refuses fp16 gradients
        ("t4", "qlora", {"dtype": "bf16"}, "bf16", "fp16"),
        ("t4", "qlora", {"autocast": "bf16"}, "fp16", "bf16"),
        ("t4", "qlora", {"dtype": "fp32", "autocast": "none"}, "fp32", "none"),
        ("a100-80", "qlora", {}, "bf16", "bf16"),
        ("a100-80", "qlora", {"dtype": "fp16"}, "fp16", "fp16"),
        (None, "full", {}, "bf16", "bf16"),
    ],
)
def test_precision_follows_the_card(
    gpu: str | None, method: Method, asked: dict[str, Any], dtype: str, autocast: str
) -> None:
    found = resolved(method, gpu=gpu, **asked)
    assert (found.dtype, found.autocast) == (dtype, autocast)


def test_sixteen_bit_adapters_follow_the_weights() -> None:
    assert resolved("qlora", "trl", "t4").adapter_dtype == "fp16"
    assert resolved("qlora", "trl", "t4", adapter_dtype="bf16").adapter_dtype == "bf16"
    assert resolved("lora", "trl", "t4").adapter_dtype == "fp32"


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "quant"),
    [("full", "nf4"), ("full", "int8"), ("lora", "nf4"), ("lora", "fp4-dq"), ("qlora", "none")],
)
def test_a_format_the_method_cannot_take(method: Method, quant: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"--quant {quant} with --method {method}.*--method"):
        resolved(method, quant=quant)
    with pytest.raises(UnsupportedError):
        estimate("llama-8b", None, Recipe(method=method, quant=quant))  # type: ignore[arg-type]
    # side by side the same knob serves the methods that take it
    side_by_side = estimate("llama-8b", None, Recipe(quant=quant), methods=METHODS)  # type: ignore[arg-type]
    assert [e.recipe.method for e in side_by_side.estimates] == list(METHODS)


@pytest.mark.parametrize("stack", [s.name for s in stacks() if s.unsupported])
def test_stacks_that_cannot_be_described_say_why(stack: str) -> None:
    with pytest.raises(UnsupportedError, match=stack):
        estimate("llama-8b", None, stack=stack)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"batch": 0}, "batch: 0 is not a whole number from 1"),
        ({"batch": -1}, "batch: -1"),
        ({"batch": 1.5}, "batch: 1.5"),
        ({"batch": 1e30}, "batch: 1e"),
        ({"batch": True}, "batch: True"),
        ({"batch": "2"}, "batch: '2'"),
        ({"seq_len": 10**30}, "seq_len: 1000"),
        ({"rank": 0}, "rank: 0"),
        ({"grad_accum": float("nan")}, "grad_accum: nan"),
        ({"gpus": 0}, "gpus: 0"),
        ({"lora_dropout": 1.0}, "lora_dropout: 1.0 is not a probability"),
        ({"lora_dropout": float("nan")}, "lora_dropout: nan"),
        ({"lora_dropout": "0.1"}, "lora_dropout: '0.1'"),
        ({"optimizer": "adamv"}, "unknown optimizer 'adamv'; nearest: adamw"),
        ({"method": "dora"}, "unknown method 'dora'; nearest: .*lora"),
        ({"attention": "flash"}, "unknown attention 'flash'; nearest: .*flash2"),
        ({"checkpointing": "yes"}, "checkpointing: 'yes' is not true or false"),
        ({"targets": ""}, "targets"),
    ],
)
def test_impossible_knobs_are_named(asked: dict[str, Any], message: str) -> None:
    with pytest.raises((InvalidValueError, UnknownNameError), match=message) as caught:
        estimate("llama-8b", None, Recipe(**{"method": "lora", **asked}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "gpu", "stack", "nearest"),
    [
        ("lama-70b", None, "trl", "llama-70b"),
        ("llama-8b", "a100-81", "trl", "a100-80"),
        ("llama-8b", None, "trll", "trl"),
        ("llama-8b", None, "trl+foakk", r"\+foak"),
    ],
)
def test_unknown_names_come_with_the_nearest(model: str, gpu: str | None, stack: str, nearest: str) -> None:
    with pytest.raises(UnknownNameError, match=f"nearest: .*{nearest}"):
        estimate(model, gpu, stack=stack)


# --- kernels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "gpu", "asked", "kernel"),
    [
        ("llama-8b", "a100-80", {}, "flash2"),
        ("llama-8b", None, {}, "flash2"),
        ("llama-8b", "a100-80", {"attention": "eager"}, "eager"),
        ("llama-8b", "t4", {}, "sdpa-math"),  # grouped keys are left to the kernel; only math takes them
        ("meta-llama/Llama-2-7b-hf", "t4", {}, "sdpa-mem-efficient"),
        ("meta-llama/Llama-2-7b-hf", "v100-32", {"dtype": "fp32", "autocast": "none"}, "sdpa-mem-efficient"),
        ("llama-8b", "a100-80", {"dtype": "fp32", "autocast": "none"}, "sdpa-math"),
        ("openai/gpt-oss-20b", "a100-80", {}, "eager"),  # sinks
        ("EleutherAI/gpt-j-6b", "a100-80", {}, "eager"),  # no sdpa in transformers
    ],
)
def test_the_kernel_that_really_runs(model: str, gpu: str | None, asked: dict[str, Any], kernel: str) -> None:
    card, stack = find_gpu(gpu) if gpu else None, find_stack("hf-trainer")
    recipe = resolve(Recipe(**asked), "lora", stack, card)
    assert Setting(find_model(model), recipe, stack, card).attention == kernel


# --- what is said besides --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "gpu", "asked", "note"),
    [
        ("llama-8b", "t4", {}, "no bf16"),
        ("llama-8b", "v100-32", {"dtype": "bf16"}, "bf16 is emulated"),
        ("mixtral", None, {}, "experts .9. %.* stay in"),
        ("llama-8b", None, {"seq_len": 1_000_000}, "more than the model's context of"),
        ("llama-8b", "a100-80", {"optimizer": "paged_adamw_32bit", "rank": 64}, "managed memory"),
        ("openai/gpt-oss-20b", None, {"method": "lora"}, "Attention runs eager"),
        ("llama-8b", "t4", {}, "math kernel"),
    ],
)  # fmt: skip
def test_notes(model: str, gpu: str | None, asked: dict[str, Any], note: str) -> None:
    found = one(model, gpu, "hf-trainer", **{"method": "qlora", **asked})
    assert any(re.search(note, text) for text in found.notes), found.notes


def test_a_plain_question_has_no_notes() -> None:
    assert one("llama-8b", "a100-80", method="lora").notes == ()


# --- levers, smallest cards ------------------------------------------------------------------------------------------


def with_levers(gpu: str, **asked: Any) -> Answer:
    return estimate("llama-8b", gpu, Recipe(**asked), stack="hf-trainer", levers=True)


def test_levers_save_what_they_say() -> None:
    answer = with_levers("a100-40", method="lora", checkpointing=False, batch=4, attention="eager", lora_dropout=0.1)
    (found,), gpu, stack = answer.estimates, find_gpu("a100-40"), find_stack("hf-trainer")
    levers = {(lever.knob, lever.value): lever for lever in found.levers}
    assert {("checkpointing", "on"), ("batch", "1"), ("attention", "sdpa"), ("loss", "chunked")} <= set(levers)
    assert ("rank", "8") in levers
    assert [lever.saved_bytes for lever in found.levers] == sorted((x.saved_bytes for x in found.levers), reverse=True)
    now = memory_tiers(answer.model, found.recipe, stack, gpu)[0].edge_high_bytes
    values: dict[str, Any] = {"on": True, "off": False}
    for (knob, text), lever in levers.items():
        value = values.get(text, int(text) if text.isdigit() else float(text) if knob == "lora_dropout" else text)
        changed: Any = {knob: value}
        after, verdict = memory_tiers(answer.model, replace(found.recipe, **changed), stack, gpu)
        assert lever.device_bytes == after.edge_high_bytes
        assert lever.saved_bytes == now - after.edge_high_bytes > 0
        assert lever.makes_it_fit == (verdict == "fits")


def test_levers_are_worked_out_where_nothing_fits_or_on_request() -> None:
    assert one("llama-8b", "a100-80", method="lora").levers == ()
    assert one("llama-70b", "t4", method="lora").levers
    (without_card,) = estimate("llama-8b", None, Recipe(method="lora"), levers=True).estimates
    assert {lever.makes_it_fit for lever in without_card.levers} == {None}


def test_the_smallest_cards_hold_it_and_no_smaller_one_does() -> None:
    answer = estimate("llama-70b", "t4", methods=METHODS)
    assert [e.verdict for e in answer.estimates] == ["does_not_fit"] * 3
    assert not answer.any_fits
    assert answer.smallest_gpus_method == "qlora"
    assert 1 <= len(answer.smallest_gpus) <= 3
    smallest = answer.smallest_gpus[0]

    def holds(gpu: Gpu) -> bool:
        stack = find_stack("trl")
        return memory_tiers(answer.model, resolve(Recipe(), "qlora", stack, gpu), stack, gpu)[1] == "fits"

    assert all(holds(gpu) for gpu in answer.smallest_gpus)
    assert not any(holds(gpu) for gpu in gpus() if gpu.cuda and gpu.capacity_bytes < smallest.capacity_bytes)


def test_nothing_in_the_catalogue_may_be_large_enough() -> None:
    answer = estimate("deepseek-ai/DeepSeek-V3", "h100", Recipe(method="full"))
    assert (answer.any_fits, answer.smallest_gpus) == (False, ())
    assert smallest_cards(gpus(), lambda gpu: False) == ()


def test_no_card_no_verdict() -> None:
    answer = estimate("llama-8b")
    assert answer.any_fits
    for found in answer.estimates:
        assert (found.verdict, found.headroom_bytes, found.largest_micro_batch, found.longest_seq_len) == (None,) * 4
        assert found.memory.allocated_bytes > 0


def test_a_lone_sequence_that_does_not_fit_has_a_batch_of_none() -> None:
    found = one("llama-70b", "t4", method="full")
    assert (found.verdict, found.largest_micro_batch, found.longest_seq_len) == ("does_not_fit", 0, 0)
    assert found.headroom_bytes is not None and found.headroom_bytes < 0


# --- garbage ---------------------------------------------------------------------------------------------------------

junk = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.binary(max_size=4)
    | st.lists(st.integers(), max_size=2)
    | st.sampled_from((10**30, 1e30, -1, 0, 2**63, "nan", "\0", "../..", "~", "a\nb"))
)  # fmt: skip
knobs = st.fixed_dictionaries(
    {},
    optional={field.name: junk | st.sampled_from(CHOICES.get(field.name, (1, 16, 2048))) for field in fields(Recipe)},
)


@cache
def tiny() -> Any:
    return model_from_config(
        {"model_type": "llama", "dtype": "bfloat16", "hidden_size": 64, "intermediate_size": 128, "vocab_size": 100,
         "num_hidden_layers": 2, "num_attention_heads": 4},
        id="tiny",
    )  # fmt: skip


def check(ask: Any) -> None:
    try:
        answer = ask()
    except VramplanError as error:
        assert 0 < len(str(error)) < 600
        assert len(str(error).splitlines()) <= 2
        return
    for found in answer.estimates:
        memory = found.memory
        assert 0 < memory.allocated_bytes <= memory.reserved_bytes <= memory.device_bytes
        assert all(type(term.bytes) is int and term.bytes >= 0 for term in memory.terms)


@settings(max_examples=400)
@given(st.sampled_from(METHODS), knobs)
def test_garbage_in_a_recipe(method: Method, asked: dict[str, Any]) -> None:
    check(lambda: estimate(tiny(), None, Recipe(**{"method": method, **asked})))


@settings(max_examples=400)
@given(st.sampled_from(METHODS), st.sampled_from([field.name for field in fields(Recipe)]), junk)
def test_garbage_in_one_knob(method: Method, knob: str, value: Any) -> None:
    """So that others do not hide it."""
    check(lambda: estimate(tiny(), "t4", Recipe(**{"method": method, knob: value})))


names = st.text(max_size=20) | st.sampled_from(
    ("llama-8b", "A100 80GB", "h100", "trl", "trl+foak", "+foak", "trl+", "+", "a/b", "")
)


@settings(max_examples=200)
@given(names, names, names)
def test_garbage_for_names(model: str, gpu: str, stack: str) -> None:
    check(lambda: estimate(model, gpu, stack=stack))
    check(lambda: estimate(tiny(), gpu))
    check(lambda: estimate(tiny(), "t4", stack=stack))


@pytest.mark.parametrize("methods", [("dora",), ("",), (None,), "full", ()])
def test_methods_that_are_none(methods: Any) -> None:
    with pytest.raises(VramplanError):
        estimate("llama-8b", methods=methods)


@pytest.mark.parametrize("knob", LIMITS)
def test_the_largest_accepted_counts_stay_whole_numbers(knob: str) -> None:
    """No overflow, no infinity: Python's integers all the way."""
    if knob == "gpus":
        return
    asked: dict[str, Any] = {knob: LIMITS[knob]}
    memory = estimate("llama-70b", "t4", Recipe(method="lora", **asked)).estimates[0].memory
    assert type(memory.allocated_bytes) is int and memory.allocated_bytes > 0
