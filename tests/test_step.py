"""Operators on a small model, against numbers worked out by hand: what they save, hold while running, and leave behind.

The model: 64 features, 4 heads of 16, 2 key heads, an MLP of 128, 1,000 words, 3 layers. The batch: 2 x 512 = 1,024
tokens. So a 16-bit tensor of the residual stream has 1,024 x 64 x 2 = 131,072 bytes, called STREAM.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from vramplan.catalog import find_gpu, find_stack
from vramplan.errors import InvalidValueError, UnknownNameError, UnsupportedError
from vramplan.estimator.phases import StepMemory
from vramplan.families import model_from_config
from vramplan.model import Linear, Model, Norm
from vramplan.recipe import Method, Recipe
from vramplan.resolve import resolve
from vramplan.stack import Stack
from vramplan.step import activations, norms
from vramplan.step import operators as ops
from vramplan.step.attention import kernel
from vramplan.step.block import block, mlp
from vramplan.step.head import head
from vramplan.step.memory import fold, saved_storages, sum_bytes
from vramplan.step.optimizer import optimizer_memory
from vramplan.step.setting import Setting, target_names
from vramplan.step.tape import Tape, Tensor
from vramplan.step.weights import Part
from vramplan.units import allocated, ceil_div, largest, smallest

LLAMA: dict[str, object] = {
    "model_type": "llama", "dtype": "bfloat16", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000, "max_position_embeddings": 2048,
}  # fmt: skip
TOKENS = 1024
STREAM = TOKENS * 64 * 2
WIDE = 2 * STREAM
"""The stream in fp32."""
KV = TOKENS * 32 * 2
INNER = TOKENS * 128 * 2
"""Of the MLP, 16 bit."""
ROW = TOKENS * 4
"""One fp32 figure a token."""
LOGIT = TOKENS * 1000
"""Entries of the logits."""
MATRIX = Linear(name="q_proj", inputs=64, outputs=64)
RMS = Norm(name="norm", kind="rms", width=64)
LAYER_NORM = Norm(name="norm", kind="layer", width=64, bias=True)
PLAIN = replace(find_stack("hf-trainer"), fp32_outputs=False, fused_4bit_tokens=0)
"""No habits."""


def tiny(**changes: object) -> Model:
    return model_from_config({**LLAMA, **changes}, id="tiny")


def setting(method: Method = "lora", *, stack: Stack = PLAIN, model: Model | None = None, **knobs: Any) -> Setting:
    """Without autocast and with 16-bit adapters of rank 16 unless a test says otherwise."""
    asked = {"batch": 2, "seq_len": 512, "autocast": "none", "adapter_dtype": "bf16", "rank": 16, **knobs}
    return Setting(model or tiny(), resolve(Recipe(**asked), method, stack), stack, None)


def written(make: Callable[[Tape, Setting, Tensor], Tensor], c: Setting, dtype: str = "bf16") -> Tape:
    t = Tape()
    x = t.source(TOKENS * 64, dtype, needs_grad=True)
    t.outputs = (make(t, c, x),)
    return t


def saved(t: Tape) -> int:
    return int(sum_bytes(saved_storages(t.ops)))


# --- units -----------------------------------------------------------------------------------------------------------


def test_rounding() -> None:
    assert [allocated(n) for n in (0, 1, 512, 513, 10**6)] == [0, 512, 512, 1024, 1_000_448]
    assert [ceil_div(n, 64) for n in (0, 1, 64, 65)] == [0, 1, 1, 2]
    assert (largest(2, 3), smallest(2, 3)) == (3, 2)


# --- norms -----------------------------------------------------------------------------------------------------------

LORA, FULL = {"method": "lora"}, {"method": "full"}
FUSED = {"stack": replace(PLAIN, fused_norm=True, fused_rope=True, fused_mlp=True)}


@pytest.mark.parametrize(
    ("spec", "knobs", "dtype", "expected"),
    [
        (RMS, LORA, "bf16", WIDE + ROW),  # the fp32 copy and one rsqrt a row
        (RMS, LORA, "fp32", WIDE + ROW),  # x itself is that copy
        (RMS, FULL, "bf16", WIDE + ROW + STREAM),  # and what the weight multiplies
        (replace(RMS, kind="rms_wide"), FULL, "bf16", WIDE + ROW + WIDE),
        (replace(RMS, kind="rms_unit_offset"), FULL, "bf16", WIDE + ROW + WIDE),
        (replace(RMS, affine=False), FULL, "bf16", WIDE + ROW),
        (RMS, LORA | FUSED, "bf16", STREAM + ROW),
        (RMS, FULL | FUSED, "fp32", WIDE + ROW),
        (LAYER_NORM, LORA, "bf16", STREAM + 2 * ROW),  # x, mean, rstd
        (LAYER_NORM, LORA | {"autocast": "bf16"}, "bf16", WIDE + 2 * ROW),  # runs in fp32 there
        (replace(LAYER_NORM, kind="layer_wide"), LORA, "bf16", 2 * WIDE + ROW),  # x - mean, twice
    ],
)
def test_what_a_norm_saves(spec: Norm, knobs: dict[str, Any], dtype: str, expected: int) -> None:
    c = setting(**knobs)
    assert saved(written(lambda t, c, x: norms.norm(t, c, x, spec), c, dtype)) == expected


def test_a_norm_over_heads_has_a_row_for_each_head() -> None:
    spec = replace(RMS, width=16)
    assert saved(written(lambda t, c, x: norms.norm(t, c, x, spec), setting())) == WIDE + 4 * ROW


def test_norm_gradients() -> None:
    (grads,) = (op.weight_grads for op in written(lambda t, c, x: norms.norm(t, c, x, LAYER_NORM), setting("full")).ops)
    assert grads == allocated(2 * 64 * 2)
    assert not any(op.weight_grads for op in written(lambda t, c, x: norms.norm(t, c, x, RMS), setting()).ops)


# --- matrices --------------------------------------------------------------------------------------------------------

LOW = TOKENS * 16 * 2
"""Output of A, 16 bit."""
PAIR = 2 * 16 * 64 * 2
"""A and B, 16 bit."""


@pytest.mark.parametrize(
    ("knobs", "dtype", "expected"),
    [
        # frozen and no target: nothing
        ({"targets": "v_proj"}, "bf16", 0),
        # full: x, in the dtype of the product
        (FULL, "bf16", STREAM),
        (FULL | {"autocast": "bf16"}, "bf16", STREAM),
        # fp32 weights under autocast: casts of x and of the weight stay
        (FULL | {"dtype": "fp32", "autocast": "bf16"}, "fp32", STREAM + 64 * 64 * 2),
        ({"targets": "v_proj", "dtype": "fp32", "autocast": "bf16"}, "fp32", 64 * 64 * 2),
        # LoRA: x (its own where the adapter has its dtype), the output of A
        ({}, "bf16", STREAM + LOW),
        ({"adapter_dtype": "fp32"}, "bf16", WIDE + 2 * LOW),
        # autocast: 16-bit copies, and casts of fp32 adapters
        ({"autocast": "bf16"}, "bf16", STREAM + LOW),
        ({"autocast": "bf16", "adapter_dtype": "fp32"}, "bf16", STREAM + LOW + PAIR),
        ({"autocast": "bf16", "adapter_dtype": "fp32"}, "fp32", STREAM + LOW + PAIR),
        # dropout: a byte an element, and the copy in place of x
        ({"lora_dropout": 0.1}, "bf16", STREAM + TOKENS * 64 + LOW),
        ({"lora_dropout": 0.1, "adapter_dtype": "fp32"}, "bf16", WIDE + TOKENS * 64 + 2 * LOW),
        # 4 bit saves nothing of its own
        ({"method": "qlora", "targets": "v_proj"}, "bf16", 0),
        ({"method": "qlora"}, "bf16", STREAM + LOW),
        ({"method": "qlora", "autocast": "bf16", "adapter_dtype": "fp32"}, "bf16", STREAM + LOW + PAIR),
        # one autograd function a matrix: its input only
        ({"stack": replace(PLAIN, fused_lora="all")}, "bf16", STREAM),
    ],
)
def test_what_a_matrix_saves(knobs: dict[str, Any], dtype: str, expected: int) -> None:
    assert saved(written(lambda t, c, x: ops.linear(t, c, x, MATRIX), setting(**knobs), dtype)) == expected


def test_gradients_of_a_matrix() -> None:
    def grads(matrix: Linear, **knobs: Any) -> list[int]:
        t = written(lambda t, c, x: ops.linear(t, c, x, matrix), setting(**knobs))
        return [op.weight_grads for op in t.ops if op.weight_grads is not None]

    assert grads(MATRIX, **FULL) == [64 * 64 * 2]
    assert grads(replace(MATRIX, bias=True), **FULL) == [64 * 64 * 2 + 512]
    assert grads(MATRIX, adapter_dtype="fp32") == [16 * 64 * 4, 16 * 64 * 4]
    assert grads(MATRIX, targets="v_proj") == []


def test_four_bit_workspace() -> None:
    """The whole matrix in 16 bit, forwards unless the fused product takes the step; restored scales backwards."""

    def workspace(fused_tokens: int, quant: str) -> tuple[int, int]:
        c = setting("qlora", stack=replace(PLAIN, fused_4bit_tokens=fused_tokens), quant=quant)
        op = written(lambda t, c, x: ops.four_bit(t, c, x, MATRIX), c).ops[0]
        return op.workspace, op.grad_workspace

    whole = 64 * 64 * 2
    assert workspace(0, "nf4") == (whole, whole)
    assert workspace(1023, "nf4") == (whole, whole)
    assert workspace(1024, "nf4") == (0, whole)
    assert workspace(0, "nf4-dq") == (whole, whole + 512)  # 64 scales x 4 B


def test_int8_workspace() -> None:
    t = written(lambda t, c, x: ops.int8(t, c, x, MATRIX), setting("qlora", quant="int8"))
    op = next(op for op in t.ops if op.workspace)
    assert op.workspace == TOKENS * 64 * (1 + 4 + 2)  # int8 rows, the product in int32 and in fp16
    assert [storage.name for storage in t.pins] == ["input"], "the node holds its input, whatever autograd saves"
    assert op.grad_workspace == 64 * 64 * 2


def test_falcons_matrices_stay_as_they_are() -> None:
    """Its class derives from nn.Linear: not quantised, and upcast by k-bit preparation."""
    own = replace(MATRIX, quantizable=False)
    for kbit_prep, dtype in ((False, "bf16"), (True, "fp32")):
        c = setting("qlora", kbit_prep=kbit_prep, autocast="bf16", targets="v_proj")
        t = written(lambda t, c, x: ops.linear(t, c, x, own), c)
        assert not any(op.workspace for op in t.ops)
        assert saved(t) == (64 * 64 * 2 if dtype == "fp32" else 0)  # the cast of the weight


# --- the rest of a layer ---------------------------------------------------------------------------------------------


def test_rotary_saves_nothing() -> None:
    for stack in (PLAIN, FUSED["stack"]):
        assert saved(written(lambda t, c, x: ops.rotary(t, c, x, "bf16"), setting(stack=stack))) == 0


@pytest.mark.parametrize(
    ("activation", "expected"),
    [(name, STREAM) for name in ("silu", "gelu", "gelu_tanh", "relu", "relu2")] + [("gelu_new", 4 * STREAM)],
)
def test_what_an_activation_saves(activation: str, expected: int) -> None:
    """gelu_new, written out in Python: x, tanh, 0.5 x and 1 + tanh."""
    assert saved(written(lambda t, c, x: activations.activate(t, c, x, activation), setting())) == expected


def test_dropout_saves_a_byte_an_element() -> None:
    assert saved(written(lambda t, c, x: ops.dropout(t, x, 0.1), setting())) == TOKENS * 64
    assert written(lambda t, c, x: ops.dropout(t, x, 0.0), setting()).ops == []


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        # gate, act(gate), up; no adapter reads the product
        ({"targets": "q_proj"}, 3 * INNER),
        # one kernel keeps gate and up
        ({"targets": "q_proj"} | FUSED, 2 * INNER),
        # full: the input (once for both matrices), gate, act(gate), up, and the product
        (FULL, STREAM + 4 * INNER),
        # LoRA of the MLP: the same, and the outputs of three A
        ({"targets": "all-linear"}, STREAM + 4 * INNER + 3 * LOW),
    ],
)
def test_what_the_mlp_saves(knobs: dict[str, Any], expected: int) -> None:
    c = setting(**knobs)
    assert saved(written(lambda t, c, x: mlp(t, c, x, c.model.blocks[0].feed_forward), c)) == expected  # type: ignore[arg-type]


def attended(dtype: str = "bf16", **knobs: Any) -> Tape:
    c, t = setting(targets="q_proj", **knobs), Tape()
    q, k, v = (t.source(TOKENS * width, dtype, needs_grad=True) for width in (64, 32, 32))
    t.outputs = (kernel(t, c, q, k, v, c.model.blocks[0].attention),)
    return t


def test_flash_saves_its_inputs_its_output_and_a_row() -> None:
    t = attended(attention="flash2")
    assert saved(t) == 2 * STREAM + 2 * KV + 4 * ROW
    # backwards: fp32 dq padded to 128 x 32, dk and dv for every query head, one fp32 a row
    assert t.ops[-1].grad_workspace == TOKENS * 4 * 32 * 4 + 2 * STREAM + 4 * ROW


def test_memory_efficient_repeats_keys_and_values() -> None:
    t = attended(attention="sdpa-mem-efficient")
    assert saved(t) == 4 * STREAM + 4 * ROW
    assert t.ops[-1].grad_workspace == TOKENS * 64 * 4 + 4 * ROW


def test_eager_holds_the_scores() -> None:
    """Beside q, k, v: the fp32 softmax, and its 16-bit copy for the second product."""
    square = 2 * 4 * 512 * 512
    assert saved(attended(attention="eager")) == 3 * STREAM + square * 4 + square * 2
    largest_op = max(op.grad_workspace for op in attended(attention="eager").ops)
    assert largest_op == square * 4


def test_math_works_in_fp32() -> None:
    square = 2 * 4 * 512 * 512
    assert saved(attended(attention="sdpa-math")) >= 3 * WIDE + square * 4


def test_attention_grows_with_the_square_of_the_length_only_where_scores_are_held() -> None:
    def layer(seq_len: int, attention: str) -> int:
        c = setting(batch=1, seq_len=seq_len, attention=attention)
        return int(fold(*block(c, c.model.blocks[0], "bf16")).saved_bytes)

    assert layer(4096, "flash2") == 2 * layer(2048, "flash2")
    assert layer(4096, "eager") > 3.5 * layer(2048, "eager")


# --- the end of the step ---------------------------------------------------------------------------------------------


def loss_peaks(**knobs: Any) -> tuple[int, int]:
    """Forwards and backwards, without the norm and its input."""
    c = setting(**knobs)
    h = head(c, "bf16")
    f = fold(h.tape, h.x)
    return int(max(f.forward_peak, f.loss_peak)), int(f.backward_peak)


def test_the_standard_loss_holds_twelve_bytes_an_entry_backwards() -> None:
    """fp32 log-probabilities and two fp32 gradients at once; the 16-bit logits are gone by then."""
    few = STREAM * 8
    forward, backward = loss_peaks(targets="q_proj", loss="standard")
    assert 12 * LOGIT <= backward <= 12 * LOGIT + few
    assert 10 * LOGIT <= forward <= 12 * LOGIT + few


def test_fused_losses_hold_a_fraction() -> None:
    _, standard = loss_peaks(targets="q_proj", loss="standard")
    assert max(loss_peaks(targets="q_proj", loss="fused-linear")) < standard / 2
    few = STREAM * 8
    # Liger's gets the loss function's fp32 copy and writes over it; Unsloth's the logits, and makes a gradient
    assert 6 * LOGIT <= max(loss_peaks(targets="q_proj", loss="fused-ce")) <= 6 * LOGIT + few
    unsloth = replace(PLAIN, fused_ce_reads_logits=True)
    assert 4 * LOGIT <= max(loss_peaks(targets="q_proj", loss="fused-ce", stack=unsloth)) <= 4 * LOGIT + few


def test_older_stacks_hold_more_logits() -> None:
    def peak(**habits: Any) -> int:
        return max(loss_peaks(targets="q_proj", loss="standard", stack=replace(PLAIN, **habits)))

    assert peak(shifts_logits=True) > peak()
    assert peak(shifts_logits=True, upcasts_in_model=True) >= peak()


# --- folds -----------------------------------------------------------------------------------------------------------


def test_a_tape_by_hand() -> None:
    """x -> a = f(x) keeps x -> b = g(a) keeps b: sizes 512, 1024, 2048."""
    t = Tape()
    x = t.source(128, "fp32", needs_grad=True)
    a = t.op("f", x, elements=256, saves=(x,), grad_workspace=512)
    b = t.op("g", a, elements=512, saves_output=True, workspace=4096)
    t.outputs = (b,)
    f = fold(t, x)
    assert f.saved_bytes == 512 + 2048
    assert f.forward_peak == 512 + 1024 + 2048 + 4096  # all three and g's workspace
    # backwards: saved x and b, the gradients of b and of a
    assert f.backward_peak == 512 + 2048 + 2048 + 1024
    assert f.weight_grads == 0


def test_a_gradient_that_arrives_twice_is_summed() -> None:
    """y = f(x) + g(x): both gradients stand for a moment, then one."""
    t = Tape()
    x = t.source(128, "fp32", needs_grad=True)
    t.outputs = (ops.add(t, t.op("f", x), t.op("g", x)),)
    assert fold(t, x).backward_peak == 3 * 512  # one shared by both branches, one made by each
    assert fold(t, x).saved_bytes == 0


def test_nothing_is_saved_where_no_gradient_flows() -> None:
    t = Tape()
    x = t.source(128, "fp32", needs_grad=False)
    t.outputs = (t.op("f", x, saves=(x,), saves_output=True),)
    assert fold(t, x).saved_bytes == 0


# --- a whole step ----------------------------------------------------------------------------------------------------


def step(**knobs: Any) -> StepMemory:
    return StepMemory(setting(**knobs))


def test_checkpointing_keeps_the_input_of_each_layer() -> None:
    assert step(checkpointing=True).activations == 3 * STREAM
    whole = step(checkpointing=False, method="full")
    assert whole.activations == 3 * whole.layers[0].fold.saved_bytes > 3 * 10 * STREAM


def test_kbit_preparation_doubles_the_stream() -> None:
    c = {"method": "qlora", "checkpointing": True}
    assert step(**c, kbit_prep=False).activations == 3 * STREAM
    assert step(**c, kbit_prep=True).activations == 3 * WIDE
    norms = 7 * 512  # of 128 and 256 bytes: one unit of the allocator either way
    assert step(**c, kbit_prep=True).static.base + norms == 2 * step(**c, kbit_prep=False).static.base


def test_the_bytes_of_full_fine_tuning() -> None:
    """Pure bf16 with foreach AdamW: 2 weights, 2 gradients, 4 states, 2 of the step's temporary."""
    model = tiny(hidden_size=1024, intermediate_size=2816, num_hidden_layers=8, vocab_size=32000)
    memory = step(method="full", model=model, optimizer="adamw", batch=1, seq_len=16)
    parameters = model.parameters
    assert memory.phases["optimizer_step"] == pytest.approx(10 * parameters, rel=0.06)
    assert memory.gradients == pytest.approx(2 * parameters, rel=0.001)
    fused = step(method="full", model=model, optimizer="adamw_fused", batch=1, seq_len=16)
    assert fused.phases["optimizer_step"] == pytest.approx(8 * parameters, rel=0.06)


def test_accumulation_keeps_gradients_through_the_forward_pass() -> None:
    once, twice = (step(method="full", optimizer="adamw_fused", grad_accum=n) for n in (1, 2))
    assert twice.phases["forward"] - once.phases["forward"] == once.gradients


def test_hopper_takes_larger_workspaces() -> None:
    a100, h100 = (
        StepMemory(Setting(tiny(), resolve(Recipe(), "lora", PLAIN, gpu), PLAIN, gpu)).static.workspace
        for gpu in (find_gpu("a100-80"), find_gpu("h100"))
    )
    assert (a100, h100) == (2 * 8_519_680, 2 * 32 * 2**20)


# --- optimizers (test_exactness.py holds the libraries' own) ----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dtype", "elements", "states", "temporary", "managed"),
    [
        ("adamw", "fp32", 1000, 2 * 4096, 4096, 0),
        ("adamw", "bf16", 1000, 2 * 2048, 2048, 0),
        ("adamw_fused", "bf16", 1000, 2 * 2048 + 512, 0, 0),
        ("sgd", "bf16", 1000, 0, 0, 0),
        ("sgd_momentum", "bf16", 1000, 2048, 0, 0),
        ("adafactor", "bf16", 1000, 4096 + 512, 0, 0),  # a vector
        ("lion", "bf16", 1000, 4096, 0, 0),
        ("adamw_8bit", "bf16", 4095, 2 * 16_384, 0, 0),  # below 4,096: fp32
        ("adamw_8bit", "bf16", 4096, 2 * (4096 + 512 + 1024), 0, 0),  # code, 16 scales, its table
        ("lion_8bit", "bf16", 4096, 4096 + 512 + 1024, 0, 0),
        ("paged_adamw_32bit", "bf16", 99_999, 2 * 400_384, 0, 0),
        ("paged_adamw_32bit", "bf16", 100_000, 0, 0, 2 * 400_384),
        ("paged_adamw_8bit", "bf16", 100_000, 2 * (2048 + 1024), 0, 2 * 100_352),  # 391 scales stay
    ],
)
def test_states_of_one_tensor(name: str, dtype: str, elements: int, states: int, temporary: int, managed: int) -> None:
    memory = optimizer_memory(name, [Part("x", elements, dtype)])
    assert (memory.state_bytes, memory.temporary_bytes, memory.paged_bytes) == (states, temporary, managed)


def test_adafactor_of_a_matrix() -> None:
    """256 x 128: sums of rows and columns, a scalar; 16 B an element in the step, and 4 B of the matrix before."""
    matrix = Part("x", 256 * 128, "bf16", columns=128)
    assert optimizer_memory("adafactor", [matrix]).state_bytes == 1024 + 512 + 512
    assert optimizer_memory("adafactor", [matrix]).temporary_bytes == 16 * 256 * 128
    assert optimizer_memory("adafactor", [matrix, matrix]).temporary_bytes == 20 * 256 * 128
    wide = Part("x", 256 * 128, "fp32", columns=128)
    assert optimizer_memory("adafactor", [wide]).temporary_bytes == 8 * 256 * 128
    experts = Part("x", 8 * 256 * 128, "bf16", columns=128, stacked=8)
    assert optimizer_memory("adafactor", [experts]).state_bytes == 8 * 1024 + 8 * 512 + 512


def test_unknown_optimizer() -> None:
    with pytest.raises(UnsupportedError, match="muon"):
        optimizer_memory("muon", [])


# --- targets ---------------------------------------------------------------------------------------------------------

ALL = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
BLOOM: dict[str, object] = {"model_type": "bloom", "hidden_size": 64, "n_head": 4, "n_layer": 2, "vocab_size": 100}


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("all-linear", ALL),
        ("attention", {"q_proj", "k_proj", "v_proj", "o_proj"}),
        ("q_proj,v_proj", {"q_proj", "v_proj"}),
        (" q_proj , v_proj ", {"q_proj", "v_proj"}),
        ("attention,lm_head", {"q_proj", "k_proj", "v_proj", "o_proj", "lm_head"}),
        ("all-linear,lm_head", {*ALL, "lm_head"}),
    ],
)
def test_targets(targets: str, expected: set[str]) -> None:
    assert target_names(tiny(), targets) == expected


def test_llamas_names_find_their_equivalents() -> None:
    bloom = model_from_config(BLOOM, id="bloom")
    assert target_names(bloom, "q_proj,v_proj") == {"query_key_value"}
    assert target_names(bloom, "o_proj,down_proj") == {"dense", "dense_4h_to_h"}


@pytest.mark.parametrize("targets", ["", ",", "q_proj,", "q_porj", "all-liner", "*", "q_proj;v_proj", "Q_PROJ"])
def test_a_target_that_matches_nothing_is_refused(targets: str) -> None:
    with pytest.raises((UnknownNameError, InvalidValueError)) as caught:
        target_names(tiny(), targets)
    assert "\n" not in str(caught.value)
