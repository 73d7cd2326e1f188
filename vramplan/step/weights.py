"""What stays on the device through a step: parameters by storage type, adapters, optimizer states.

Sizes are exact: bytes of the tensors, and what the allocator takes for them (`allocated_bytes`, multiples of 512).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..model import Block, Experts, Linear, Norm
from ..recipe import BYTES_PER_ELEMENT
from ..units import allocated, ceil_div
from .setting import Setting

NF4_BLOCK = 64
"""Weights that share a scale (bitsandbytes functional.quantize_4bit, blocksize)."""
GPTQ_GROUP = 128
"""Inputs that share a scale in nearly all published GPTQ checkpoints."""
CORRECTION = "router correction"
"""A parameter that no optimizer holds (ERNIE: requires_grad=False)."""
NESTED_BLOCK = 256
"""Scales that share a second scale under double quantisation (functional.quantize_4bit, compress_statistics)."""


class Part:
    """Some equal tensors: their number, elements each, bytes of one and of all.

    A matrix says how many `columns` it has, and how many of its kind are `stacked` in one tensor; 0 = a vector.
    """

    __slots__ = ("columns", "count", "dtype", "elements", "name", "one_bytes", "stacked")

    def __init__(
        self, name: str, elements: Any, dtype: str, count: int = 1, *,
        one_bytes: Any = None, columns: Any = 0, stacked: int = 1,
    ) -> None:  # fmt: skip
        self.name = name
        self.columns = columns
        self.stacked = stacked
        self.elements = elements
        self.dtype = dtype
        self.count = count
        self.one_bytes = elements * BYTES_PER_ELEMENT[dtype] if one_bytes is None else one_bytes

    @property
    def packed(self) -> bool:
        """Several quantised weights to a byte: a parameter, where constants are not."""
        return self.name.endswith((" packed", " zeros"))

    @property
    def bytes(self) -> Any:
        return self.count * self.one_bytes

    @property
    def allocated_bytes(self) -> Any:
        return self.count * allocated(self.one_bytes)


def total(parts: list[Part]) -> Any:
    """Allocated bytes of a list of parts."""
    result: Any = 0
    for part in parts:
        result = result + part.allocated_bytes
    return result


def quantized(c: Setting) -> list[Part]:
    """The quantised matrices and their constants.

    4 bit: n/2 packed; one scale per 64 weights: fp32, or under double quantisation 1 byte each, an fp32 per 256 of
    them, an offset and a code table of 256 fp32; a code table of 16 fp32 (bitsandbytes functional.quantize_4bit,
    QuantState). 8 bit: n and one fp32 scale a row (nn.Int8Params).
    """
    if c.quant == "none":
        return []
    parts: list[Part] = []
    for matrix, count in c.model.linears():
        if not c.quantizes(matrix):
            continue
        n = matrix.weights
        if c.quant == "int8":
            parts.append(Part(f"{matrix.name} int8", n, "int8", count))
            parts.append(Part(f"{matrix.name} scales", matrix.outputs, "fp32", count))
            continue
        if c.quant.startswith("gptq"):
            parts += _gptq(matrix, count, bits=8 if c.quant.endswith("8") else 4)
            continue
        blocks = ceil_div(n, NF4_BLOCK)
        parts.append(Part(f"{matrix.name} packed", n, "int8", count, one_bytes=ceil_div(n, 2)))
        parts.append(Part(f"{matrix.name} code", 16, "fp32", count))
        if c.quant.endswith("-dq"):
            parts.append(Part(f"{matrix.name} scales", blocks, "int8", count))
            parts.append(Part(f"{matrix.name} nested scales", ceil_div(blocks, NESTED_BLOCK), "fp32", count))
            parts.append(Part(f"{matrix.name} nested code", 256, "fp32", count))
            parts.append(Part(f"{matrix.name} offset", 1, "fp32", count))
        else:
            parts.append(Part(f"{matrix.name} scales", blocks, "fp32", count))
    return parts


def packed_bytes(c: Setting, spec: Block | None = None) -> Any:
    """Of all quantised matrices, or of those of one layer: 4-bit weights, and the zeros of GPTQ."""
    if c.quant == "none":
        return 0
    own = () if spec is None else spec.linears
    names = {f"{matrix.name} {what}" for matrix in own for what in ("packed", "zeros")}
    size: Any = 0
    for part in quantized(c):
        if part.packed and (spec is None or part.name in names):
            size = size + (part.bytes if spec is None else part.one_bytes)
    return size


def _gptq(matrix: Linear, count: int, *, bits: int) -> list[Part]:
    """GPTQ in groups of 128 inputs: `bits` a weight, an fp16 scale and a zero of `bits` for a group and output, and an
    int32 group index for an input (auto_gptq nn_modules/qlinear: qweight, scales, qzeros, g_idx)."""
    cells = ceil_div(matrix.inputs, GPTQ_GROUP) * matrix.outputs
    zeros = ceil_div(cells * bits, 8)
    return [
        Part(f"{matrix.name} packed", matrix.weights, "int8", count, one_bytes=ceil_div(matrix.weights * bits, 8)),
        Part(f"{matrix.name} scales", cells, "fp16", count),
        Part(f"{matrix.name} zeros", cells, "int8", count, one_bytes=zeros),
        Part(f"{matrix.name} group index", matrix.inputs, "fp32", count),
    ]


def unquantized(c: Setting) -> list[Part]:
    """Every base parameter that is not quantised, each tensor on its own."""
    parts = outer_parts(c)
    for block in c.model.blocks:
        parts += layer_parts(c, block, block.count)
    return parts


def outer_parts(c: Setting) -> list[Part]:
    """Base parameters outside the layers."""
    model = c.model
    width = model.embedding_width or model.hidden_size
    parts = [Part("embedding", model.embedding_parameters, c.embedding_dtype, columns=width)]
    if not model.tied_embeddings:
        parts.append(Part("head", model.head.weights, c.head_dtype, columns=model.head.inputs))
    if model.head.bias:
        parts.append(Part("head bias", model.head.outputs, c.head_dtype))
    if model.learned_positions:
        positions = model.learned_positions * model.hidden_size
        parts.append(Part("positions", positions, c.embedding_dtype, columns=model.hidden_size))
    for norm in (model.embedding_norm, model.final_norm):
        if norm is not None and norm.affine:
            parts += _norm_parts(c, norm, 1)
    for matrix in model.outer_linears:
        parts += _matrix_parts(c, matrix, 1)
    return parts


def layer_parts(c: Setting, block: Block, count: int) -> list[Part]:
    """Base parameters of `count` layers of a kind, those aside that are quantised."""
    parts: list[Part] = []
    layer_norms = any(norm.kind == "layer" for norm in block.norms)
    for matrix in block.linears:
        # the output matrix reads what attention answers, which autocast has lowered
        reads_fp32 = not c.autocast or matrix is not block.attention.output
        reads_fp32 = reads_fp32 and (c.norm_dtype == "fp32" or bool(layer_norms and c.autocast))
        parts += _matrix_parts(c, matrix, count, reads_fp32=reads_fp32)
    for norm in block.all_norms:
        if norm.affine:
            parts += _norm_parts(c, norm, count)
    if block.attention.sinks:
        parts.append(Part("sinks", block.attention.sinks, c.norm_dtype, count))
    name, dtype = (CORRECTION, "fp32") if _router_fp32(block) else ("multipliers", c.norm_dtype)
    parts += [Part(name, size, dtype, count) for size in block.extra_parameters]
    if isinstance(block.feed_forward, Experts):
        parts += _expert_parts(c, block.feed_forward, count)
    return parts


def _router_fp32(block: Block) -> bool:
    return isinstance(block.feed_forward, Experts) and block.feed_forward.router_fp32


def _norm_parts(c: Setting, norm: Norm, count: int) -> list[Part]:
    return [Part("norms", norm.width // norm.modules, c.norm_dtype, count * norm.modules * (2 if norm.bias else 1))]


def _matrix_parts(c: Setting, matrix: Linear, count: int, *, reads_fp32: bool = False) -> list[Part]:
    if c.quantizes(matrix):
        # Linear4bit casts its bias to its compute dtype at the first forward, Linear8bitLt to its input's, which
        # LayerNorm leaves in fp32 under autocast (bitsandbytes nn/modules.py)
        dtype = c.base_dtype if c.quant != "int8" else "fp32" if reads_fp32 else c.compute_dtype
        return [Part("biases", matrix.outputs, dtype, count)] if matrix.bias else []
    dtype = c.base_dtype if c.quant == "none" else c.norm_dtype
    parts = [Part(matrix.name, matrix.weights, dtype, count, columns=matrix.inputs)]
    return [*parts, Part("biases", matrix.outputs, dtype, count)] if matrix.bias else parts


def _expert_parts(c: Setting, e: Experts, count: int) -> list[Part]:
    """Routers and experts; fused 3-D expert parameters are not quantised (and k-bit preparation upcasts them)."""
    parts: list[Part] = []
    if not e.router_is_linear:
        dtype = "fp32" if e.router_fp32 else c.norm_dtype
        parts.append(Part("router", e.router.weights, dtype, count, columns=e.router.inputs))
        if e.router.bias:
            parts.append(Part("router bias", e.router.outputs, c.norm_dtype, count))
    joint = e.width * (2 if e.gated else 1)
    for name, width in (("experts in", joint), ("experts out", e.width)):
        size = e.count * e.hidden_size * width
        parts.append(Part(name, size, c.norm_dtype, count, columns=e.hidden_size, stacked=e.count))
    if e.bias:
        parts.append(Part("experts in bias", e.count * joint, c.norm_dtype, count, columns=joint))
        parts.append(Part("experts out bias", e.count * e.hidden_size, c.norm_dtype, count, columns=e.hidden_size))
    return parts


def adapters(c: Setting) -> list[Part]:
    """LoRA: A is rank x inputs, B is outputs x rank, for every target (peft/tuners/lora/layer.py, update_layer)."""
    if not c.recipe.has_adapters:
        return []
    parts: list[Part] = []
    for matrix, count in targeted(c):
        parts.append(Part(f"{matrix.name} A", c.rank * matrix.inputs, c.adapter_dtype, count, columns=matrix.inputs))
        parts.append(Part(f"{matrix.name} B", c.rank * matrix.outputs, c.adapter_dtype, count, columns=c.rank))
    if c.adapts_experts:
        for block in c.model.blocks:
            if isinstance(block.feed_forward, Experts):
                parts += _expert_adapters(c, block.feed_forward, block.count)
    return parts


def _expert_adapters(c: Setting, e: Experts, count: int) -> list[Part]:
    """A pair for each fused parameter: one rank per expert, two where gate and up are one (peft, ParamWrapper)."""
    wide, narrow = 2 * c.rank * e.count, c.rank * e.count
    sizes = (
        ("gate_up_proj A", wide, e.hidden_size), ("gate_up_proj B", 2 * e.width, wide),
        ("experts.down_proj A", narrow, e.width), ("experts.down_proj B", e.hidden_size, narrow),
        ("router A", c.rank, e.hidden_size), ("router B", e.count, c.rank),
    )  # fmt: skip
    return [Part(name, rows * columns, c.adapter_dtype, count, columns=columns) for name, rows, columns in sizes]


def targeted(c: Setting) -> Iterator[tuple[Linear, int]]:
    """Matrices that carry adapters, with the number of their copies."""
    for matrix, count in c.model.linears():
        if matrix.name in c.targets:
            yield matrix, count
    if c.head_targeted:
        yield c.model.head, 1


def trainable(c: Setting) -> list[Part]:
    """Tensors that the optimizer holds."""
    return [p for p in unquantized(c) if p.name != CORRECTION] if c.trains_base else adapters(c)


def buffers(c: Setting) -> int:
    """Non-parameter tensors on the device: a layer's own, and the rotary frequencies (inv_freq and original_inv_freq,
    fp32, a pair for each set: transformers 5, LlamaRotaryEmbedding)."""
    own = sum(block.count * sum(allocated(size) for size in block.buffers) for block in c.model.blocks)
    rotary = sum(2 * allocated(width // 2 * 4) for width in c.model.rotary_widths)
    return int(allocated(c.model.buffer_bytes) + own + rotary)
