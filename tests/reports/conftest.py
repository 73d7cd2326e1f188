"""Answers made by hand, so that golden files show how an answer is written, not what the planner thinks today."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from vramplan.estimator.result import (
    Answer,
    CostRate,
    Estimate,
    Group,
    Lever,
    Memory,
    ParameterCounts,
    Phase,
    PhaseName,
    Source,
    Speed,
    SpeedTerm,
    Term,
)
from vramplan.gpu import Gpu
from vramplan.model import Attention, Block, Linear, Mlp, Model, Norm
from vramplan.price import Price
from vramplan.recipe import Method, ResolvedRecipe
from vramplan.units import GIB, MIB

PHASES: tuple[PhaseName, ...] = ("load", "forward", "loss", "backward", "optimizer_step")


@pytest.fixture
def llama_70b() -> Model:
    def linear(name: str, inputs: int, outputs: int) -> Linear:
        return Linear(name=name, inputs=inputs, outputs=outputs)

    block = Block(
        count=80,
        arrangement="pre",
        norms=(Norm(name="input_layernorm", kind="rms", width=8192),) * 2,
        attention=Attention(
            layout="separate",
            inputs=(linear("q_proj", 8192, 8192), linear("k_proj", 8192, 1024), linear("v_proj", 8192, 1024)),
            output=linear("o_proj", 8192, 8192),
            heads=64,
            kv_heads=8,
            qk_head_dim=128,
            v_head_dim=128,
            rotary_dim=128,
        ),
        feed_forward=Mlp(
            gated=True,
            inputs=(linear("gate_proj", 8192, 28672), linear("up_proj", 8192, 28672)),
            output=linear("down_proj", 28672, 8192),
            width=28672,
            activation="silu",
        ),
    )
    return Model(
        id="meta-llama/Llama-3.1-70B",
        alias="llama-70b",
        model_type="llama",
        hidden_size=8192,
        vocab_size=128256,
        blocks=(block,),
        final_norm=Norm(name="norm", kind="rms", width=8192),
        head=linear("lm_head", 8192, 128256),
        tied_embeddings=False,
        max_position_embeddings=131072,
        source="a model table",
    )


@pytest.fixture
def a100() -> Gpu:
    return Gpu(
        key="a100-80",
        name="NVIDIA A100-SXM4-80GB",
        vendor="nvidia",
        architecture="Ampere",
        cuda=True,
        memory_gb_marketing=80,
        memory_total_mib=81920,
        compute_capability=(8, 0),
        sm_count=108,
        mem_bandwidth_gb_per_s=2039.0,
        bf16_dense_tflops=312.0,
        fp16_dense_tflops=312.0,
        tf32_dense_tflops=156.0,
        fp8_dense_tflops=None,
        tdp_w=400,
        aliases=("a100", "a100-sxm-80gb"),
        interconnect="NVLink3 600 GB/s",
        note="ECC on",
        source="datasheet",
    )


@pytest.fixture
def h200(a100: Gpu) -> Gpu:
    from dataclasses import replace

    return replace(a100, key="h200", name="NVIDIA H200", memory_gb_marketing=141, memory_total_mib=143771)


def _term(name: str, group: Group, gib: float, phases: tuple[PhaseName, ...], source: Source, formula: str) -> Term:
    return Term(name=name, group=group, bytes=int(gib * GIB), phases=phases, source=source, formula=formula)


def _memory(weights_gib: float, optimizer_gib: float, activations_gib: float, formula: str) -> Memory:
    terms = (
        _term("base weights", "weights", weights_gib, PHASES, "exact", formula),
        _term("LoRA adapters", "adapters", 0.77, PHASES, "exact", "207,093,760 parameters × 4 B"),
        _term("adapter gradients", "gradients", 0.77, ("backward", "optimizer_step"), "exact", "207,093,760 × 4 B"),
        _term("AdamW states", "optimizer", optimizer_gib, PHASES, "exact", "2 states × 4 B × 207,093,760"),
        _term(
            "checkpoints of the residual stream", "activations", activations_gib, ("forward", "loss", "backward"),
            "exact", "80 layers × 1 × 2,048 tokens × 8,192 × 2 B",
        ),
        _term("logits and their gradients", "logits", 2.94, ("loss",), "exact", "2,048 tokens × 128,256 × 12 B"),
        _term("cuBLAS workspaces", "workspace", 0.016, ("forward", "loss", "backward"), "exact", "2 × 8.125 MiB"),
        _term("allocator slack", "allocator", 0.9, PHASES, "fitted", "2 % of allocated"),
        _term("CUDA context", "context", 0.48, PHASES, "assumed", "a100-80: 0.48 GiB"),
    )  # fmt: skip
    allocated = int(GIB * (weights_gib + 0.77 * 2 + optimizer_gib + activations_gib + 0.016))
    device = allocated + int(1.38 * GIB)
    return Memory(
        allocated_bytes=allocated,
        reserved_bytes=device - int(0.48 * GIB),
        device_bytes=device,
        device_interval_bytes=(device - 900 * MIB, device + 1500 * MIB),
        binding_phase="backward",
        phases=tuple(
            Phase(name=name, allocated_bytes=int(allocated * share))
            for name, share in zip(PHASES, (0.85, 0.93, 0.99, 1.0, 0.9), strict=True)
        ),
        terms=terms,
    )


def _recipe(method: Method) -> ResolvedRecipe:
    lora = method != "full"
    return ResolvedRecipe(
        method=method,
        stack="trl",
        rank=16 if lora else 0,
        targets="all-linear" if lora else "",
        quant="nf4-dq" if method == "qlora" else "none",
        dtype="bf16",
        autocast="bf16",
        adapter_dtype="fp32",
        kbit_prep=method == "qlora",
        optimizer="adamw_fused",
        batch=1,
        seq_len=2048,
        grad_accum=1,
        checkpointing=True,
        attention="sdpa",
        loss="chunked",
        lora_dropout=0.0,
        sharding="none",
        gpus=1,
    )


def _speed(gpu: Gpu) -> Speed:
    terms = (
        SpeedTerm(name="products", bound="matrix", duration_s=3.93, source="assumed",
                  formula="768.4 TFLOP / (312 TFLOP/s x 0.79); tiles that end late; narrow ones by their bytes"),
        SpeedTerm(name="kernels", bound="memory", duration_s=0.9, source="assumed",
                  formula="1,223 GB / (2,039 GB/s x 0.67)"),
        SpeedTerm(name="launches", bound="launches", duration_s=0.00004, source="assumed",
                  formula="24,617 kernels x 23.5 µs, beside the card's own work"),
    )  # fmt: skip
    return Speed(
        tokens_per_s_per_gpu=384.2,
        interval=(311.2, 472.6),
        step_time_s=5.33,
        bound_by="matrix",
        source="assumed",
        shares={"matrix": 0.76, "memory": 0.17, "launches": 0.0, "dequantization": 0.07, "communication": 0.0},
        flops_per_token=4.3e11,
        mfu=0.36,
        terms=terms,
    )


def _cost(gpu: Gpu) -> CostRate:
    return CostRate(
        usd_per_hour=Decimal("1.068500"),
        usd_per_million_tokens=Decimal("0.772506"),
        interval=(Decimal("0.628019"), Decimal("0.953713")),
        price=Price(
            date=date(2026, 10, 4), provider="vast", region="global", instance="median-offer", gpu_key=gpu.key,
            count=1, usd_per_hour=Decimal("1.0685"), kind="on_demand", note="", source="a price table",
        ),
        stale=True,
    )  # fmt: skip


def _estimate(method: Method, memory: Memory, gpu: Gpu | None) -> Estimate:
    headroom = None if gpu is None else gpu.capacity_bytes - memory.device_bytes
    fits = headroom is not None and headroom > 0
    return Estimate(
        recipe=_recipe(method),
        parameters=ParameterCounts(
            total=70_553_706_496, trainable=70_553_706_496 if method == "full" else 207_093_760, quantized=0
        ),
        memory=memory,
        verdict=None if headroom is None else "fits" if fits else "does_not_fit",
        headroom_bytes=headroom,
        largest_micro_batch=None if gpu is None else 6 if fits else 0,
        longest_seq_len=None if gpu is None else 9216 if fits else 0,
        notes=("the head stays in 16 bit",) + (("experts: none",) if method == "qlora" else ()),
        speed=None if gpu is None else _speed(gpu),
        cost=None if gpu is None else _cost(gpu),
        levers=(
            Lever(knob="--seq-len", value="1024", saved_bytes=3 * GIB, device_bytes=memory.device_bytes - 3 * GIB,
                  makes_it_fit=None if gpu is None else fits),
            Lever(knob="--loss", value="fused-linear", saved_bytes=400 * MIB,
                  device_bytes=memory.device_bytes - 400 * MIB, makes_it_fit=None if gpu is None else fits),
        ),
    )  # fmt: skip


def _estimates(gpu: Gpu | None) -> tuple[Estimate, ...]:
    return (
        _estimate("full", _memory(131.42, 525.7, 3.2, "70,553,706,496 × 2 B"), gpu),
        _estimate("lora", _memory(131.42, 1.54, 3.2, "70,553,706,496 × 2 B"), gpu),
        _estimate("qlora", _memory(35.24, 1.54, 3.2, "68,451,041,280 / 2 B + absmax; 2,102,665,216 × 2 B"), gpu),
    )


@pytest.fixture
def comparison(llama_70b: Model, a100: Gpu) -> Answer:
    """Three methods, of which one fits."""
    return Answer(model=llama_70b, gpu=a100, estimates=_estimates(a100))


@pytest.fixture
def without_card(llama_70b: Model) -> Answer:
    return Answer(model=llama_70b, gpu=None, estimates=_estimates(None))


@pytest.fixture
def nothing_fits(llama_70b: Model, a100: Gpu, h200: Gpu) -> Answer:
    return Answer(
        model=llama_70b, gpu=a100, estimates=_estimates(a100)[:2], smallest_gpus=(h200,), smallest_gpus_method="lora"
    )


@pytest.fixture
def one_method(llama_70b: Model, a100: Gpu) -> Answer:
    return Answer(model=llama_70b, gpu=a100, estimates=_estimates(a100)[2:])
