"""Activation functions of an MLP, by torch's kernels or written out in Python, and the gated product."""

from __future__ import annotations

from ..recipe import BYTES_PER_ELEMENT
from .operators import add, cast, mul, scale
from .setting import Setting
from .tape import Tape, Tensor


def silu_mul(t: Tape, c: Setting, gate: Tensor, up: Tensor, activation: str) -> Tensor:
    """`act(gate) * up`: saves gate, up and act(gate). One fused kernel saves gate and up only, and writes their
    gradients over them (liger_kernel/ops/swiglu.py, unsloth/kernels/swiglu.py)."""
    if c.stack.fused_mlp:
        return t.op("fused gate", gate, up, saves=(gate, up), grad_workspace=-gate.bytes - up.bytes)
    return mul(t, activate(t, c, gate, activation), up, "act(gate) * up")


def activate(t: Tape, c: Setting, x: Tensor, activation: str) -> Tensor:
    """The activation function, a module that holds its argument."""
    out = _activated(t, c, x, activation)
    t.hold(x)
    return out


def _activated(t: Tape, c: Setting, x: Tensor, activation: str) -> Tensor:
    """torch's own kernels save x; `gelu_new`, `relu2` and `xielu` are written out in Python."""
    if activation == "relu":
        return t.op("relu", x, saves_output=True)
    if activation == "relu2":
        applied = t.op("relu", x, saves_output=True)
        h = cast(t, applied, "fp32" if c.autocast else x.dtype)
        out = t.op("square", h, saves=(h,), grad_workspace=2 * h.bytes)
        t.hold(applied)
        return out
    if activation == "gelu_new":
        return gelu_new(t, c, x)
    if activation == "gelu_bloom":  # GeLUFunction: one node, whose formulas are written out in both directions
        return t.op("gelu", x, saves=(x,), workspace=2 * x.bytes, grad_workspace=4 * x.bytes)
    if activation == "xielu":
        return xielu(t, c, x)
    return t.op(activation, x, saves=(x,))


def gelu_new(t: Tape, c: Setting, x: Tensor) -> Tensor:
    """`NewGELUActivation`: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), eight kernels.

    Saves what pow reads, tanh's output, 0.5 x and 1 + tanh; under autocast pow casts x to fp32, and so the chain.
    """
    halved = scale(t, x, "0.5 x")
    h = cast(t, x, "fp32") if c.autocast else x
    cube = t.op("pow 3", h, saves=(h,), grad_workspace=2 * h.bytes)
    cube = scale(t, cube)
    inner = scale(t, add(t, x, cube))
    tanh = t.op("tanh", inner, saves_output=True)
    shifted = t.op("1 + tanh", tanh, passes_grad=True)
    return mul(t, halved, shifted)


def xielu(t: Tape, c: Setting, x: Tensor) -> Tensor:
    """`XIELUActivation._xielu_python`: where(x > 0, a x^2 + b x, (expm1(min(x, eps)) - x) a' + b x).

    Its learned a and a' are fp32 under autocast, and so is the chain. Saves x, a x, expm1's output, the condition, and
    what a and a' multiply where they are trained.
    """
    dtype = "fp32" if c.autocast else x.dtype
    trained = c.trains_base
    condition = t.op("condition", t.source(x.elements, "int8", needs_grad=False))
    scaled = t.op("a x", x, dtype=dtype, saves=(x,) if trained else ())
    above = add(t, mul(t, scaled, x, "a x^2"), scale(t, x))
    least = t.op("min", x, saves=(x,))
    size = x.elements * BYTES_PER_ELEMENT[dtype]
    exponential = t.op("expm1", least, dtype=dtype, saves_output=True, grad_workspace=size)
    below = add(t, exponential, x, "expm1 - x")
    below = add(t, t.op("times a'", below, saves=(below,) if trained else ()), scale(t, x))
    return t.op("where", above, below, saves=(condition,))
