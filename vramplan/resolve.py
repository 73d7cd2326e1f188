"""From what was asked to what runs: every knob of a recipe decided, by the user, else the stack, else refused."""

from __future__ import annotations

from typing import Any, cast

from .errors import UnsupportedError
from .gpu import Gpu
from .recipe import Autocast, Dtype, Method, Quant, Recipe, ResolvedRecipe
from .stack import Stack

CONTRACT_DEFAULTS: dict[str, Any] = {
    "rank": 16, "targets": "all-linear", "dtype": "bf16", "autocast": "none", "adapter_dtype": "fp32",
    "kbit_prep": False, "optimizer": "adamw", "checkpointing": True, "attention": "sdpa", "loss": "standard",
    "lora_dropout": 0.0,
}  # fmt: skip
"""Where neither the user nor the stack says: the contract's table of options."""

QUANTS: dict[Method, tuple[Quant, ...]] = {
    "full": ("none",),
    "lora": ("none", "int8"),
    "qlora": ("nf4", "nf4-dq", "fp4", "fp4-dq", "int8", "gptq-int4", "gptq-int8"),
}
"""Formats of the frozen weights that a method takes: trained weights none, LoRA none or int8, QLoRA 4 or 8 bits."""


def resolve(
    recipe: Recipe, method: Method, stack: Stack, gpu: Gpu | None = None, *, strict: bool = True
) -> ResolvedRecipe:
    """Decide every knob for one method. `strict` refuses a knob that the method cannot take; else it is passed over
    (the same knobs then serve three methods side by side). Raises UnsupportedError."""
    if stack.unsupported:
        raise UnsupportedError(f"stack {stack.name!r}: {stack.unsupported}")
    if recipe.gpus == 1 and recipe.sharding != "none":
        raise UnsupportedError(f"sharding {recipe.sharding!r} on one GPU shares nothing; say --gpus 2 or more")

    def knob(name: str) -> Any:
        asked = getattr(recipe, name)
        if asked is not None:
            return asked
        default = stack.default(method, name)
        return CONTRACT_DEFAULTS[name] if default is None else default

    adapts = method != "full"
    quant = _quant(recipe.quant, method, stack, strict=strict)
    dtype, autocast = _precision(recipe, knob("dtype"), knob("autocast"), method, gpu)
    return ResolvedRecipe(
        method=method,
        stack=stack.name,
        rank=knob("rank") if adapts else 0,
        targets=knob("targets") if adapts else "",
        quant=quant,
        dtype=dtype,
        autocast=autocast,
        adapter_dtype=_adapter_dtype(recipe, knob("adapter_dtype"), dtype) if adapts else dtype,
        kbit_prep=bool(knob("kbit_prep")) and quant != "none",
        optimizer=knob("optimizer"),
        batch=recipe.batch,
        seq_len=recipe.seq_len,
        grad_accum=recipe.grad_accum,
        checkpointing=knob("checkpointing"),
        attention=knob("attention"),
        loss=knob("loss"),
        lora_dropout=float(knob("lora_dropout")) if adapts else 0.0,
        sharding="ddp" if recipe.gpus > 1 and recipe.sharding == "none" else recipe.sharding,
        gpus=recipe.gpus,
    )


def _quant(asked: Quant | None, method: Method, stack: Stack, *, strict: bool) -> Quant:
    default = cast(Quant, stack.default("qlora", "quant") or "nf4-dq") if method == "qlora" else "none"
    if asked is None or asked in QUANTS[method]:
        return asked or default
    if not strict:
        return default
    hint = {
        "full": "quantised weights cannot be trained; use --method qlora",
        "lora": "LoRA on a 4-bit base is --method qlora",
        "qlora": "LoRA on an unquantised base is --method lora",
    }[method]
    raise UnsupportedError(f"--quant {asked} with --method {method}: {hint}")


def _precision(
    recipe: Recipe, dtype: Dtype, autocast: Autocast, method: Method, gpu: Gpu | None
) -> tuple[Dtype, Autocast]:
    """A card without bf16 gets fp16 where the user did not insist; full fine-tuning under fp16 needs fp32 weights
    (torch.amp.GradScaler refuses fp16 gradients)."""
    if gpu is not None and not gpu.has_bf16:
        if recipe.autocast is None and autocast == "bf16":
            autocast = "fp16"
        if recipe.dtype is None and dtype == "bf16":
            dtype = "fp32" if method == "full" and autocast == "fp16" else "fp16"
    if recipe.autocast is None and dtype == "fp16" and autocast == "bf16":
        autocast = "fp16"
    return dtype, autocast


def _adapter_dtype(recipe: Recipe, adapter_dtype: Dtype, dtype: Dtype) -> Dtype:
    """A stack with 16-bit adapters gives them the 16-bit type that the run uses."""
    if recipe.adapter_dtype is None and adapter_dtype == "bf16" and dtype == "fp16":
        return "fp16"
    return adapter_dtype
