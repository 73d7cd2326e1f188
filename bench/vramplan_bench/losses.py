"""The loss kernels: what the forward is asked for, and how the loss is read from its outputs.

`standard` is transformers' own loss on full logits, `fused-ce` that loss on Liger's cross entropy, `fused-linear`
Liger's product and loss in one. `chunked` is TRL's fused head, the real code; where tensors have
no storage its Triton kernels, which allocate nothing, are replaced by nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch

from vramplan.errors import UnsupportedError
from vramplan.recipe import Loss

from .liger import apply_liger
from .loop import Probe

TRL_OUTPUTS = ("log_probs", "entropy", "is_top1")
"""What SFTTrainer asks of the fused head (trl 1.16, sft_trainer.py)."""


LIGER_LOSSES = {"fused-linear": "fused_linear_cross_entropy", "fused-ce": "cross_entropy"}
"""Losses of Liger, by its names."""


def attach_kernels(model: Any, loss: Loss, kernels: frozenset[str]) -> None:
    """Give the base model (before PEFT wraps it) the loss of the recipe, and Liger's other kernels."""
    wanted = kernels | ({LIGER_LOSSES[loss]} if loss in LIGER_LOSSES else set())
    if wanted:
        apply_liger(model, wanted)
    if loss == "chunked":
        if find_spec("trl") is None:
            raise UnsupportedError("loss 'chunked' is TRL's: pip install trl (or --loss standard)")
        from trl.trainer.utils import add_fused_lm_head

        add_fused_lm_head(model, outputs=TRL_OUTPUTS)


def forward_options(loss: Loss) -> dict[str, Any]:
    """Arguments of the forward beside the batch."""
    return {"fused_lm_head": True} if loss == "chunked" else {}


def loss_reader(loss: Loss, tokens: int) -> Callable[[Any], torch.Tensor]:
    """Takes the loss from the outputs, as the stack's Trainer does."""
    if loss != "chunked":
        return lambda outputs: outputs["loss"]

    def read(outputs: Any) -> torch.Tensor:
        per_token = -outputs.log_probs
        result: torch.Tensor = per_token.sum() / tokens
        return result

    return read


def follow_loss(model: Any, loss: Loss, probe: Probe) -> None:
    """Let the phase `loss` begin where the base model hands logits (or hidden states) to the loss."""
    if loss in ("chunked", "fused-linear"):
        return  # the Function is patched in `triton_stand_ins` and `liger_package`, or runs inside `forward`
    plain = model.loss_function

    def followed(*args: Any, **kwargs: Any) -> Any:
        with probe.phase("loss"):
            return plain(*args, **kwargs)

    model.loss_function = followed


class _Kernel:
    """A Triton kernel that does nothing: `kernel[grid](...)`."""

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        return lambda *_, **__: None


@contextmanager
def triton_stand_ins(probe: Probe) -> Iterator[None]:
    """TRL's fused head takes its CUDA branch; kernels and in-place products, which allocate nothing, are skipped."""
    if find_spec("trl") is None:
        yield
        return
    import trl.kernels.chunked_logprob as kernels
    import trl.trainer.utils as utils

    plain = kernels.ChunkedLogProbFunction.forward

    def forward(*args: Any) -> Any:
        with probe.phase("loss"):
            return plain(*args)

    with ExitStack() as stack:
        for module in (kernels, utils):
            stack.enter_context(patch.object(module, "_use_triton", lambda _: True))
        stack.enter_context(patch.object(kernels, "_forward_kernel", _Kernel()))
        stack.enter_context(patch.object(kernels, "_backward_kernel", _Kernel()))
        stack.enter_context(patch.object(kernels, "triton", SimpleNamespace(cdiv=lambda a, b: -(-a // b)), create=True))
        stack.enter_context(patch.object(kernels, "_addmm_fp32", lambda *_: None))
        stack.enter_context(patch.object(kernels.ChunkedLogProbFunction, "forward", staticmethod(forward)))
        yield
