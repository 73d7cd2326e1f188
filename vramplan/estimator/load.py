"""Moments of loading at which memory can peak: a matrix is quantised, 16-bit weights are upcast, adapters are added."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..model import Experts
from ..recipe import BYTES_PER_ELEMENT
from ..step.setting import Setting
from ..step.weights import NF4_BLOCK, adapters, total, unquantized
from ..units import allocated, ceil_div, largest
from .moment import Moment, Static


def load_moments(c: Setting, static: Static, beside: Any) -> list[Moment]:
    """What loading holds. Each moment counts the weights as they are afterwards, and as `extra` what differs.

    `beside`: what several GPUs gather meanwhile; with them all is counted at once.
    """
    weights = static.quantized + static.base + static.buffers
    if c.recipe.gpus > 1:
        return [Moment("load", weights + static.adapters, extra=_quantizing_bytes(c), shared=beside)]
    # on 8-bit matrices PEFT makes them in fp32; a stack with 16-bit ones casts them later
    wide: Any = sum(p.count * allocated(p.elements * 4) for p in adapters(c)) if c.quant == "int8" else 0
    moments = [Moment("load", weights, extra=largest(static.adapters, wide))]
    if not c.recipe.quantizes:
        return moments
    raw = static.base
    if c.recipe.kbit_prep:
        before = Setting(c.model, replace(c.recipe, kbit_prep=False), c.stack, c.gpu)
        raw = total(unquantized(before))
        if c.norm_dtype == "fp32" != c.base_dtype:
            moments.append(Moment("load", weights, extra=_upcasting_bytes(before, raw) - static.base))
    return [*moments, Moment("load", weights, extra=raw - static.base + _quantizing_bytes(c))]


def _quantizing_bytes(c: Setting) -> Any:
    """The largest matrix in its own dtype beside the quantised ones, and what quantising it takes: under double
    quantisation the fp32 scales twice (functional.quantize_4bit: `absmax - offset`), for 8 bit an fp16 copy
    (nn/modules.py, Int8Params). 0 without quantisation, and for GPTQ, whose checkpoints are quantised already."""
    if not c.recipe.quantizes or c.quant.startswith("gptq"):
        return 0
    n = max(matrix.weights for matrix, _ in c.model.linears())
    whole = allocated(n * BYTES_PER_ELEMENT[c.base_dtype])
    if c.quant == "int8" and c.base_dtype != "fp16":
        return whole + allocated(2 * n)
    scales = allocated(ceil_div(n, NF4_BLOCK) * 4) if c.quant.endswith("-dq") else 0
    return whole + 2 * scales


def _upcasting_bytes(c: Setting, raw: Any) -> Any:
    """Weights outside the quantised ones at the worst of k-bit preparation, which goes through them in the order of the
    model and holds one in both dtypes (peft/utils/other.py, prepare_model_for_kbit_training): the embedding at the
    beginning, the head or the last experts at the end. `c`, `raw`: setting and bytes before it."""
    upcast: Any = sum(part.count * allocated(part.elements * 4) for part in unquantized(c))
    head = 0 if c.model.tied_embeddings else c.model.head.weights
    size = BYTES_PER_ELEMENT[c.base_dtype]
    worst = largest(raw + allocated(c.model.embedding_parameters * 4), upcast + allocated(head * size))
    last = c.model.blocks[-1].feed_forward
    if isinstance(last, Experts):
        experts = last.count * last.hidden_size * last.width
        worst = largest(worst, upcast - allocated(head * (4 - size)) + allocated(experts * size))
    return worst
