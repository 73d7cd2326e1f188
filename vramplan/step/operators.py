"""The operators of a decoder: what each kernel of the libraries allocates, saves and takes.

Each function writes ops on a tape and returns the output. The docstring names the library code it mirrors
(transformers 5.23, peft 0.21, bitsandbytes 0.50, torch 2.13) and what it was found to save.
"""

from __future__ import annotations

from typing import Any

from ..model import Linear, Norm
from ..recipe import BYTES_PER_ELEMENT
from ..units import allocated
from .setting import Setting
from .tape import Tape, Tensor
from .weights import NF4_BLOCK

_RANK = {"bf16": 0, "fp16": 0, "fp32": 1}


def promoted(a: str, b: str) -> str:
    """Dtype of a sum or product (torch's type promotion among fp32 and 16-bit floats)."""
    return a if _RANK[a] >= _RANK[b] else b


def cast(t: Tape, x: Tensor, dtype: str) -> Tensor:
    """`x.to(dtype)`: a new tensor, unless it has that dtype. Saves nothing."""
    return x if x.dtype == dtype else t.op("cast", x, dtype=dtype)


def add(t: Tape, a: Tensor, b: Tensor, name: str = "add") -> Tensor:
    """`a + b`: saves nothing, hands its gradient on to both."""
    return t.op(name, a, b, dtype=promoted(a.dtype, b.dtype), passes_grad=True)


def mul(t: Tape, a: Tensor, b: Tensor, name: str = "mul") -> Tensor:
    """`a * b`: each factor is saved where the other needs a gradient."""
    saves = ((a,) if b.needs_grad else ()) + ((b,) if a.needs_grad else ())
    return t.op(name, a, b, dtype=promoted(a.dtype, b.dtype), saves=saves)


def scale(t: Tape, x: Tensor, name: str = "scale") -> Tensor:
    """`x * constant`: saves nothing."""
    return t.op(name, x)


def dropout(t: Tape, x: Tensor, probability: float) -> Tensor:
    """Dropout in training (aten native_dropout): the output is a copy and one byte an element is saved as mask."""
    if not probability:
        return x
    mask = t.keep("dropout mask", x.elements, "int8")
    return t.op("dropout", x, saves=(mask,))


def norm(t: Tape, c: Setting, x: Tensor, spec: Norm) -> Tensor:
    """Normalisation over the last dimension; x may have several groups of `spec.width` features."""
    if spec.kind in ("layer", "layer_narrow"):
        return layer_norm(t, c, x, spec)
    if spec.kind == "layer_wide":
        return layer_norm_written_out(t, c, x, spec)
    if c.stack.fused_norm:
        return fused_rms_norm(t, c, x, spec)
    return rms_norm(t, c, x, spec)


def _norm_grads(c: Setting, spec: Norm) -> int | None:
    return weight_bytes(spec.parameters, c.norm_dtype) if c.trains_base else None


def rms_norm(t: Tape, c: Setting, x: Tensor, spec: Norm) -> Tensor:
    """`LlamaRMSNorm` / `GemmaRMSNorm`: computed in fp32 by single kernels.

    Saves the fp32 copy of x (x itself if fp32), one rsqrt a row, and, where the weight is trained, the normed value.
    Llama scales in the input's dtype, OLMo 2 and Gemma (1 + w) in fp32. Backwards pow holds x^1 and 2 x beside its
    result (torch/csrc/autograd/FunctionsManual.cpp, pow_backward: temporaries live to the end of an expression).
    """
    rows = x.elements // spec.width
    h = cast(t, x, "fp32")
    square = t.op("pow", h, saves=(h,), grad_workspace=2 * h.bytes)
    mean = t.op("mean", square, elements=rows)
    inverse = t.op("rsqrt", mean, saves_output=True)
    normed = t.op("normalize", h, inverse, saves=(h, inverse), grad_workspace=h.bytes)
    wide = spec.kind != "rms"
    if not wide:
        normed = cast(t, normed, x.dtype)
    if not spec.affine:
        return normed
    dtype = "fp32" if wide else promoted(x.dtype, c.norm_dtype)
    trained = c.trains_base
    out = t.op(
        "scale by weight", normed, dtype=dtype, saves=(normed,) if trained else (),
        weight_grads=_norm_grads(c, spec), grad_workspace=normed.bytes if trained else 0,
    )  # fmt: skip
    return cast(t, out, x.dtype) if wide else out


def fused_rms_norm(t: Tape, c: Setting, x: Tensor, spec: Norm) -> Tensor:
    """One Triton kernel (Liger, Unsloth, foak): saves x and one fp32 a row, writes the input's dtype."""
    row = t.keep("rsqrt", x.elements // spec.width, "fp32")
    return t.op("fused norm", x, saves=(x, row), weight_grads=_norm_grads(c, spec))


def layer_norm(t: Tape, c: Setting, x: Tensor, spec: Norm) -> Tensor:
    """`aten.native_layer_norm`: saves x, mean and rstd (fp32). Under autocast it runs and answers in fp32, save for
    Nemotron's, which turns autocast off; OLMo's, without weights, runs in fp32 and casts back."""
    wide = "fp32" if c.autocast or not spec.affine else promoted(x.dtype, c.norm_dtype)
    h = cast(t, x, c.autocast if spec.kind == "layer_narrow" and c.autocast else wide)
    row = t.keep("mean", x.elements // spec.width, "fp32")
    row2 = t.keep("rstd", x.elements // spec.width, "fp32")
    out = t.op("layer_norm", h, saves=(h, row, row2), weight_grads=_norm_grads(c, spec))
    return out if spec.affine else cast(t, out, x.dtype)


def layer_norm_written_out(t: Tape, c: Setting, x: Tensor, spec: Norm) -> Tensor:
    """`CohereLayerNorm`: x - mean is formed twice in fp32, once for the variance; both copies are saved."""
    h = cast(t, x, "fp32")
    mean = t.op("mean", h, elements=x.elements // spec.width)
    centred = t.op("x - mean", h, mean)
    square = t.op("pow", centred, saves=(centred,), grad_workspace=2 * h.bytes)
    inverse = t.op("rsqrt", t.op("mean", square, elements=x.elements // spec.width), saves_output=True)
    again = t.op("x - mean", h, mean)
    normed = t.op("normalize", again, inverse, saves=(again, inverse), grad_workspace=h.bytes)
    out = t.op("scale by weight", normed, saves=(normed,) if c.trains_base else (), weight_grads=_norm_grads(c, spec))
    return cast(t, out, x.dtype)


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
        transient = transient + (grads if c.recipe.grad_accum > 1 else 0)
    return t.op(
        "matmul", h, elements=rows * matrix.outputs, dtype=c.autocast or x.dtype, saves=saves,
        weight_grads=grads, grad_workspace=transient, flops=2 * rows * matrix.weights,
    )  # fmt: skip


def weight_gradient_bytes(matrix: Linear, dtype: str) -> int:
    """Bytes of the gradients of a matrix and its bias, each in the weight's dtype."""
    bias = weight_bytes(matrix.outputs, dtype) if matrix.bias else 0
    return int(weight_bytes(matrix.weights, dtype)) + bias


def four_bit(t: Tape, c: Setting, x: Tensor, matrix: Linear) -> Tensor:
    """`bnb.nn.Linear4bit`: x cast to the compute dtype, the product, the output cast back to x's dtype.

    Saves nothing (before bitsandbytes 0.43.2: its input). Dequantises the whole matrix for each product: forwards
    unless the fused 4-bit product takes the step (bitsandbytes/backends/cuda/ops.py, `_gemm_4bit_use_custom_fn`),
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

    Backwards the int8 matrix is cast to the dtype of the gradient (bitsandbytes/autograd/_functions.py, MatMul8bitLt).
    """
    rows = x.elements // matrix.inputs
    h = cast(t, x, "fp16")
    quantized = allocated(x.elements) + allocated(rows * 4)
    product = allocated(rows * matrix.outputs * 4)
    out = t.op(
        "int8 matmul", h, elements=rows * matrix.outputs, workspace=quantized + product,
        grad_workspace=allocated(c.matrix_bytes(matrix)), flops=2 * rows * matrix.weights,
    )  # fmt: skip
    return cast(t, out, x.dtype)


def lora(t: Tape, c: Setting, x: Tensor, base: Tensor, matrix: Linear) -> Tensor:
    """`result + lora_B(lora_A(dropout(x))) * scaling` (peft/tuners/lora/layer.py and bnb.py).

    Saves the input of A (cast to the adapter's dtype by each target on its own, a masked copy with dropout) and of B.
    """
    if c.stack.fused_lora == "all" or (c.stack.fused_lora == "quantized" and c.quant != "none"):
        return fused_lora(t, c, x, base, matrix)
    rows = x.elements // matrix.inputs
    four_bit = c.quantizes(matrix) and c.quant.startswith(("nf4", "fp4"))
    if four_bit and c.stack.clones_4bit_output:
        base = t.op("clone", base, passes_grad=True)
    dtype = c.autocast or c.adapter_dtype
    # peft casts x ahead of dropout, save for a 4-bit matrix under autocast
    wide = x if four_bit and c.autocast else cast(t, x, c.adapter_dtype)
    h = cast(t, dropout(t, wide, c.dropout), dtype)
    casts: tuple[Tensor, ...] = ()
    if c.autocast and c.autocast != c.adapter_dtype:
        casts = (t.keep("A cast", c.rank * matrix.inputs, dtype), t.keep("B cast", c.rank * matrix.outputs, dtype))
    low = t.op(
        "lora_A", h, elements=rows * c.rank, dtype=dtype, saves=(h, *casts[:1]),
        weight_grads=weight_bytes(c.rank * matrix.inputs, c.adapter_dtype), flops=2 * x.elements * c.rank,
    )  # fmt: skip
    update = t.op(
        "lora_B", low, elements=rows * matrix.outputs, dtype=dtype, saves=(low, *casts[1:]),
        weight_grads=weight_bytes(c.rank * matrix.outputs, c.adapter_dtype), flops=2 * rows * matrix.outputs * c.rank,
    )  # fmt: skip
    update = scale(t, update, "scaling")
    if four_bit and not c.autocast:
        update = cast(t, update, base.dtype)
    out = add(t, base, update)
    out = out if four_bit else cast(t, out, base.dtype)
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


def rotary(t: Tape, c: Setting, x: Tensor, dtype: str) -> Tensor:
    """`x * cos + rotate_half(x) * sin` (apply_rotary_pos_emb): saves nothing of its own, cos and sin are shared.

    `dtype` is that of cos and sin, which follow the residual stream.
    """
    if c.stack.fused_rope:
        return t.op("fused rotary", x, passes_grad=True)
    half = x.bytes // 2
    dtype = promoted(x.dtype, dtype)
    straight = t.op("x * cos", x, dtype=dtype)
    turned = t.op("rotate_half", x, workspace=half, grad_workspace=x.bytes + half)
    turned = t.op("rotated * sin", turned, dtype=dtype)
    return add(t, straight, turned, "rotary sum")


def silu_mul(t: Tape, c: Setting, gate: Tensor, up: Tensor, activation: str) -> Tensor:
    """`act(gate) * up`: saves gate, up and act(gate); one fused kernel saves gate and up only."""
    if c.stack.fused_mlp:
        return t.op("fused gate", gate, up, saves=(gate, up))
    return mul(t, activate(t, c, gate, activation), up, "act(gate) * up")


def activate(t: Tape, c: Setting, x: Tensor, activation: str) -> Tensor:
    """The activation function: torch's own kernels save x; `gelu_new` and `relu2` are written out in Python."""
    if activation == "relu":
        return t.op("relu", x, saves_output=True)
    if activation == "relu2":
        h = cast(t, t.op("relu", x, saves_output=True), "fp32" if c.autocast else x.dtype)
        return t.op("square", h, saves=(h,), grad_workspace=2 * h.bytes)
    if activation == "gelu_new":
        return gelu_new(t, c, x)
    if activation == "xielu":
        return xielu(t, c, x)
    return t.op(activation, x, saves=(x,))


def gelu_new(t: Tape, c: Setting, x: Tensor) -> Tensor:
    """`NewGELUActivation`: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), eight kernels.

    Saves what pow reads, tanh's output, 0.5 x and 1 + tanh; under autocast pow casts x to fp32, and so the chain.
    """
    h = cast(t, x, "fp32") if c.autocast else x
    cube = t.op("pow 3", h, saves=(h,), grad_workspace=2 * h.bytes)
    cube = scale(t, cube)
    inner = scale(t, add(t, x, cube))
    tanh = t.op("tanh", inner, saves_output=True)
    shifted = t.op("1 + tanh", tanh, passes_grad=True)
    return mul(t, scale(t, x, "0.5 x"), shifted)


def xielu(t: Tape, c: Setting, x: Tensor) -> Tensor:
    """`XIELUActivation._xielu_python`: where(x > 0, a x^2 + b x, (expm1(min(x, eps)) - x) a' + b x).

    Its learned a and a' are fp32 under autocast, and so is the chain. Saves x, a x, expm1's output, the condition, and
    what a and a' multiply where they are trained.
    """
    dtype = "fp32" if c.autocast else x.dtype
    trained = c.trains_base
    scaled = t.op("a x", x, dtype=dtype, saves=(x,) if trained else ())
    above = add(t, mul(t, scaled, x, "a x^2"), scale(t, x))
    least = t.op("min", x, saves=(x,))
    below = add(t, t.op("expm1", least, dtype=dtype, saves_output=True), x, "expm1 - x")
    below = add(t, t.op("times a'", below, saves=(below,) if trained else ()), scale(t, x))
    return t.op("where", above, below, saves=(t.keep("condition", x.elements, "int8"),))


def contiguous(t: Tape, x: Tensor) -> Tensor:
    """A copy in another order of memory."""
    return t.op("contiguous", x)


def weight_bytes(elements: Any, dtype: str) -> Any:
    """Bytes of a parameter as the allocator rounds it."""
    return allocated(elements * BYTES_PER_ELEMENT[dtype])
