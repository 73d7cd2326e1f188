"""Normalisations: what the libraries' variants save, and in which dtype they answer."""

from __future__ import annotations

from ..model import Norm
from .operators import cast, promoted, weight_bytes
from .setting import Setting
from .tape import Tape, Tensor


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
        weight_grads=_norm_grads(c, spec), grad_workspace=normed.bytes if trained else 0, reads_weight=True,
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
