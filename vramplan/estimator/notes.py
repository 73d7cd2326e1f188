"""Things a person should know about an answer, said in one sentence each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model import Experts
from ..step.setting import Setting
from .phases import StepMemory

if TYPE_CHECKING:
    from ..profile import Profile


def notes(step: StepMemory) -> tuple[str, ...]:
    """Notes on one estimate, the most consequential first."""
    c = step.c
    found = [*_experts(c), *_precision(c), *_kernels(c), *_lengths(c), *_optimizer(step)]
    if c.recipe.gpus > 1:
        found = [*_sharing(step), *found]
    return (*found, *c.model.notes, *c.stack.notes)


def _sharing(step: StepMemory) -> list[str]:
    """What several GPUs share. Without --sharding they run DDP (resolve)."""
    c, r = step.c, step.c.recipe
    found = [f"Of each of {r.gpus} GPUs: {step.sharding.described}; batch and activations are each GPU's own."]
    if r.sharding == "fsdp" and c.quant.startswith(("nf4", "fp4")):
        found.append(
            "FSDP shares 4-bit weights only with a quant_storage of the other weights' dtype "
            f"(bnb_4bit_quant_storage={c.compute_dtype}); else each GPU holds them whole."
        )
    if r.sharding == "fsdp" and step.accumulates:
        found.append("Micro-batches before the last reduce nothing (no_sync), so each GPU holds whole gradients.")
    if r.sharding.startswith("zero"):
        found.append("DeepSpeed's part of these figures is read from its code; no public run stands behind it.")
    return found


def _experts(c: Setting) -> list[str]:
    if c.quant == "none" or not any(isinstance(b.feed_forward, Experts) for b in c.model.blocks):
        return []
    share = sum(b.count * b.feed_forward.expert_weights for b in c.model.blocks if isinstance(b.feed_forward, Experts))
    percent = round(100 * share / c.model.parameters)
    return [
        f"The experts ({percent} % of the parameters) stay in {c.norm_dtype}: transformers 5 holds them as fused 3-D "
        "parameters, which bitsandbytes does not quantise."
    ]


def _precision(c: Setting) -> list[str]:
    gpu, r = c.gpu, c.recipe
    if gpu is None or gpu.has_bf16:
        return []
    if "bf16" in (r.dtype, r.autocast):
        return [f"The {gpu.name} has no bf16 matrix units: bf16 is emulated and slow; use --dtype fp16."]
    return [
        f"The {gpu.name} has no bf16: {r.dtype} weights" + (f" under {r.autocast} autocast." if c.autocast else ".")
    ]


def _kernels(c: Setting) -> list[str]:
    found: list[str] = []
    if c.attention == "eager" and c.recipe.attention != "eager":
        found.append(
            "Attention runs eager: soft-capping and sinks have no sdpa kernel; flash2 would hold no score matrix."
        )
    if c.attention == "sdpa-math":
        found.append(
            "sdpa falls to its math kernel, which holds the score matrix (fp32 or an older card, grouped K and V)."
        )
    return found


def _lengths(c: Setting) -> list[str]:
    limit = c.model.max_position_embeddings
    if limit is None or c.seq_len <= limit:
        return []
    return [f"{c.seq_len:,} tokens are more than the model's context of {limit:,}."]


def _optimizer(step: StepMemory) -> list[str]:
    paged = step.static.optimizer.paged_bytes
    if not paged:
        return []
    return [
        f"{paged / 2**30:.2f} GiB of optimizer state lie in managed memory, outside these figures, and may move out."
    ]


def extrapolation(step: StepMemory, profile: Profile | None) -> tuple[str, ...]:
    """What of this answer lies outside the runs that the profile was fitted to."""
    if profile is None:
        return ()
    c = step.c
    here = {
        "parameters": c.model.parameters,
        "batch": c.batch,
        "seq_len": c.seq_len,
        "allocated_bytes": step.allocated,
    }
    outside = [
        f"{name.removesuffix('_bytes').replace('_', '-')} ({_times(here[name], *span)})"
        for name, span in profile.ranges.items()
        if not span[0] <= here[name] <= span[1]
    ]
    if c.recipe.method not in profile.methods:
        outside.append(f"method ({c.recipe.method}; fitted to {', '.join(profile.methods)})")
    if c.stack.name != profile.stack:
        outside.append(f"stack ({c.stack.name}; fitted on {profile.stack})")
    if not outside:
        return ()
    return (f"Extrapolation: outside the runs of profile {profile.name} in {', '.join(outside)}.",)


def _times(value: float, low: float, high: float) -> str:
    """2.5 x the largest, 0.5 x the smallest"""
    return f"{value / high:.3g} x the largest" if value > high else f"{value / low:.3g} x the smallest"
