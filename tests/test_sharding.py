"""Several GPUs: bytes per GPU counted by hand, the notes, and the laws of sharing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, get_args

import pytest
from click.testing import CliRunner
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vramplan import Recipe, estimate
from vramplan.catalog import find_model, find_stack
from vramplan.cli.app import app
from vramplan.errors import UnsupportedError
from vramplan.estimator.many import allocated_bytes
from vramplan.estimator.phases import StepMemory
from vramplan.estimator.result import Estimate
from vramplan.estimator.tiers import NCCL_BYTES, tiers
from vramplan.recipe import Method, ResolvedRecipe, Sharding
from vramplan.resolve import resolve
from vramplan.step.setting import Setting
from vramplan.step.weights import trainable

MODEL = find_model("mistralai/Mistral-7B-v0.1")
LAYER = 2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336 + 2 * 4096
"""Parameters of one of its 32 layers."""
OUTER = 2 * 32_000 * 4096 + 4096
"""Embedding, head, last norm."""
WHOLE = 32 * LAYER + OUTER
PADDING = 512 * 400
"""Rounding of the tensors of a step to 512 B, at most."""


def step(method: Method = "full", stack: str = "hf-trainer", model: Any = MODEL, **knobs: Any) -> StepMemory:
    knobs = {"gpus": 2, "autocast": "none", "dtype": "bf16", "optimizer": "adamw", **knobs}
    habits = find_stack(stack)
    recipe: ResolvedRecipe = resolve(Recipe(method=method, **knobs), method, habits)
    return StepMemory(Setting(model, recipe, habits, None))


def near(found: int, expected: float) -> bool:
    return abs(found - expected) <= PADDING


def test_the_model_is_the_one_counted_here() -> None:
    assert MODEL.parameters == WHOLE == 7_241_732_096


@pytest.mark.parametrize(
    ("stack", "autocast", "held"),
    [
        ("hf-trainer", "none", 2),  # FSDP2: what the checkpoint has
        ("hf-trainer", "bf16", 4),  # accelerate holds trained weights in fp32
        ("transformers-4.48", "none", 2),  # FSDP1
        ("transformers-4.48", "bf16", 4),
    ],
)
@pytest.mark.parametrize("gpus", [2, 4, 8])
def test_fsdp_full(stack: str, autocast: str, held: int, gpus: int) -> None:
    """Weights, gradients and two states of `held` bytes a parameter, each / N."""
    found = step(stack=stack, autocast=autocast, sharding="fsdp", gpus=gpus)
    assert near(found.static.base, held * WHOLE / gpus)
    assert near(found.gradients, held * WHOLE / gpus)
    assert near(found.static.optimizer.state_bytes, 2 * held * WHOLE / gpus)
    # the step of AdamW takes one more
    last = found.moments[-1]
    assert near(last.bytes, 5 * held * WHOLE / gpus + found.static.workspace + found.static.buffers)


def test_fsdp1_gathers_the_root_and_a_layer() -> None:
    """16 bit: the root stays, a layer is there while it runs; under a reentrant checkpoint the next comes no sooner."""
    found = step(stack="transformers-4.48", autocast="bf16", sharding="fsdp").sharding
    spec = MODEL.blocks[0]
    assert found.beside("loss") == 2 * OUTER
    assert found.beside("forward", spec) == found.beside("backward", spec) == 2 * (OUTER + LAYER)
    assert found.beside("turn", spec) == 2 * OUTER
    assert found.reduction(spec, first=False) == 2 * (OUTER + LAYER) + 2 * 2 * LAYER
    assert found.beside("end") == 2 * OUTER + 2 * OUTER + 2 * 32_000 * 4096
    ahead = step(stack="transformers-4.48", autocast="bf16", sharding="fsdp", checkpointing=False).sharding
    assert ahead.beside("turn", spec) == 2 * (OUTER + LAYER)
    assert ahead.beside("backward", spec) == 2 * (OUTER + 2 * LAYER)


def test_fsdp2_gathers_through_a_buffer() -> None:
    found = step(autocast="bf16", sharding="fsdp").sharding
    spec, table = MODEL.blocks[0], 32_000 * 4096
    assert found.beside("forward", spec) == 2 * 2 * LAYER
    assert found.beside("loss") == 2 * 2 * (table + 4096)
    assert found.beside("turn", spec) == 2 * (table + 4096) + 2 * LAYER
    # the layer, the next one's buffer, and the input of the reduce-scatter before
    assert found.beside("backward", spec) == 3 * 2 * LAYER
    assert found.beside("first backward", spec) == 2 * 2 * LAYER + 2 * table


def test_gradients_that_are_reduced_in_fp32() -> None:
    found = step(stack="torchtitan", dtype="fp32", sharding="fsdp").sharding
    spec = MODEL.blocks[0]
    assert found.reduction(spec, first=False) == 2 * LAYER + 2 * LAYER + 4 * LAYER


def test_frozen_weights_keep_their_dtype() -> None:
    """LoRA under FSDP: bf16 weights and fp32 adapters, both / N, with gradients and two states."""
    found = step("lora", stack="transformers-4.48", autocast="bf16", sharding="fsdp", gpus=4, rank=16)
    adapters = 16 * (2 * 8192 + 2 * 5120) * 32
    assert near(found.static.base, 2 * WHOLE / 4)
    assert near(found.static.adapters, 4 * adapters / 4)
    assert near(found.static.optimizer.state_bytes, 2 * 4 * adapters / 4)


def test_inputs_that_live_on_to_the_end_of_backward() -> None:
    """Reentrant checkpoints of frozen FSDP1 units: 32 inputs and 32 gradients of tokens x 4096 x 2 B."""
    knobs: dict[str, Any] = {"stack": "transformers-4.48", "sharding": "fsdp", "batch": 1, "seq_len": 2048}
    assert step("lora", **knobs).left_behind == 2 * 32 * 2048 * 4096 * 2
    assert step("full", **knobs).left_behind == 0
    assert step("lora", **{**knobs, "stack": "hf-trainer"}).left_behind == 0
    assert step("lora", **{**knobs, "sharding": "ddp"}).left_behind == 0


def test_constants_of_a_quantisation_are_whole() -> None:
    packed = 32 * (LAYER - 2 * 4096) // 2
    one, four = (step("qlora", sharding="fsdp", gpus=gpus).static.quantized for gpus in (2, 4))
    assert near(one - four, packed / 4)
    alone = step("qlora", sharding="none", gpus=1).static.quantized
    assert near(alone - one, packed / 2)


def test_adapters_outside_fsdp() -> None:
    """foak: each GPU has all adapters in 16 bit."""
    found = step("qlora", stack="transformers-4.48+foak", autocast="bf16", sharding="fsdp", gpus=4)
    assert found.static.adapters == 2 * 16 * (2 * 8192 + 2 * 5120) * 32
    assert found.gradients == found.static.adapters


def test_ddp_has_buckets_of_the_size_of_its_gradients() -> None:
    alone, two = step(gpus=1), step(gpus=2, sharding="ddp")
    assert two.static.buckets == two.gradients == alone.gradients
    assert two.allocated == alone.allocated + alone.gradients


@pytest.mark.parametrize(
    ("stage", "weights", "gradients", "standing"),
    [(1, 2 * WHOLE, 2 * WHOLE / 4, 2 * WHOLE), (2, 2 * WHOLE, 2 * WHOLE / 4, 2 * WHOLE / 4), (3, 2 * WHOLE / 4, 0, 0)],
)
def test_zero(stage: int, weights: float, gradients: float, standing: float) -> None:
    """16-bit weights and gradients; fp32 weights and two states / N; stage 3 counts its gradients among the buffers."""
    found = step(sharding=f"zero{stage}", gpus=4, autocast="bf16", dtype="fp32")
    assert found.c.autocast == "" and found.c.base_dtype == "bf16"
    assert near(found.static.base, weights)
    assert near(found.static.master, 4 * WHOLE / 4)
    assert near(found.static.optimizer.state_bytes, 2 * 4 * WHOLE / 4)
    assert near(found.gradients, gradients)
    assert near(found.sharding.accumulated(), standing)
    bucket = 2 * 4096 * 4096
    assert near(found.static.buckets, bucket + (2 * WHOLE / 4 if stage == 3 else 0))


def test_zero3_keeps_a_billion_weights_gathered() -> None:
    assert step(sharding="zero3").sharding.beside("forward", MODEL.blocks[0]) == 2 * 10**9


def test_accumulation_under_fsdp_keeps_whole_gradients() -> None:
    assert near(step(sharding="fsdp", gpus=8, grad_accum=4).sharding.accumulated(), 2 * WHOLE)


# --- answers ----------------------------------------------------------------------------------------------------------


def one(method: Method = "full", **knobs: Any) -> Estimate:
    return estimate("llama-8b", "a100-80", Recipe(method=method, gpus=8, **knobs)).estimates[0]


def test_several_gpus_without_sharding_run_ddp() -> None:
    found = one()
    assert found.recipe.sharding == "ddp"
    assert found.memory == one(sharding="ddp").memory
    assert "DDP" in found.notes[0] and "8 GPUs" in found.notes[0]


def test_sharding_on_one_gpu_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="fsdp.*--gpus"):
        estimate("llama-8b", None, Recipe(sharding="fsdp"))


@pytest.mark.parametrize("sharding", ["fsdp", "zero3"])
def test_int8_weights_cannot_be_shared(sharding: Sharding) -> None:
    with pytest.raises(UnsupportedError, match=r"LLM\.int8"):
        one("lora", quant="int8", sharding=sharding)


@pytest.mark.parametrize("sharding", get_args(Sharding))
@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
@pytest.mark.parametrize("accumulation", [1, 4])
def test_terms_of_the_binding_phase_are_the_peak(method: Method, sharding: Sharding, accumulation: int) -> None:
    memory = one(method, sharding=sharding, grad_accum=accumulation).memory
    living = [t for t in memory.terms if memory.binding_phase in t.phases and t.group not in ("allocator", "context")]
    assert sum(term.bytes for term in living) == memory.allocated_bytes


def test_nccl_is_outside_the_allocator() -> None:
    found = step(sharding="ddp")
    alone = step(gpus=1)
    assert tiers(found, None).context_bytes == tiers(alone, None).context_bytes + NCCL_BYTES
    assert tiers(found, None).context_source == "assumed"


def test_notes_say_what_the_reader_must_do() -> None:
    assert any("bnb_4bit_quant_storage" in note for note in one("qlora", sharding="fsdp").notes)
    assert any("no_sync" in note for note in one(sharding="fsdp", grad_accum=2).notes)
    assert any("no public run" in note for note in one(sharding="zero2").notes)


def test_a_lever_is_to_share() -> None:
    found = estimate("llama-8b", "a100-80", Recipe(method="full", gpus=8), levers=True).estimates[0]
    assert "sharding" in {lever.knob for lever in found.levers}


def test_command_line() -> None:
    asked = ["estimate", "llama-8b", "--gpu", "a100-80", "--gpus", "8", "--sharding", "fsdp", "--method", "full"]
    table = CliRunner().invoke(app, asked)
    assert table.exit_code == 0 and "on 8 x NVIDIA A100" in table.output and "GiB each" in table.output
    answered = json.loads(CliRunner().invoke(app, [*asked, "--json"]).output)
    assert answered["gpu"]["count"] == answered["estimates"][0]["recipe"]["gpus"] == 8
    assert answered["estimates"][0]["largest_micro_batch"] > 1
    terms = {term["name"] for term in answered["estimates"][0]["memory"]["terms"]}
    assert {"base weights", "gathered weights", "optimizer states"} <= terms


# --- laws -------------------------------------------------------------------------------------------------------------

MODELS = [find_model(name) for name in ("mistralai/Mistral-7B-v0.1", "meta-llama/Llama-3.1-8B", "Qwen/Qwen2.5-7B")]
"""With more weights than ZeRO-3 keeps gathered, and many layers, of which two are gathered."""


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, Method, dict[str, Any]]:
    method: Method = draw(st.sampled_from(("full", "lora", "qlora")))
    knobs = {
        "batch": draw(st.integers(1, 4)), "seq_len": draw(st.sampled_from((128, 1024, 4096))),
        "stack": draw(st.sampled_from(("trl", "hf-trainer", "liger", "transformers-4.48"))),
        "checkpointing": draw(st.booleans()), "loss": draw(st.sampled_from(("standard", "chunked", "fused-linear"))),
        "autocast": draw(st.sampled_from(("none", "bf16"))), "lora_dropout": 0.0,
    }  # fmt: skip
    return draw(st.sampled_from(MODELS)), method, knobs


def peak(case: tuple[Any, Method, dict[str, Any]], **knobs: Any) -> int:
    model, method, given_knobs = case
    return int(step(method, model=model, **{**given_knobs, **knobs}).allocated)


@settings(max_examples=40, deadline=None)
@given(cases(), st.sampled_from(("zero3", "fsdp")), st.integers(2, 16))
def test_more_gpus_never_need_more_of_each(case: Any, sharding: str, gpus: int) -> None:
    assert peak(case, sharding=sharding, gpus=2 * gpus) <= peak(case, sharding=sharding, gpus=gpus)


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(2, 16))
def test_a_copy_on_each_gpu_needs_no_less_than_one_gpu(case: Any, gpus: int) -> None:
    assert peak(case, sharding="ddp", gpus=gpus) >= peak(case, gpus=1)
    assert peak(case, sharding="ddp", gpus=gpus) == peak(case, sharding="ddp", gpus=2)


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(8, 64))
def test_a_later_stage_needs_no_more(case: Any, gpus: int) -> None:
    first, second, third = (peak(case, sharding=f"zero{stage}", gpus=gpus) for stage in (1, 2, 3))
    assert first >= second
    if case[1] != "qlora":  # where ZeRO-3 gathers as many packed bytes as it saves
        assert second >= third


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(4, 64))
def test_sharing_in_full_needs_no_more_than_a_copy(case: Any, gpus: int) -> None:
    """Full fine-tuning; what FSDP gathers for adapters, and what it leaves behind, may weigh more than it saves."""
    assume(case[1] == "full")
    assert peak(case, sharding="fsdp", gpus=gpus) <= peak(case, sharding="ddp", gpus=gpus)


@pytest.mark.parametrize("sharding", ["ddp", "zero1", "zero2", "zero3", "fsdp"])
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("stack", ["hf-trainer", "transformers-4.48"])
def test_arrays_are_the_numbers_one_by_one(sharding: Sharding, method: Method, stack: str) -> None:
    pytest.importorskip("numpy")
    found = step(method, stack=stack, sharding=sharding, lora_dropout=0.0)
    batches = [1, 2, 7]
    many = allocated_bytes(MODEL, found.c.recipe, found.c.stack, None, batch=batches)
    alone = [
        StepMemory(Setting(MODEL, replace(found.c.recipe, batch=batch), found.c.stack, None)).allocated
        for batch in batches
    ]
    assert many.tolist() == alone


def test_single_gpu_is_what_it_was() -> None:
    """Nothing of several GPUs is in its moments."""
    found = step(gpus=1)
    assert not any(moment.shared for moment in found.moments)
    assert found.static.buckets == found.static.master == found.left_behind == 0
    assert found.c.at_rest is found.c
    assert found.gradients == sum(p.allocated_bytes for p in trainable(found.c))
