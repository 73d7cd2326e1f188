"""Dtypes of a sharded job: what lies in the shards is not what the layers compute with."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, cast

from ..recipe import Dtype

if TYPE_CHECKING:
    from .setting import Setting

DEEPSPEED = ("zero1", "zero2", "zero3")


def at_rest(c: Setting) -> Setting:
    """Changes the dtypes of `c` to those that the layers see, and returns a setting with those of the tensors held.

    DDP           what is held is what is computed with.
    FSDP          gathers weights in the 16-bit type of a mixed precision and holds trained ones in fp32 (accelerate
                  1.15: accelerator.py, prepare_model, "upcasting"; utils/fsdp_utils.py, fsdp2_prepare_model, where a
                  model with 4-bit weights is left as it is); frozen weights keep their dtype.
    DeepSpeed     casts the whole model to 16 bit and runs without autocast (deepspeed 0.18: runtime/engine.py,
                  _configure_distributed_model); the optimizer has an fp32 copy of its own part.
    """
    sharding = c.recipe.sharding
    if sharding in DEEPSPEED:
        _compute_in(c, c.autocast or c.base_dtype)
        c.autocast = ""
        return c
    compute = cast(Dtype, c.stack.fsdp_compute_dtype or c.autocast)
    if sharding != "fsdp" or not compute:
        return c
    rest = copy(c)
    _compute_in(c, compute)
    if c.trains_base:
        rest.base_dtype = rest.norm_dtype = rest.embedding_dtype = rest.head_dtype = "fp32"
    elif replicates_adapters(c):
        rest.adapter_dtype = compute
    elif c.stack.flat_shards or c.quant == "none":
        rest.adapter_dtype = "fp32"
    return rest


def replicates_adapters(c: Setting) -> bool:
    """Whether every GPU holds all adapters, outside FSDP."""
    return c.quant != "none" and c.stack.replicates_quantized_adapters


def _compute_in(c: Setting, dtype: Dtype) -> None:
    c.base_dtype = c.norm_dtype = c.embedding_dtype = c.head_dtype = c.adapter_dtype = dtype
    c.compute_dtype = dtype
