"""The operators of a decoder: what each kernel of the libraries allocates, saves and takes.

Each function writes ops on a tape and returns the output. The docstring names the library code it mirrors
(transformers 5.23, peft 0.21, bitsandbytes 0.50, torch 2.13) and what it was found to save.
"""

from __future__ import annotations

from typing import Any

from ..model import Linear
from ..recipe import BYTES_PER_ELEMENT
from ..units import allocated, largest
from .setting import Setting
from .tape import Tape, Tensor
from .weights import NF4_BLOCK


def promoted(a: str, b: str) -> str:
    """Dtype of a sum or product: of unlike ones fp32, bf16 with fp16 too (torch's type promotion)."""
    return a if a == b else "fp32"


def cast(t: Tape, x: Tensor, dtype: str) -> Tensor:
    """`x.to(dtype)`: a new tensor, unless it has that dtype. Saves nothing."""
    return x if x.dtype == dtype else t.op("cast", x, dtype=dtype)


def add(t: Tape, a: Tensor, b: Tensor, name: str = "add") -> Tensor:
    """`a + b`: saves nothing, hands its gradient on to both."""
    return t.op(name, a, b, dtype=promoted(a.dtype, b.dtype), passes_grad=True)


def mul(t: Tape, a: Tensor, b: Tensor, name: str = "mul") -> Tensor:
    """`a * b`: each factor is saved where the other needs a gradient, which is formed in the dtype of the product."""
    saves = ((a,) if b.needs_grad else ()) + ((b,) if a.needs_grad else ())
    dtype = promoted(a.dtype, b.dtype)
    wide = sum(allocated(x.elements * BYTES_PER_ELEMENT[dtype]) - x.bytes for x in (a, b) if x.needs_grad)
    return t.op(name, a, b, dtype=dtype, saves=saves, grad_workspace=wide)


def scale(t: Tape, x: Tensor, name: str = "scale") -> Tensor:
    """`x * constant`: saves nothing."""
    return t.op(name, x)


def dropout(t: Tape, x: Tensor, probability: float) -> Tensor:
    """Dropout in training (aten native_dropout): the output is a copy and one byte an element is saved as mask."""
    if not probability:
        return x
    mask = t.keep("dropout mask", x.elements, "int8")
    return t.op("dropout", x, saves=(mask,))


def linear(t: Tape, c: Setting, x: Tensor, matrix: Linear) -> Tensor:
    """A matrix of a layer: base product by its storage, and the LoRA pair where it is a target."""
    before, t.scope = t.scope, f"{t.scope}{matrix.name}."
    if not c.quantizes(matrix):
        out = dense(t, c, x, matrix, c.base_dtype if c.quant == "none" else c.norm_dtype, trained=c.trains_base)
    elif c.quant == "int8":
        out = int8(t, c, x, matrix)
    else:
        out = four_bit(t, c, x, matrix)
    if c.is_target(matrix):
        out = lora(t, c, x, out, matrix)
    t.hold(x)  # the module's argument
    t.scope = before
    return out


def dense(t: Tape, c: Setting, x: Tensor, matrix: Linear, dtype: str, *, trained: bool) -> Tensor:
    """`F.linear`: saves x where the weight is trained. Autocast casts x and an unlike weight, and keeps both casts."""
    rows = x.elements // matrix.inputs
    h = cast(t, x, c.autocast) if c.autocast else x
    saves = (h,) if trained else ()
    if c.autocast and dtype != c.autocast and (x.needs_grad or trained):
        saves = (*saves, t.keep("weight cast", matrix.weights, c.autocast))
    grads: int | None = None
    transient = 0
    if trained:
        grads = weight_gradient_bytes(matrix, dtype)
        transient = grads // 2 if c.autocast and dtype != c.autocast else 0
    return t.op(
        "matmul", h, elements=rows * matrix.outputs, dtype=c.autocast or x.dtype, saves=saves,
        weight_grads=grads, grad_workspace=transient, flops=2 * rows * matrix.weights, reads_weight=True,
        gives_views=True,
    )  # fmt: skip


def weight_gradient_bytes(matrix: Linear, dtype: str) -> int:
    """Bytes of the gradients of a matrix and its bias, each in the weight's dtype."""
    bias = weight_bytes(matrix.outputs, dtype) if matrix.bias else 0
    return int(weight_bytes(matrix.weights, dtype)) + bias


def four_bit(t: Tape, c: Setting, x: Tensor, matrix: Linear) -> Tensor:
    """`bnb.nn.Linear4bit`: x cast to the compute dtype, the product, the output cast back to x's dtype.

    Saves nothing (before bitsandbytes 0.43.2: its input). Dequantises the whole matrix for each product: forwards
    unless the fused 4-bit product takes the step (bitsandbytes/backends/cuda/ops.py, `_gemm_4bit_use_custom_cuda`),
    backwards always.
    """
    rows = x.elements // matrix.inputs
    h = cast(t, x, c.compute_dtype)
    whole = allocated(c.matrix_bytes(matrix))
    dequantizes = (rows > c.stack.fused_4bit_tokens) * 1
    absmax = allocated(matrix.weights // NF4_BLOCK * 4) if c.quant.endswith("-dq") else 0
    out = t.op(
        "4-bit matmul", h, elements=rows * matrix.outputs, workspace=dequantizes * whole,
        grad_workspace=whole + absmax, saves=(h,) if c.stack.keeps_4bit_inputs else (),
        flops=2 * rows * matrix.weights,
    )  # fmt: skip
    return cast(t, out, x.dtype)


def int8(t: Tape, c: Setting, x: Tensor, matrix: Linear) -> Tensor:
    """`bnb.nn.Linear8bitLt` (LLM.int8, threshold 6): int8 rows of x, an int32 product, fp16 arithmetic around them.

    Its node keeps x as an attribute (`ctx.tensors`), which no checkpoint sees and no backward gives up. Forwards an
    fp16 copy of x, its magnitudes and their comparison, then the product in int32 and fp16. Backwards the int8 matrix
    is cast to the dtype of x (bitsandbytes/autograd/_functions.py, MatMul8bitLt; backends/cuda/ops.py). Columns of
    outliers, which depend on the data, are left out.
    """
    rows = x.elements // matrix.inputs
    out = rows * matrix.outputs
    half = 0 if x.dtype == "fp16" else 1
    quantizing = allocated(x.elements * 2) * (1 + half) + 2 * allocated(x.elements)
    product = allocated(x.elements) + allocated(out * 4) + half * allocated(out * 2)
    if x.needs_grad:
        t.pins[x.storage] = None
    return t.op(
        "int8 matmul", x, elements=out, workspace=largest(quantizing - allocated(out * 2), product),
        grad_workspace=allocated(matrix.weights * BYTES_PER_ELEMENT[x.dtype]), flops=2 * rows * matrix.weights,
    )  # fmt: skip


def lora(t: Tape, c: Setting, x: Tensor, base: Tensor, matrix: Linear) -> Tensor:
    """`result + lora_B(lora_A(dropout(x))) * scaling` (peft/tuners/lora/layer.py and bnb.py).

    Saves the input of A (cast to the adapter's dtype by each target on its own, a masked copy with dropout) and of B.
    """
    if c.stack.fused_lora == "all" or (c.stack.fused_lora == "quantized" and c.quant != "none"):
        return fused_lora(t, c, x, base, matrix)
    rows = x.elements // matrix.inputs
    quantized = c.quantizes(matrix) and c.quant.startswith(("nf4", "fp4", "int8"))
    if quantized and c.quant != "int8":
        base = t.op("clone", base, passes_grad=True)
    dtype = c.autocast or c.adapter_dtype
    # peft casts x ahead of dropout, save for a quantised matrix under autocast
    wide = x if quantized and c.autocast else cast(t, x, c.adapter_dtype)
    h = cast(t, dropout(t, wide, c.dropout), dtype)
    casts: tuple[Tensor, ...] = ()
    if c.autocast and c.autocast != c.adapter_dtype:
        casts = (t.keep("A cast", c.rank * matrix.inputs, dtype), t.keep("B cast", c.rank * matrix.outputs, dtype))
    low = t.op(
        "lora_A", h, elements=rows * c.rank, dtype=dtype, saves=(h, *casts[:1]),
        weight_grads=weight_bytes(c.rank * matrix.inputs, c.adapter_dtype), flops=2 * x.elements * c.rank,
        gives_views=True,
    )  # fmt: skip
    update = t.op(
        "lora_B", low, elements=rows * matrix.outputs, dtype=dtype, saves=(low, *casts[1:]),
        weight_grads=weight_bytes(c.rank * matrix.outputs, c.adapter_dtype), flops=2 * rows * matrix.outputs * c.rank,
    )  # fmt: skip
    update = scale(t, update, "scaling")
    if quantized and not c.autocast:
        update = cast(t, update, base.dtype)
    out = add(t, base, update)
    out = out if quantized else cast(t, out, base.dtype)
    t.hold(wide)  # `x` of the layer's forward
    return out


def fused_lora(t: Tape, c: Setting, x: Tensor, base: Tensor, matrix: Linear) -> Tensor:
    """LoRA inside one autograd function (Unsloth, foak): saves x, adds in place, writes the gradient of x over x.

    Source: unsloth/kernels/fast_lora.py (save_for_backward of X, A, B; addmm_ into the base output).
    """
    rows = x.elements // matrix.inputs
    h = dropout(t, x, c.dropout)
    grads = weight_bytes(c.rank * matrix.inputs, c.adapter_dtype) + weight_bytes(
        c.rank * matrix.outputs, c.adapter_dtype
    )
    low = allocated(rows * c.rank * BYTES_PER_ELEMENT[x.dtype])
    update = t.op(
        "fused lora", h, elements=c.rank * rows, saves=(h,), weight_grads=grads, grad_workspace=low - h.bytes,
        flops=2 * c.rank * (x.elements + rows * matrix.outputs),
    )  # fmt: skip
    return t.op("add lora", base, update, passes_grad=True)


def rotary(t: Tape, c: Setting, x: Tensor, dtype: str, tables: tuple[Tensor, ...] = ()) -> Tensor:
    """`x * cos + rotate_half(x) * sin` (apply_rotary_pos_emb): saves nothing of its own where cos and sin are shared.

    `dtype` is that of cos and sin, which follow the residual stream. `tables`: a layer's own cos and sin, which it
    saves; x is then cast to their dtype first where that is fp32 (modeling_ernie4_5.py, `q.float()`).
    """
    if c.stack.fused_rope:
        return t.op("fused rotary", x, passes_grad=True)
    half = x.bytes // 2
    dtype = promoted(x.dtype, dtype)
    wide = cast(t, x, dtype) if tables else x
    straight = t.op("x * cos", wide, dtype=dtype, saves=tables[:1])
    turned = t.op("rotate_half", x, workspace=half, grad_workspace=x.bytes + half)
    turned = cast(t, turned, dtype) if tables else turned
    turned = t.op("rotated * sin", turned, dtype=dtype, saves=tables[1:])
    return add(t, straight, turned, "rotary sum")


def contiguous(t: Tape, x: Tensor) -> Tensor:
    """A copy in another order of memory."""
    return t.op("contiguous", x)


def weight_bytes(elements: Any, dtype: str) -> Any:
    """Bytes of a parameter as the allocator rounds it."""
    return allocated(elements * BYTES_PER_ELEMENT[dtype])
