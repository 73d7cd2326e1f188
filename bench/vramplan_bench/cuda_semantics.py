"""Makes code that runs on fake `cpu` tensors take the branches it would take on a GPU.

* `scaled_dot_product_attention` picks the kernel of the card (`attention.routed_attention`), not the CPU's.
* `dropout` is `native_dropout`, whose mask is one byte an element (on the CPU it has the input's type).
* `softmax(half, dtype=float32)` converts inside the kernel (aten/native/SoftMax.cpp), no copy.
* `torch.autocast("cpu")` gets CUDA's list of fp32 operators (`autocast`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F

from vramplan.recipe import AttentionKernel

from .attention import routed_attention
from .autocast import cuda_autocast_list


def _dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    if not training or p == 0:
        return input
    result: torch.Tensor = torch.native_dropout(input, p, True)[0]
    return result


def _softmax(plain: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def softmax(input: torch.Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> torch.Tensor:
        if input.dtype == torch.float16 and dtype == torch.float32:
            result: torch.Tensor = torch.ops.aten._softmax(input, dim, True)
            return result
        return plain(input, dim=dim, dtype=dtype)

    return softmax


@contextmanager
def cuda_semantics(
    attention: AttentionKernel, compute_capability: tuple[int, int], *, expand_kv: bool
) -> Iterator[None]:
    """Everything above, for the duration of the block; `expand_kv`: keys and values are copied to all heads."""
    import transformers.integrations.sdpa_attention as sdpa

    with ExitStack() as stack:
        stack.enter_context(
            patch.object(F, "scaled_dot_product_attention", routed_attention(attention, compute_capability))
        )
        stack.enter_context(patch.object(F, "dropout", _dropout))
        stack.enter_context(patch.object(F, "softmax", _softmax(F.softmax)))
        if expand_kv or attention == "sdpa-mem-efficient":  # that kernel takes no grouped heads
            stack.enter_context(patch.object(sdpa, "use_gqa_in_sdpa", lambda *_: False))
        stack.enter_context(cuda_autocast_list())
        yield
