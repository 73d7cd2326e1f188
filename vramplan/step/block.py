"""Decoder blocks: compositions of operators."""

from __future__ import annotations

from typing import Any

from ..model import Block, Experts, Mlp
from .activations import activate, silu_mul
from .attention import attention
from .norms import norm
from .operators import add, cast, dropout, linear, mul, scale, weight_bytes
from .setting import Setting
from .tape import Tape, Tensor


def block(c: Setting, spec: Block, dtype: str, *, needs_grad: bool = True) -> tuple[Tape, Tensor]:
    """The tape of one decoder layer on a residual stream of `dtype`, and its input."""
    t = Tape()
    x = t.source(c.tokens * c.model.hidden_size, dtype, needs_grad=needs_grad, name="block input")
    t.outputs = (_ARRANGEMENTS[spec.arrangement](t, c, x, spec),)
    return t, x


def _pre(t: Tape, c: Setting, x: Tensor, spec: Block) -> Tensor:
    """x + attention(norm(x)), then x + mlp(norm(x)): Llama and most others."""
    first, second = spec.norms
    x = add(t, x, _hidden_dropout(t, c, attention(t, c, norm(t, c, x, first), spec.attention)), "residual 1")
    return add(t, x, _hidden_dropout(t, c, feed_forward(t, c, norm(t, c, x, second), spec)), "residual 2")


def _post(t: Tape, c: Setting, x: Tensor, spec: Block) -> Tensor:
    """x + norm(attention(x)), then x + norm(mlp(x)): OLMo 2, EXAONE 4."""
    first, second = spec.norms
    x = add(t, x, norm(t, c, attention(t, c, x, spec.attention), first), "residual 1")
    return add(t, x, norm(t, c, feed_forward(t, c, x, spec), second), "residual 2")


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


_ARRANGEMENTS = {"pre": _pre, "post": _post, "sandwich": _sandwich, "parallel": _parallel}


def _hidden_dropout(t: Tape, c: Setting, x: Tensor) -> Tensor:
    return dropout(t, x, c.model.dropout)


def feed_forward(t: Tape, c: Setting, x: Tensor, spec: Block) -> Tensor:
    """The MLP or the mixture of experts of a layer."""
    before, t.scope = t.scope, f"{t.scope}mlp."
    ff = spec.feed_forward
    out = mlp(t, c, x, ff) if isinstance(ff, Mlp) else experts(t, c, x, ff)
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
        return linear(t, c, silu_mul(t, c, gate, up, ff.activation), ff.output)
    gate = linear(t, c, x, ff.inputs[0])
    if c.stack.fused_mlp:
        return linear(t, c, silu_mul(t, c, gate, linear(t, c, x, ff.inputs[1]), ff.activation), ff.output)
    gate = activate(t, c, gate, ff.activation)
    return linear(t, c, mul(t, gate, linear(t, c, x, ff.inputs[1]), "act(gate) * up"), ff.output)


def experts(t: Tape, c: Setting, x: Tensor, e: Experts) -> Tensor:
    """A mixture with fused 3-D weights, tokens sorted by expert and multiplied by `torch._grouped_mm`
    (transformers/integrations/moe.py, grouped_mm_experts_forward), and its shared expert.

    Works on `per_token` copies of every token; saves the sorted copies, gate and up, and the weighted outputs.
    """
    rows = c.tokens * e.per_token
    width = e.hidden_size
    dtype = c.autocast or x.dtype
    h = cast(t, x, dtype)
    if e.router_is_linear:
        scores = cast(t, linear(t, c, x, e.router), "fp32")
    else:
        scores = t.op("router", h, elements=c.tokens * e.count, saves=(h,) if c.trains_base else (), dtype="fp32",
                      weight_grads=_expert_grads(c, e.router.weights))  # fmt: skip
    weights = t.op("top-k", scores, elements=rows, saves_output=True)
    chosen = t.op("gather tokens", h, elements=rows * width)
    first = e.count * width * e.width * (2 if e.gated else 1)
    pair = 2 * c.rank * e.count * (width + 2 * e.width)
    inner = expert_product(t, c, chosen, "experts in", rows * e.width * (2 if e.gated else 1), first, pair)
    if e.gated:
        gate, up = t.split(inner, rows * e.width, rows * e.width)
        inner = _clamped(t, gate, up) if e.bias else mul(t, activate(t, c, gate, e.activation), up, "act(gate) * up")
    else:
        inner = activate(t, c, inner, e.activation)
    pair = c.rank * e.count * (width + e.width)
    out = expert_product(t, c, inner, "experts out", rows * width, e.count * e.width * width, pair)
    out = mul(t, out, weights, "weight experts")
    out = t.op("unsort", out)
    out = cast(t, t.op("sum experts", out, elements=c.tokens * width), x.dtype)
    if e.shared is None:
        return out
    shared = mlp(t, c, x, e.shared)
    if e.shared_gate is not None:
        opening = t.op("sigmoid", linear(t, c, x, e.shared_gate), saves_output=True)
        shared = mul(t, shared, opening, "gate shared expert")
    return add(t, out, shared, "add shared expert")


def _clamped(t: Tape, gate: Tensor, up: Tensor) -> Tensor:
    """gpt-oss: (clamp(up) + 1) * g * sigmoid(a g), g = clamp(gate); every step of it is a kernel and most are saved."""
    gate = t.op("clamp gate", gate, saves=(gate,))
    up = t.op("up + 1", t.op("clamp up", up, saves=(up,)), passes_grad=True)
    opening = t.op("sigmoid", scale(t, gate), saves_output=True)
    return mul(t, up, mul(t, gate, opening, "gate * sigmoid"), "(up + 1) * gate")


def expert_product(t: Tape, c: Setting, x: Tensor, name: str, elements: Any, weights: int, pair: Any) -> Tensor:
    """One grouped product over the fused `weights` of all experts; `pair` = elements of their LoRA pair.

    With adapters PEFT first forms base + B A for all experts in a new tensor of the weights' size
    (ParamWrapper, torch.baddbmm), which the product saves, and whose whole gradient backward makes.
    """
    if c.adapts_experts:
        adapters = t.source(0, c.adapter_dtype, needs_grad=True, name="expert adapters")
        grads = weight_bytes(pair, c.adapter_dtype)
        merged = t.op(f"merge {name}", adapters, elements=weights, dtype=c.norm_dtype, weight_grads=grads)
        return t.op(name, x, merged, elements=elements, dtype=x.dtype, saves=(x, merged))
    saves = (x,) if c.trains_base else ()
    return t.op(name, x, elements=elements, saves=saves, weight_grads=_expert_grads(c, weights))


def _expert_grads(c: Setting, weights: Any) -> Any:
    return weight_bytes(weights, c.base_dtype) if c.trains_base else None
