"""The end of the forward pass: last norm, output matrix, loss; and the embedding at its beginning."""

from __future__ import annotations

from typing import Any

from ..model import Linear
from ..recipe import BYTES_PER_ELEMENT
from ..units import allocated, ceil_div, next_power_of_two, smallest
from .norms import norm
from .operators import cast, dense, lora, scale, weight_bytes
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
    t = Tape()
    x = t.source(c.tokens * c.model.hidden_size, dtype, needs_grad=True, name="last hidden state")
    h = norm(t, c, x, c.model.final_norm) if c.model.final_norm else x
    held: Any = 0
    loss = c.recipe.loss
    start = len(t.ops)
    if loss == "chunked":
        out = _chunked(t, c, h)
    elif loss == "fused-linear":
        out = _fused_linear(t, c, h)
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
    t.loss_ops = range(start, len(t.ops) - (1 if t.ops[-1].name == RETURNED else 0))
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


def _return_outputs(t: Tape, c: Setting, logits: Tensor) -> None:
    """The model's forward ends: its outputs hold the logits, in fp32 too while accelerate converts them."""
    converts = c.stack.fp32_outputs and c.autocast and logits.dtype != "fp32"
    t.op(RETURNED, t.source(logits.elements if converts else 0, "fp32", needs_grad=False))
    t.hold(logits)


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
    """One kernel on whole logits, which writes the gradient over them (Unsloth, foak, Liger's cross entropy). Returns
    the loss and the logits that the outputs hold.

    Saves the logits and one fp32 a row. Where it stands in for torch's cross entropy inside the older loss function,
    it gets that function's fp32 copy.
    """
    wide, h = _upcast(t, c, logits) if c.stack.shifts_logits else (logits, logits)
    row = t.keep("log-sum-exp", c.tokens, "fp32")
    loss = t.op("fused cross entropy", h, elements=1, saves=(h, row), grad_workspace=-h.bytes)
    return loss, wide if c.stack.upcasts_in_model else logits


def _chunked(t: Tape, c: Setting, h: Tensor) -> Tensor:
    """TRL's fused head: tiles of logits, running statistics; backwards an fp32 gradient of the hidden states.

    trl/kernels/chunked_logprob.py: one tile in the compute dtype; grad_hidden (and grad_weight, where trained)
    accumulate in fp32 and are cast at the end.
    """
    matrix = _matrix(c)
    picked = t.op("pick positions", h)
    compute = c.autocast or h.dtype
    size = BYTES_PER_ELEMENT[compute]
    tile = allocated(smallest(c.tokens, TRL_TOKEN_CHUNK) * TRL_VOCABULARY_CHUNK * size)
    if c.head_dtype != compute:
        tile = tile + allocated(TRL_VOCABULARY_CHUNK * matrix.inputs * size)
    trained = c.trains_base
    rows = t.keep("statistics", 2 * c.tokens, "fp32")
    return t.op(
        "chunked loss", picked, elements=1, saves=(picked, rows), workspace=tile,
        grad_workspace=tile + allocated(picked.elements * 4) + (allocated(matrix.weights * 4) if trained else 0),
        weight_grads=weight_bytes(matrix.weights, c.head_dtype) if trained else None,
        flops=2 * c.tokens * matrix.weights,
    )  # fmt: skip


def _fused_linear(t: Tape, c: Setting, h: Tensor) -> Tensor:
    """Liger's fused linear cross entropy: gradients of the hidden states are made in the forward pass.

    liger_kernel/ops/fused_linear_cross_entropy.py: chunks of next_power_of_2(tokens / ceil(V / H)) tokens; saves
    grad_input (and grad_weight), never the logits.
    """
    matrix = _matrix(c)
    compute = c.autocast or h.dtype
    h = cast(t, h, compute)
    pieces = ceil_div(matrix.outputs, matrix.inputs)
    rows = next_power_of_two(ceil_div(c.tokens, pieces))
    chunk = allocated(rows * matrix.outputs * BYTES_PER_ELEMENT[compute])
    grad_input = t.keep("grad of hidden states", h.elements, compute)
    saves: tuple[Tensor, ...] = (grad_input,)
    if c.trains_base:
        saves = (*saves, t.keep("grad of head", matrix.weights, c.head_dtype))
    cast_weight = allocated(matrix.weights * BYTES_PER_ELEMENT[compute]) if c.head_dtype != compute else 0
    return t.op(
        "fused linear cross entropy", h, elements=1, saves=saves, workspace=2 * chunk + cast_weight,
        weight_grads=weight_bytes(matrix.weights, c.head_dtype) if c.trains_base else None,
    )  # fmt: skip


def embedding_gradient_bytes(c: Setting) -> Any:
    """The dense gradient of the embedding table, made at the very end of backward (full fine-tuning only)."""
    return allocated(c.model.embedding_parameters * BYTES_PER_ELEMENT[c.embedding_dtype]) if c.trains_base else 0
