"""The end of the forward pass: last norm, output matrix, loss; and the embedding at its beginning."""

from __future__ import annotations

from typing import Any

from ..model import Linear
from ..recipe import BYTES_PER_ELEMENT
from ..units import allocated, ceil_div, largest, next_power_of_two, smallest
from .norms import norm
from .operators import cast, dense, linear, lora, scale, weight_bytes
from .setting import Setting
from .tape import Tape, Tensor

RETURNED = "model outputs"
TRL_TOKEN_CHUNK = 4096
TRL_VOCABULARY_CHUNK = 32_768
"""A tile of TRL's fused head: tokens (trl/kernels/chunked_logprob.py, TOKEN_CHUNK_SIZE) by vocabulary entries
(trl/trainer/utils.py, _CHUNKED_LOGPROB_CHUNK_SIZE)."""


class Head:
    """Tape of the tail, its input, and the bytes that the loop's variables hold through backward."""

    __slots__ = ("held_bytes", "tape", "x")

    def __init__(self, tape: Tape, x: Tensor, held_bytes: Any) -> None:
        self.tape, self.x, self.held_bytes = tape, x, held_bytes


def head(c: Setting, dtype: str) -> Head:
    """The tail of the step on a residual stream of `dtype`."""
    t = Tape(accumulates=c.recipe.grad_accum > 1)
    x = t.source(c.tokens * c.model.hidden_size, dtype, needs_grad=True, name="last hidden state")
    h = norm(t, c, x, c.model.final_norm) if c.model.final_norm else x
    if c.model.outer_linears:
        h = linear(t, c, h, c.model.outer_linears[-1])  # back to the width of the embedding (OPT-350m)
    held: Any = 0
    loss = c.recipe.loss
    start = len(t.ops)
    if loss == "chunked":
        out = _chunked(t, c, h)
        t.hold(h)  # `backbone_outputs`
        _return_outputs(t, c)
    elif loss == "fused-linear":
        out = _fused_linear(t, c, h)
        _return_outputs(t, c)
    else:
        logits = _logits(t, c, h)
        start = len(t.ops)
        out, kept = _fused_cross_entropy(t, c, logits) if loss == "fused-ce" else _cross_entropy(t, c, logits)
        t.hold(h)  # `hidden_states` of the model's forward
        _return_outputs(t, c, kept)
        if c.stack.holds_outputs or c.owns_loss:
            held = logits.bytes
        if c.owns_loss and c.stack.fp32_outputs and c.autocast:
            held = held + 2 * logits.bytes
    t.outputs = (out,)
    t.loss_ops = range(start, t.returned)
    return Head(t, x, held)


def _matrix(c: Setting) -> Linear:
    return c.model.head


def _logits(t: Tape, c: Setting, h: Tensor) -> Tensor:
    """The output matrix on every token, with the model's own scaling or soft-capping."""
    logits = dense(t, c, h, _matrix(c), c.head_dtype, trained=c.trains_base)
    if c.head_targeted:
        logits = lora(t, c, h, logits, _matrix(c))
    if c.model.logit_scale:
        logits = scale(t, logits, "scale logits")
    if c.model.logit_softcap:
        logits = scale(t, logits, "divide logits")
        logits = scale(t, t.op("tanh", logits, saves_output=True), "multiply logits")
    return logits


def _return_outputs(t: Tape, c: Setting, logits: Tensor | None = None) -> None:
    """The model's forward ends, and autocast with it: its outputs hold the logits, in fp32 too while accelerate
    converts them."""
    converted: Any = 0
    if logits is not None and c.stack.fp32_outputs and c.autocast and logits.dtype != "fp32":
        converted = logits.elements
    t.returned = len(t.ops)
    wide = t.op(RETURNED, t.source(converted, "fp32", needs_grad=False))
    if logits is not None:
        t.hold(logits)
    t.op("read loss", t.source(0, "fp32", needs_grad=False))
    if logits is not None:
        t.hold(wide if c.stack.fp32_outputs and c.autocast and logits.dtype != "fp32" else logits)


def _cross_entropy(t: Tape, c: Setting, logits: Tensor) -> tuple[Tensor, Tensor]:
    """`ForCausalLMLoss`: fp32 logits, log-softmax (saves its output), negative log-likelihood. Returns the loss and
    the logits that the outputs hold.

    Backwards two fp32 gradients stand beside the log-probabilities: 12 bytes per token and vocabulary entry.
    """
    wide, shifted = _upcast(t, c, logits)
    log_probabilities = t.op("log_softmax", shifted, saves_output=True)
    loss = t.op("nll", log_probabilities, elements=1, saves=(log_probabilities,))
    t.hold(wide, shifted)
    return loss, wide if c.stack.upcasts_in_model else logits


def _upcast(t: Tape, c: Setting, logits: Tensor) -> tuple[Tensor, Tensor]:
    """fp32 logits, and what goes to the loss: older versions copy all positions but the last and hold both."""
    if c.owns_loss:
        shifted = t.op("shift logits", logits)
        return shifted, cast(t, shifted, "fp32") if c.autocast else shifted
    wide = cast(t, logits, "fp32")
    return wide, t.op("shift logits", wide) if c.stack.shifts_logits else wide


def _fused_cross_entropy(t: Tape, c: Setting, logits: Tensor) -> tuple[Tensor, Tensor]:
    """One kernel on whole logits, without log-probabilities. Returns the loss and the logits that the outputs hold.

    Liger and foak stand in for torch's cross entropy inside the loss function, get its fp32 copy of the logits and
    write the gradient over it (liger_kernel/ops/cross_entropy.py). Unsloth's own forward hands over the logits as they
    are, and backwards makes a gradient beside them (unsloth/kernels/cross_entropy_loss.py, `dlogits`).
    """
    row = t.keep("log-sum-exp", c.tokens, "fp32")
    if c.stack.fused_ce_reads_logits:
        return t.op("fused cross entropy", logits, elements=1, saves=(logits, row)), logits
    wide, h = _upcast(t, c, logits)
    loss = t.op("fused cross entropy", h, elements=1, saves=(h, row), grad_workspace=-h.bytes)
    t.hold(wide)
    return loss, wide if c.stack.upcasts_in_model else logits


def _chunked(t: Tape, c: Setting, h: Tensor) -> Tensor:
    """TRL's fused head: tiles of logits, running statistics; backwards an fp32 gradient of the hidden states.

    trl/kernels/chunked_logprob.py: one tile in the compute dtype; hidden states and matrix are cast to it chunk by
    chunk, and the loop's variables hold a chunk while the next is made (backwards of the matrix too); grad_hidden (and
    grad_weight, where trained) accumulate in fp32 and are cast at the end.
    """
    matrix = _matrix(c)
    picked = t.op("pick positions", h)
    compute = c.autocast or h.dtype
    size = BYTES_PER_ELEMENT[compute]
    tile = allocated(smallest(c.tokens, TRL_TOKEN_CHUNK) * TRL_VOCABULARY_CHUNK * size)
    if h.dtype != compute:
        first, second = _two_chunks(c.tokens, TRL_TOKEN_CHUNK)
        tile = tile + allocated(first * matrix.inputs * size) + allocated(second * matrix.inputs * size)
    first, second = _two_chunks(matrix.outputs, TRL_VOCABULARY_CHUNK) if c.head_dtype != compute else (0, 0)
    casts = allocated(first * matrix.inputs * size)
    gradients: Any = 0 if h.dtype == "fp32" else allocated(picked.elements * 4)
    if c.trains_base and c.head_dtype != "fp32":
        gradients = gradients + allocated(matrix.weights * 4)
    rows = t.keep("statistics", 2 * c.tokens, "fp32")
    return t.op(
        "chunked loss", picked, elements=1, saves=(picked, rows), workspace=tile + casts,
        grad_workspace=tile + casts + allocated(second * matrix.inputs * size) + gradients,
        weight_grads=weight_bytes(matrix.weights, c.head_dtype) if c.trains_base else None,
        flops=2 * c.tokens * matrix.weights,
    )  # fmt: skip


def _two_chunks(count: Any, chunk: int) -> tuple[Any, Any]:
    """Rows of the first chunk and of the second."""
    return smallest(count, chunk), largest(smallest(count - chunk, chunk), 0)


def _fused_linear(t: Tape, c: Setting, h: Tensor) -> Tensor:
    """Liger's fused linear cross entropy: gradients of the hidden states are made in the forward pass.

    liger_kernel/ops/fused_linear_cross_entropy.py: one buffer of logits (two before 0.8) for chunks of
    next_power_of_2(tokens / ceil(V / H)) tokens; saves grad_input (and grad_weight), never the logits. Where autocast
    must lower the operands it casts the matrix for each product (a trained one's copy is kept beside), and chunks of
    the hidden states.
    """
    matrix = _matrix(c)
    compute = c.autocast or h.dtype
    size = BYTES_PER_ELEMENT[compute]
    pieces = ceil_div(matrix.outputs, matrix.inputs)
    rows = smallest(next_power_of_two(ceil_div(c.tokens, pieces)), c.tokens)
    chunk = c.stack.fused_linear_buffers * allocated(rows * matrix.outputs * size)
    lowered = h.dtype != compute or c.head_dtype != compute
    copies = (2 if c.trains_base else 1) * allocated(matrix.weights * size)
    casts = copies + allocated(rows * matrix.inputs * size) if lowered else 0
    grads = weight_bytes(matrix.weights, c.head_dtype) if c.trains_base else None
    saves: tuple[Tensor, ...] = (t.keep("grad of hidden states", h.elements, h.dtype),)
    if c.trains_base:
        saves = (*saves, t.keep("grad of head", matrix.weights, c.head_dtype))
    out = t.op(
        "fused linear cross entropy", h, elements=1, saves=saves, workspace=chunk + casts,
        grad_workspace=-h.bytes - (grads or 0), weight_grads=grads, flops=2 * c.tokens * matrix.weights,
    )  # fmt: skip
    t.hold(h)
    return out


def embedding_gradient_bytes(c: Setting) -> Any:
    """The dense gradient of the embedding table, made at the very end of backward (full fine-tuning only)."""
    return allocated(c.model.embedding_parameters * BYTES_PER_ELEMENT[c.embedding_dtype]) if c.trains_base else 0
