"""Self-attention of one layer: projections, positions, kernel."""

from __future__ import annotations

from typing import Any

from ..model import Attention
from ..units import allocated, ceil_div
from .norms import norm
from .operators import add, cast, contiguous, dropout, linear, promoted, rotary, scale
from .setting import Setting
from .tape import Tape, Tensor


def attention(t: Tape, c: Setting, x: Tensor, a: Attention) -> Tensor:
    """q, k, v from x, the kernel, the output projection."""
    before, t.scope = t.scope, f"{t.scope}attention."
    q, k, v = _latent(t, c, x, a) if a.layout == "latent" else _projections(t, c, x, a)
    if c.stack.use_cache and not c.recipe.checkpointing:
        k, v = t.op("cache keys", k), t.op("cache values", v)
    out = linear(t, c, kernel(t, c, q, k, v, a), a.output)
    t.scope = before
    return out


def _projections(t: Tape, c: Setting, x: Tensor, a: Attention) -> tuple[Tensor, Tensor, Tensor]:
    """Separate or fused q, k, v matrices; q and k normed and rotated where the model does."""
    widths = (a.heads * a.qk_head_dim, a.kv_heads * a.qk_head_dim, a.kv_heads * a.v_head_dim)
    if a.layout == "fused":
        joint = linear(t, c, x, a.inputs[0])
        q, k, v = t.split(joint, *(c.tokens * width for width in widths))
    else:
        q, k, v = (linear(t, c, x, matrix) for matrix in a.inputs)
    if a.qk_norms:
        q, k = norm(t, c, q, a.qk_norms[0]), norm(t, c, k, a.qk_norms[-1])
    return _rotated(t, c, q, a.qk_head_dim, a), _rotated(t, c, k, a.qk_head_dim, a), v


def _rotated(t: Tape, c: Setting, x: Tensor, head_dim: int, a: Attention) -> Tensor:
    """Rotary positions on the first `rotary_dim` features of every head; the rest is joined on again."""
    if not a.rotary_dim:
        return x
    dtype = "fp32" if a.rotary_fp32 else c.embedding_dtype
    if a.rotary_dim >= head_dim:
        turned = rotary(t, c, x, dtype)
        return cast(t, turned, x.dtype) if a.rotary_fp32 else turned
    share = x.elements * a.rotary_dim // head_dim
    first, rest = t.split(x, share, x.elements - share)
    return _join(t, rotary(t, c, first, dtype), rest)


def _join(t: Tape, a: Tensor, b: Tensor) -> Tensor:
    """`torch.cat`: a new tensor; its gradient is handed back as views."""
    return t.op("cat", a, b, elements=a.elements + b.elements, dtype=promoted(a.dtype, b.dtype), passes_grad=True)


def _latent(t: Tape, c: Setting, x: Tensor, a: Attention) -> tuple[Tensor, Tensor, Tensor]:
    """Multi-head latent attention (DeepseekV3Attention): compressed kv, one rotated key for all heads."""
    *query, kv_down, kv_up = a.inputs
    plain = a.qk_head_dim - a.rotary_dim
    q = linear(t, c, x, query[0])
    if len(query) == 2:
        q = linear(t, c, norm(t, c, q, a.latent_norms[0]), query[1])
    compressed = linear(t, c, x, kv_down)
    rotated_key = c.tokens * a.rotary_dim
    latent, key_rotary = t.split(compressed, compressed.elements - rotated_key, rotated_key)
    kv = linear(t, c, norm(t, c, latent, a.latent_norms[-1]), kv_up)
    key_plain, v = t.split(kv, c.tokens * a.heads * plain, c.tokens * a.heads * a.v_head_dim)
    q_plain, q_rotary = t.split(q, c.tokens * a.heads * plain, c.tokens * a.heads * a.rotary_dim)
    q_rotary = rotary(t, c, q_rotary, c.embedding_dtype)
    key_rotary = rotary(t, c, key_rotary, c.embedding_dtype)
    spread = t.op("expand key", key_rotary, elements=c.tokens * a.heads * a.rotary_dim)
    return _join(t, q_plain, q_rotary), _join(t, key_plain, spread), v


def kernel(t: Tape, c: Setting, q: Tensor, k: Tensor, v: Tensor, a: Attention) -> Tensor:
    """softmax(q k^T) v by the kernel of the setting.

    The kernels answer in the memory order of q: tokens before heads, unless q came out of torch.cat; then the
    output is copied before it is projected.
    """
    groups = a.heads // a.kv_heads
    if c.attention == "eager":
        return eager(t, c, q, _expanded(t, k, groups), _expanded(t, v, groups), a)
    dtype = c.autocast or (c.compute_dtype if c.attention == "flash2" else q.dtype)
    q, k, v = cast(t, q, dtype), cast(t, k, dtype), cast(t, v, dtype)
    if c.attention == "sdpa-math":
        return math(t, c, q, k, v, a)
    expands = c.attention == "sdpa-mem-efficient" or c.stack.expands_kv
    if expands:
        k, v = _expanded(t, k, groups), _expanded(t, v, groups)
    out = fused(t, c, q, k, v, a, grouped=groups > 1 and not expands)
    joined = a.layout == "latent" or a.rotary_joined or 0 < a.rotary_dim < a.qk_head_dim
    return contiguous(t, out) if joined and not c.stack.fused_rope else out


def _expanded(t: Tape, x: Tensor, groups: int) -> Tensor:
    """`repeat_kv`: a copy for every query head."""
    return x if groups == 1 else t.op("repeat_kv", x, elements=x.elements * groups, grad_workspace=0)


def fused(t: Tape, c: Setting, q: Tensor, k: Tensor, v: Tensor, a: Attention, *, grouped: bool) -> Tensor:
    """Flash attention 2 and the memory-efficient kernel: save q, k, v, the output and one fp32 log-sum-exp a row.

    Flash backwards takes an fp32 accumulator of q's shape, and, with grouped heads, dk and dv for every query head
    (flash_api.cpp, mha_bwd: dq_accum, dk_expanded, dv_expanded); memory-efficient takes fp32 accumulators for 16-bit
    inputs (kernel_backward.h, workspace_size). Both keep one fp32 a row (softmax_d, delta).
    """
    rows = c.tokens * a.heads
    lse = t.keep("log-sum-exp", rows, "fp32")
    workspace: Any = allocated(rows * 4)
    flash = c.attention == "flash2"
    if flash:
        padded = ceil_div(a.qk_head_dim, 32) * 32
        workspace = workspace + allocated(c.batch * (ceil_div(c.seq_len, 128) * 128) * a.heads * padded * 4)
        if grouped:
            workspace = workspace + 2 * q.bytes
    elif q.dtype != "fp32":
        workspace = workspace + allocated(q.elements * 4)
    flops = 4 * c.batch * a.heads * a.qk_head_dim * c.seq_len * c.seq_len
    out = c.tokens * a.heads * a.v_head_dim
    result = t.op("flash" if flash else "efficient", q, k, v, elements=out, saves=(q, k, v, lse), saves_output=True,
                  grad_workspace=workspace, flops=flops)  # fmt: skip
    return result


def eager(t: Tape, c: Setting, q: Tensor, k: Tensor, v: Tensor, a: Attention) -> Tensor:
    """`eager_attention_forward`: the score matrix in memory, several times over.

    Saves q, k, v, the fp32 softmax and its 16-bit copy. Softmax backwards multiplies gradient and output into an fp32
    temporary (aten/native/cuda/SoftMax.cu, softmax_backward_cuda_out).
    """
    square = c.batch * a.heads * c.seq_len * c.seq_len
    flops = 2 * square * a.qk_head_dim
    dtype = c.autocast or q.dtype
    q, k, v = cast(t, q, dtype), cast(t, k, dtype), cast(t, v, dtype)
    if a.layout == "fused" and a.rotary_dim:
        v = contiguous(t, v)  # a product of batches wants its own memory, and frees the fused q, k and v
    scores = t.op("q k^T", q, k, elements=square, saves=(q, k), flops=flops)
    scores = scale(t, scores)
    if a.softcap:
        scores = scale(t, t.op("tanh", scale(t, scores), saves_output=True))
    scores = add(t, scores, t.source(0, promoted(dtype, c.embedding_dtype), needs_grad=False), "mask")
    if a.sinks:
        weights = _softmax_with_sinks(t, scores)
    else:
        if scores.dtype == "bf16":  # fp16 goes to fp32 inside the kernel (aten/native/SoftMax.cpp, half_to_float)
            scores = cast(t, scores, "fp32")
        weights = t.op("softmax", scores, dtype="fp32", saves_output=True, grad_workspace=allocated(square * 4))
        weights = cast(t, weights, dtype)
    weights = dropout(t, weights, c.model.attention_dropout)
    out = t.op("weights v", weights, v, elements=c.tokens * a.heads * a.v_head_dim, saves=(weights, v), flops=flops)
    return contiguous(t, out)


def _softmax_with_sinks(t: Tape, scores: Tensor) -> Tensor:
    """gpt-oss: a column of sinks joined on, the maximum taken off, softmax in the dtype of the scores, the column cut
    off again as a view (modeling_gpt_oss.py, eager_attention_forward)."""
    joined = t.op("join sinks", scores)
    shifted = t.op("minus maximum", joined, passes_grad=True)
    weights = t.op("softmax", shifted, saves_output=True, grad_workspace=shifted.bytes)
    (kept,) = t.split(weights, scores.elements)
    return kept


def math(t: Tape, c: Setting, q: Tensor, k: Tensor, v: Tensor, a: Attention) -> Tensor:
    """`_scaled_dot_product_attention_math`: scaled q and k, grouped heads repeated, the score matrix with a bias."""
    groups = a.heads // a.kv_heads
    square = c.batch * a.heads * c.seq_len * c.seq_len
    dtype = q.dtype
    q, k, v = cast(t, q, "fp32"), cast(t, k, "fp32"), cast(t, v, "fp32")
    k, v = _expanded(t, k, groups), _expanded(t, v, groups)
    q, k = scale(t, q), scale(t, k)
    scores = t.op("q k^T", q, k, elements=square, saves=(q, k))
    scores = add(t, scores, t.source(0, "fp32", needs_grad=False), "causal bias")
    weights = t.op("softmax", scores, saves_output=True, grad_workspace=allocated(square * 4))
    out = t.op("weights v", weights, v, elements=c.tokens * a.heads * a.v_head_dim, saves=(weights, v))
    return contiguous(t, cast(t, out, dtype))
