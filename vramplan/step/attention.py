"""Self-attention of one layer: projections, positions, kernel."""

from __future__ import annotations

from typing import Any

from ..model import Attention
from ..units import allocated, ceil_div, largest, smallest
from .norms import norm
from .operators import add, cast, contiguous, dropout, linear, promoted, rotary, scale
from .setting import FLASH_WIDEST_HEAD, Setting
from .tape import Tape, Tensor


def attention(t: Tape, c: Setting, x: Tensor, a: Attention) -> Tensor:
    """q, k, v from x, the kernel, the output projection."""
    before, t.scope = t.scope, f"{t.scope}attention."
    q, k, v = _latent(t, c, x, a) if a.layout == "latent" else _projections(t, c, x, a)
    if c.stack.use_cache and not c.recipe.checkpointing:
        k, v = t.op("cache keys", k), t.op("cache values", v)
    out = linear(t, c, kernel(t, c, q, k, v, a), a.output)
    t.hold(x, q, k, v, *t.named)  # variables of the module's forward
    t.scope = before
    return out


def _projections(t: Tape, c: Setting, x: Tensor, a: Attention) -> tuple[Tensor, Tensor, Tensor]:
    """Separate or fused q, k, v matrices; q and k normed and rotated where the model does."""
    widths = (a.heads * a.qk_head_dim, a.kv_heads * a.qk_head_dim, a.kv_heads * a.v_head_dim)
    if a.layout == "fused":
        joint = linear(t, c, x, a.inputs[0])
        q, k, v = t.split(joint, *(c.tokens * width for width in widths))
        if a.kv_heads == 1 and c.model.model_type == "falcon":  # `qkv[..., [-1], :]` copies
            k, v = t.op("pick keys", k), t.op("pick values", v)
    else:
        q, k, *rest = (linear(t, c, x, matrix) for matrix in a.inputs)
        v = rest[0] if rest else k
    if a.value_norm is not None:
        v = norm(t, c, v, a.value_norm)
    if a.qk_norms:
        q, k = norm(t, c, q, a.qk_norms[0]), norm(t, c, k, a.qk_norms[-1])
    tables: tuple[Tensor, ...] = ()
    if a.rotary_interleaved:
        tables = tuple(t.keep(name, c.seq_len * a.rotary_dim, _table_dtype(c, a)) for name in ("cos", "sin"))
    return _rotated(t, c, q, a.qk_head_dim, a, tables), _rotated(t, c, k, a.qk_head_dim, a, tables), v


def _table_dtype(c: Setting, a: Attention) -> str:
    """Of cos and sin."""
    return "fp32" if a.rotary_fp32 else c.embedding_dtype


def _rotated(t: Tape, c: Setting, x: Tensor, head_dim: int, a: Attention, tables: tuple[Tensor, ...]) -> Tensor:
    """Rotary positions on the first `rotary_dim` features of every head; the rest is joined on again."""
    if not a.rotary_dim:
        return x
    dtype = _table_dtype(c, a)
    if a.rotary_dim >= head_dim:
        turned = rotary(t, c, x, dtype, tables)
        return cast(t, turned, x.dtype) if a.rotary_fp32 else turned
    share = x.elements * a.rotary_dim // head_dim
    first, rest = t.split(x, share, x.elements - share)
    return _join(t, rotary(t, c, first, dtype, tables), rest)


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

    Flash answers in the memory order of q: tokens before heads, unless q came out of torch.cat; then the output is
    copied before it is projected. The memory-efficient kernel always answers with tokens before heads.
    """
    groups, single = a.heads // a.kv_heads, a.kv_heads == 1
    if c.attention == "eager":
        return eager(t, c, q, k, v, a)
    dtype = c.autocast or (c.compute_dtype if c.attention == "flash2" else q.dtype)
    q, k, v = cast(t, q, dtype), cast(t, k, dtype), cast(t, v, dtype)
    wide = a.qk_head_dim > FLASH_WIDEST_HEAD and c.recipe.attention == "sdpa"
    if c.attention == "sdpa-math" and not wide:
        return math(t, c, q, k, v, a)
    masked = c.slides(a)
    # sdpa's flash takes no mask and no value heads of another size (sdp_utils.cpp)
    flash = c.attention == "flash2" and not masked and not wide
    flash = flash and (c.recipe.attention == "flash2" or a.qk_head_dim == a.v_head_dim)
    expands = not flash or c.stack.expands_kv
    if expands:
        k, v = _expanded(t, k, groups, single=single), _expanded(t, v, groups, single=single)
    if not flash:
        return efficient(t, c, q, k, v, a, masked=masked)
    out = flash_kernel(t, c, q, k, v, a, grouped=groups > 1 and not expands)
    joined = a.layout == "latent" or a.rotary_joined or 0 < a.rotary_dim < a.qk_head_dim
    return contiguous(t, out) if joined and not c.stack.fused_rope else out


def _expanded(t: Tape, x: Tensor, groups: int, *, single: bool = False) -> Tensor:
    """`repeat_kv`: a copy for every query head; of a single head a view does."""
    if groups == 1:
        return x
    if single:
        return t.split(x, x.elements * groups)[0]
    return t.op("repeat_kv", x, elements=x.elements * groups)


def _broadcast(t: Tape, c: Setting, k: Tensor, v: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """A product of batches spreads a single head over the query heads: copies where there are several sequences, else
    the heads themselves are what is saved."""
    if not c.several:
        return k, v
    return t.op("broadcast", k, elements=k.elements * groups), t.op("broadcast", v, elements=v.elements * groups)


def flash_kernel(t: Tape, c: Setting, q: Tensor, k: Tensor, v: Tensor, a: Attention, *, grouped: bool) -> Tensor:
    """Flash attention 2: saves q, k, v, the output and one fp32 log-sum-exp a row.

    Backwards it takes an fp32 accumulator of q's shape, one fp32 a row (softmax_d), and, with grouped heads, dk and dv
    for every query head (flash_api.cpp, mha_bwd: dq_accum, dk_expanded, dv_expanded).
    """
    padded = ceil_div(a.qk_head_dim, 32) * 32
    workspace: Any = allocated(c.tokens * a.heads * 4)
    workspace = workspace + allocated(c.batch * (ceil_div(c.seq_len, 128) * 128) * a.heads * padded * 4)
    return _fused(t, c, "flash", q, k, v, a, workspace + (2 * q.bytes if grouped else 0))


def efficient(t: Tape, c: Setting, q: Tensor, k: Tensor, v: Tensor, a: Attention, *, masked: bool) -> Tensor:
    """The memory-efficient kernel: saves q, k, v, the output, one fp32 log-sum-exp a row, and a mask, which sdpa writes
    out for each layer in q's dtype (aten/native/transformers/attention.cpp, convert_boolean_attn_mask).

    For 16-bit inputs it takes an fp32 accumulator of q's shape backwards, and one of the output where the value head is
    wider than the registers (kernel_backward.h, workspace_size; kernel_forward.h, kNeedsOutputAccumulatorBuffer).
    """
    wide = q.dtype == "fp32"
    workspace: Any = allocated(c.tokens * a.heads * 4)
    if not wide:
        workspace = workspace + allocated(q.elements * 4 + _key_accumulators(c, a))
    inside: Any = 0 if wide or a.v_head_dim <= 128 else allocated(c.tokens * a.heads * a.v_head_dim * 4)
    mask = t.op("mask", t.source(c.tokens * c.seq_len, q.dtype, needs_grad=False)) if masked else None
    return _fused(t, c, "efficient", q, k, v, a, workspace, inside, mask)


def _key_accumulators(c: Setting, a: Attention) -> Any:
    """fp32 blocks of 64 keys and values where a head is too wide for registers: one for each part that the keys are
    split into, at most 200 over all heads (attention_backward.cu, num_splits_key)."""
    if a.qk_head_dim <= 128:
        return 0
    parts = largest(smallest(ceil_div(c.seq_len, 64), 200 // (c.batch * a.heads)), 1)
    return 2 * c.batch * a.heads * parts * 64 * ceil_div(a.qk_head_dim, 128) * 128 * 4


def _fused(
    t: Tape, c: Setting, name: str, q: Tensor, k: Tensor, v: Tensor, a: Attention, workspace: Any, inside: Any = 0,
    mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    lse = t.keep("log-sum-exp", c.tokens * a.heads, "fp32")
    saves = (q, k, v, lse) if mask is None else (q, k, v, lse, mask)
    pairs = attended_pairs(c, a) if mask is None else c.seq_len * c.seq_len  # a mask is added, not passed over
    flops = 2 * c.batch * a.heads * (a.qk_head_dim + a.v_head_dim) * pairs
    return t.op(name, q, k, v, elements=c.tokens * a.heads * a.v_head_dim, saves=saves, saves_output=True,
                workspace=inside, grad_workspace=workspace, flops=flops)  # fmt: skip


def attended_pairs(c: Setting, a: Attention) -> Any:
    """Pairs of a query and a key that a fused kernel works on, for one sequence and head.

    Causal kernels pass over the blocks above the diagonal, and outside a sliding window: S (S + 1) / 2, or
    w S - w (w - 1) / 2 for a window of w tokens.
    """
    width = c.seq_len if a.window is None else smallest(c.seq_len, a.window)
    return width * c.seq_len - width * (width - 1) // 2


def eager(t: Tape, c: Setting, q: Tensor, k: Tensor, v: Tensor, a: Attention) -> Tensor:
    """`eager_attention_forward`: the score matrix in memory, several times over.

    Saves q, k, v, the fp32 softmax and its 16-bit copy. Softmax backwards multiplies gradient and output into an fp32
    temporary (aten/native/cuda/SoftMax.cu, softmax_backward_cuda_out).
    """
    square = c.batch * a.heads * c.seq_len * c.seq_len
    own, groups = q.dtype, a.heads // a.kv_heads
    bloom = c.model.model_type == "bloom"
    if a.kv_heads > 1:
        k, v = _expanded(t, k, groups), _expanded(t, v, groups)
    if bloom and c.several:  # reshaped to batch x heads, under the names they had
        q, k, v = contiguous(t, q), contiguous(t, k), contiguous(t, v)
    named = (q, k, v) if bloom else ()
    if a.fp32_scores:
        q, k = cast(t, q, "fp32"), cast(t, k, "fp32")
    dtype = c.autocast or q.dtype
    q, k, v = cast(t, q, dtype), cast(t, k, dtype), cast(t, v, c.autocast or v.dtype)
    if a.kv_heads == 1 and groups > 1:
        k, v = _broadcast(t, c, k, v, groups)
    elif a.layout == "fused" and a.rotary_dim and c.several:
        v = contiguous(t, v)  # a product of batches wants its own memory, and frees the fused q, k and v
    scores = t.op("q k^T", q, k, elements=square, saves=(q, k), flops=2 * square * a.qk_head_dim)
    scores = scale(t, scores)
    if a.softcap:
        scores = scale(t, t.op("tanh", scale(t, scores), saves_output=True))
    raw = scores
    scores = add(t, scores, t.source(0, promoted(dtype, c.embedding_dtype), needs_grad=False), "mask")
    if a.sinks:
        weights = _softmax_with_sinks(t, scores)
    else:
        # fp16 goes to fp32 inside the kernel (aten/native/SoftMax.cpp, half_to_float)
        wide = cast(t, scores, "fp32") if scores.dtype == "bf16" else scores
        weights = t.op("softmax", wide, dtype="fp32", saves_output=True, grad_workspace=allocated(square * 4))
        t.hold(scores)
        weights = cast(t, weights, own)
    t.weights = weights = dropout(t, weights, c.model.attention_dropout)
    weights = cast(t, weights, v.dtype)
    out = t.op("weights v", weights, v, elements=c.tokens * a.heads * a.v_head_dim, saves=(weights, v),
               flops=2 * square * a.v_head_dim)  # fmt: skip
    if a.alibi:
        # variables of their own in the library's forward, in BLOOM's with and without the mask
        t.named = (scores, *((raw, *named) if bloom else ()))
    return contiguous(t, out)


def _softmax_with_sinks(t: Tape, scores: Tensor) -> Tensor:
    """gpt-oss: a column of sinks joined on, the maximum taken off, softmax in the dtype of the scores, the column cut
    off again as a view (modeling_gpt_oss.py, eager_attention_forward)."""
    joined = t.op("join sinks", scores)
    shifted = t.op("minus maximum", joined, passes_grad=True)
    weights = t.op("softmax", shifted, saves_output=True, grad_workspace=shifted.bytes)
    (kept,) = t.split(weights, scores.elements)
    t.hold(scores)  # `attn_weights` until it is bound anew
    return kept


def math(t: Tape, c: Setting, q: Tensor, k: Tensor, v: Tensor, a: Attention) -> Tensor:
    """`_scaled_dot_product_attention_math`: scaled q and k, grouped heads repeated, the score matrix with a bias."""
    groups = a.heads // a.kv_heads
    square = c.batch * a.heads * c.seq_len * c.seq_len
    dtype = q.dtype
    q, k, v = cast(t, q, "fp32"), cast(t, k, "fp32"), cast(t, v, "fp32")
    if c.model.model_type == "falcon":
        q, k = scale(t, q), scale(t, k)
        k, v = _broadcast(t, c, k, v, groups)
    else:
        k, v = _expanded(t, k, groups), _expanded(t, v, groups)
        q, k = scale(t, q), scale(t, k)
    scores = t.op("q k^T", q, k, elements=square, saves=(q, k), flops=2 * square * a.qk_head_dim)
    scores = add(t, scores, t.source(0, "fp32", needs_grad=False), "causal bias")
    weights = t.op("softmax", scores, saves_output=True, grad_workspace=allocated(square * 4))
    weights = dropout(t, weights, c.model.attention_dropout)
    out = t.op("weights v", weights, v, elements=c.tokens * a.heads * a.v_head_dim, saves=(weights, v),
               flops=2 * square * a.v_head_dim)  # fmt: skip
    return contiguous(t, cast(t, out, dtype))
