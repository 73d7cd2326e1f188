"""Decoder blocks: compositions of operators."""

from __future__ import annotations

from typing import Any

from ..model import Block, Experts, Mlp, Norm
from ..recipe import BYTES_PER_ELEMENT
from ..units import allocated
from .activations import activate, silu_mul
from .attention import attention
from .norms import norm
from .operators import add, cast, contiguous, dropout, linear, mul, promoted, scale, weight_bytes
from .setting import Setting
from .tape import Tape, Tensor


def block(c: Setting, spec: Block, dtype: str, *, needs_grad: bool = True) -> tuple[Tape, Tensor]:
    """The tape of one decoder layer on a residual stream of `dtype`, and its input."""
    t = Tape(accumulates=c.recipe.grad_accum > 1)
    x = t.source(c.tokens * c.model.hidden_size, dtype, needs_grad=needs_grad, name="block input")
    out = _ARRANGEMENTS[spec.arrangement](t, c, x, spec)
    t.outputs = t.split(out, out.elements) if spec.scales_output else (out,)  # in place, but its gradient is new
    if t.weights is not None:
        t.hold(t.weights)
    return t, x


def _pre(t: Tape, c: Setting, x: Tensor, spec: Block) -> Tensor:
    """x + attention(norm(x)), then x + mlp(norm(x)): Llama and most others."""
    first, second = spec.norms
    h = norm(t, c, x, first)
    mixed = y = _hidden_dropout(t, c, attention(t, c, h, spec.attention))
    x = add(t, x, scale(t, y, "multiplier") if spec.residual_scale else y, "residual 1")
    y = _hidden_dropout(t, c, feed_forward(t, c, norm(t, c, x, second), spec))
    if c.model.model_type == "stablelm":  # variables of their own in its forward
        t.hold(h, mixed)
    return add(t, x, scale(t, y, "multiplier") if spec.residual_scale else y, "residual 2")


def _post(t: Tape, c: Setting, x: Tensor, spec: Block) -> Tensor:
    """x + norm(attention(x)), then x + norm(mlp(x)): OLMo 2, EXAONE 4."""
    first, second = spec.norms
    x = add(t, x, norm(t, c, attention(t, c, x, spec.attention), first), "residual 1")
    return add(t, x, norm(t, c, feed_forward(t, c, x, spec), second), "residual 2")


def _outer(t: Tape, c: Setting, x: Tensor, spec: Block) -> Tensor:
    """norm(x + attention(x)), then norm(x + mlp(x)): the first Transformer, OPT-350m."""
    first, second = spec.norms
    x = norm(t, c, add(t, x, _hidden_dropout(t, c, attention(t, c, x, spec.attention)), "residual 1"), first)
    return norm(t, c, add(t, x, _hidden_dropout(t, c, feed_forward(t, c, x, spec)), "residual 2"), second)


def _sandwich(t: Tape, c: Setting, x: Tensor, spec: Block) -> Tensor:
    """x + norm(attention(norm(x))), the same for the MLP: Gemma 2 and 3, GLM 4."""
    first, second, third, fourth = spec.norms
    y = attention(t, c, norm(t, c, x, first), spec.attention)
    x = add(t, x, norm(t, c, y, second), "residual 1")
    y = feed_forward(t, c, norm(t, c, x, third), spec)
    return add(t, x, norm(t, c, y, fourth), "residual 2")


def _parallel(t: Tape, c: Setting, x: Tensor, spec: Block) -> Tensor:
    """x + attention(norm(x)) + mlp(norm(x)): GPT-J, Falcon, NeoX (two norms), Cohere, Phi."""
    h = norm(t, c, x, spec.norms[0])
    y = attention(t, c, h, spec.attention)
    if len(spec.norms) > 1:
        h = norm(t, c, x, spec.norms[1])
    z = feed_forward(t, c, h, spec)
    return add(t, add(t, _hidden_dropout(t, c, y), _hidden_dropout(t, c, z), "branches"), x, "residual")


def _twin(t: Tape, c: Setting, x: Tensor, spec: Block) -> Tensor:
    """A sandwich whose second part is an MLP and experts side by side, each between norms of its own, on a router that
    reads the residual stream (Gemma 4)."""
    first, second, third, fourth, after_mlp, before_experts, after_experts = spec.norms
    e = spec.feed_forward
    assert isinstance(e, Experts) and e.shared is not None
    x = add(t, x, norm(t, c, attention(t, c, norm(t, c, x, first), spec.attention), second), "residual 1")
    y = norm(t, c, mlp(t, c, norm(t, c, x, third), e.shared), after_mlp)
    weights = _scaled_scores(t, c, x, e)
    z = norm(t, c, routed(t, c, norm(t, c, x, before_experts), e, weights), after_experts)
    return add(t, x, norm(t, c, add(t, y, z, "add experts"), fourth), "residual 2")


_ARRANGEMENTS = {
    "pre": _pre, "post": _post, "outer": _outer, "sandwich": _sandwich, "parallel": _parallel, "twin": _twin,
}  # fmt: skip


def _hidden_dropout(t: Tape, c: Setting, x: Tensor) -> Tensor:
    return dropout(t, x, c.model.dropout)


def feed_forward(t: Tape, c: Setting, x: Tensor, spec: Block) -> Tensor:
    """The MLP or the mixture of experts of a layer."""
    before, t.scope = t.scope, f"{t.scope}mlp."
    ff = spec.feed_forward
    out = mlp(t, c, x, ff) if isinstance(ff, Mlp) else experts(t, c, x, ff)
    t.hold(x)  # the module's argument
    t.scope = before
    return out


def mlp(t: Tape, c: Setting, x: Tensor, ff: Mlp) -> Tensor:
    """Plain (two matrices) or gated (three, or two with gate and up fused)."""
    if not ff.gated:
        return linear(t, c, activate(t, c, linear(t, c, x, ff.inputs[0]), ff.activation), ff.output)
    if len(ff.inputs) == 1:
        joint = linear(t, c, x, ff.inputs[0])
        half = joint.elements // 2
        gate, up = t.split(joint, half, half)
        if c.stack.fused_mlp:  # the kernel wants its own memory of each (liger_kernel/ops/utils.py, ensure_contiguous)
            gate, up = contiguous(t, gate), contiguous(t, up)
        out = linear(t, c, silu_mul(t, c, gate, up, ff.activation), ff.output)
        t.hold(joint)
        return out
    gate = linear(t, c, x, ff.inputs[0])
    if c.stack.fused_mlp:
        return linear(t, c, silu_mul(t, c, gate, linear(t, c, x, ff.inputs[1]), ff.activation), ff.output)
    gate = activate(t, c, gate, ff.activation)
    return linear(t, c, mul(t, gate, linear(t, c, x, ff.inputs[1]), "act(gate) * up"), ff.output)


def experts(t: Tape, c: Setting, x: Tensor, e: Experts) -> Tensor:
    """A mixture of experts and the expert that all tokens pass, in the order of the library's code."""
    if e.shared is None:
        return routed(t, c, x, e)
    if e.shared_first:
        shared = mlp(t, c, x, e.shared)
        out = routed(t, c, x, e)
    else:
        out = routed(t, c, x, e)
        shared = mlp(t, c, x, e.shared)
    if e.shared_gate is not None:
        opening = t.op("sigmoid", linear(t, c, x, e.shared_gate), saves_output=True)
        shared = mul(t, shared, opening, "gate shared expert")
    return add(t, out, shared, "add shared expert")


def routed(t: Tape, c: Setting, x: Tensor, e: Experts, weights: Tensor | None = None) -> Tensor:
    """A mixture with fused 3-D weights, tokens sorted by expert and multiplied by `torch._grouped_mm`
    (transformers/integrations/moe.py, grouped_mm_experts_forward).

    Works on `per_token` copies of every token; saves the sorted copies where the experts are trained, gate and up, the
    outputs, and the two orders (8 B a row). Under autocast the sum answers in fp32.
    """
    rows = c.tokens * e.per_token
    width = e.hidden_size
    joint = e.width * (2 if e.gated else 1)
    weights = weights or _scores(t, c, x, cast(t, x, c.autocast or x.dtype), e)
    chosen = t.op("gather tokens", x, elements=rows * width, saves=(t.keep("order", rows * 8, "int8"),))
    chosen = cast(t, chosen, c.norm_dtype)  # autocast does not know the grouped product (_grouped_mm there)
    merged_in = _merged(t, c, "experts in", e.count * width * joint, 2 * c.rank * e.count * (width + 2 * e.width))
    inner = expert_product(t, c, chosen, "experts in", rows * joint, e.count * width * joint, merged_in,
                           flops=2 * rows * width * joint)  # fmt: skip
    if e.gated:
        gate, up = t.split(inner, rows * e.width, rows * e.width)
        inner = _clamped(t, gate, up) if e.bias else mul(t, activate(t, c, gate, e.activation), up, "act(gate) * up")
    else:
        inner = activate(t, c, inner, e.activation)
    merged_out = _merged(t, c, "experts out", e.count * width * e.width, c.rank * e.count * (width + e.width))
    product = expert_product(t, c, inner, "experts out", rows * width, e.count * e.width * width, merged_out,
                             flops=2 * rows * e.width * width)  # fmt: skip
    out = _weighted(t, product, weights)
    total = "fp32" if c.autocast else out.dtype
    out = t.op("unsort", out, saves=(t.keep("inverse order", rows * 8, "int8"),))
    t.hold(chosen, product, *(m for m in (merged_in, merged_out) if m))
    out = t.op("sum experts", out, elements=c.tokens * width, dtype=total, passes_grad=True)
    return cast(t, out, x.dtype)


def _scores(t: Tape, c: Setting, x: Tensor, h: Tensor, e: Experts) -> Tensor:
    """The router's weight for each row."""
    scores = cast(t, linear(t, c, x, e.router), "fp32") if e.router_is_linear else _routed_product(t, c, x, h, e)
    weights = t.op("top-k", scores, elements=c.tokens * e.per_token, saves_output=True)
    kept = e.scores == "fp32" or (e.scores == "product" and not c.autocast)
    return weights if kept else cast(t, weights, h.dtype)


def _scaled_scores(t: Tape, c: Setting, x: Tensor, e: Experts) -> Tensor:
    """Gemma4TextRouter: a norm without weights, a learned scale of every feature, a linear router, a softmax in fp32,
    and a learned scale of every expert."""
    h = norm(t, c, x, Norm(name="norm", kind="rms", width=e.hidden_size, affine=False))
    trained = c.trains_base
    grads = weight_bytes(e.hidden_size, c.norm_dtype) if trained else None
    h = t.op("scale features", h, dtype=promoted(h.dtype, c.norm_dtype), saves=(h,) if trained else (),
             weight_grads=grads, reads_weight=True)  # fmt: skip
    scores = linear(t, c, scale(t, h), e.router)
    chances = t.op("softmax", scores, dtype="fp32", saves_output=True)
    kept = t.keep("indices", c.tokens * e.per_token * 8, "int8")
    chosen = t.op("top-k", chances, elements=c.tokens * e.per_token, saves=(kept,), saves_output=True)
    scales = t.keep("scales of experts", c.tokens * e.per_token, c.norm_dtype)
    grads = weight_bytes(e.count, c.norm_dtype) if trained else None
    return t.op("scale experts", chosen, saves=(scales, *((chosen,) if trained else ())), weight_grads=grads)


def _routed_product(t: Tape, c: Setting, x: Tensor, h: Tensor, e: Experts) -> Tensor:
    """The product of a router that is a parameter, trained with the base or adapted with the experts. fp32 copies are
    what it saves, unless autocast lowers them again (ERNIE's turns it off)."""
    dtype = h.dtype
    if e.router_widens:
        h = cast(t, x, "fp32")
        dtype = "fp32" if e.router_fp32 or not c.autocast else c.autocast
        h = cast(t, h, dtype)
    weight = () if dtype == c.norm_dtype else (t.keep("router cast", e.router.weights, dtype),)
    return t.op(
        "router", h, elements=c.tokens * e.count, saves=((h,) if c.trains_base or c.adapts_experts else ()) + weight,
        dtype="fp32", weight_grads=_expert_grads(c, e.router.weights), flops=2 * c.tokens * e.router.weights,
        reads_weight=True,
    )  # fmt: skip


def _weighted(t: Tape, out: Tensor, weights: Tensor) -> Tensor:
    """`out * weights`, one weight a row, whose gradient is a sum over a product of the size of `out`."""
    dtype = promoted(out.dtype, weights.dtype)
    product = allocated(out.elements * BYTES_PER_ELEMENT[dtype]) if weights.needs_grad else 0
    saves = (out, weights) if weights.needs_grad else (weights,)
    return t.op("weight experts", out, weights, dtype=dtype, saves=saves, grad_workspace=product)


def _clamped(t: Tape, gate: Tensor, up: Tensor) -> Tensor:
    """gpt-oss: (clamp(up) + 1) * g * sigmoid(a g), g = clamp(gate); every step of it is a kernel and most are saved."""
    gate = t.op("clamp gate", gate, saves=(gate,))
    up = t.op("up + 1", t.op("clamp up", up, saves=(up,)), passes_grad=True)
    opening = t.op("sigmoid", scale(t, gate), saves_output=True)
    return mul(t, up, mul(t, gate, opening, "gate * sigmoid"), "(up + 1) * gate")


def _merged(t: Tape, c: Setting, name: str, weights: int, pair: Any) -> Tensor | None:
    """With adapters on the experts PEFT first forms base + B A for all of them in a new tensor of the weights' size
    (ParamWrapper, torch.baddbmm), which it keeps while the experts run. `pair` = elements of their LoRA pair.
    """
    if not c.adapts_experts:
        return None
    adapters = t.source(0, c.adapter_dtype, needs_grad=True, name="expert adapters")
    grads = weight_bytes(pair, c.adapter_dtype)
    # the factors in the dtype of the experts (get_delta_factors)
    casts = () if c.adapter_dtype == c.norm_dtype else (t.keep("factors", pair, c.norm_dtype),)
    return t.op(f"merge {name}", adapters, elements=weights, dtype=c.norm_dtype, saves=casts, weight_grads=grads)


def expert_product(t: Tape, c: Setting, x: Tensor, name: str, elements: Any, weights: int, merged: Tensor | None,
                   flops: Any) -> Tensor:  # fmt: skip
    """One grouped product over the fused `weights` of all experts, or over the `merged` ones, which it saves and whose
    whole gradient backward makes."""
    if merged is not None:
        return t.op(name, x, merged, elements=elements, dtype=x.dtype, saves=(x, merged), flops=flops)
    saves = (x,) if c.trains_base else ()
    return t.op(name, x, elements=elements, saves=saves, weight_grads=_expert_grads(c, weights), flops=flops,
                reads_weight=True)  # fmt: skip


def _expert_grads(c: Setting, weights: Any) -> Any:
    return weight_bytes(weights, c.base_dtype) if c.trains_base else None
