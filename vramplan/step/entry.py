"""What stands between the tokens and the first layer: the embedding's output and what is done to it."""

from __future__ import annotations

from typing import Any

from ..recipe import BYTES_PER_ELEMENT
from ..units import allocated
from .setting import Setting
from .weights import targeted


def stream_dtype(c: Setting) -> str:
    """Dtype of the first layer's input. LayerNorm answers in fp32 under autocast, so one behind the embedding (BLOOM)
    raises the stream."""
    return "fp32" if c.autocast and c.model.embedding_norm else c.embedding_dtype


def entry_bytes(c: Setting) -> Any:
    """Kept from the forward to the end of backward beside the first layer's input.

    Under checkpointing with adapters the embedding's output is made a leaf that requires a gradient
    (transformers, enable_input_require_grads), so autograd holds it, whatever is made of it: a sum with learned
    positions, a norm, a scaled or dropped-out copy. A norm saves its input, dropout a mask.
    """
    model = c.model
    if not (c.trains_base or (c.recipe.has_adapters and c.recipe.checkpointing)):
        return 0
    elements = c.tokens * model.hidden_size
    changed = model.learned_positions or model.embedding_norm or model.embedding_scale or _dropout(c)
    kept: Any = leaf_bytes(c) if changed else 0
    if model.embedding_norm and stream_dtype(c) != c.embedding_dtype:
        kept = kept + allocated(elements * BYTES_PER_ELEMENT[stream_dtype(c)])
    return kept + (allocated(elements) if _dropout(c) else 0)


def leaf_bytes(c: Setting) -> Any:
    """The embedding's output where it was made a leaf (`entry_bytes`): its gradient stays as long as the graph does."""
    if not (c.recipe.has_adapters and c.recipe.checkpointing):
        return 0
    return allocated(c.tokens * c.model.hidden_size * BYTES_PER_ELEMENT[c.embedding_dtype])


def cast_cache_bytes(c: Setting) -> Any:
    """16-bit copies of the layers' trained fp32 matrices, which autocast keeps until the forward ends
    (aten/autocast_mode.cpp, cached_cast), even where checkpoints save nothing."""
    dtype = c.base_dtype if c.trains_base else c.adapter_dtype
    if not c.autocast or dtype != "fp32":
        return 0
    kept: Any = 0
    if c.trains_base:
        for matrix, count in c.model.linears():
            kept = kept + count * allocated(2 * matrix.weights)
    else:
        for matrix, count in targeted(c):
            kept = kept + count * (allocated(2 * c.rank * matrix.inputs) + allocated(2 * c.rank * matrix.outputs))
    return kept


def _dropout(c: Setting) -> float:
    return c.model.embedding_dropout


def rotary_tables_bytes(c: Setting) -> Any:
    """cos and sin of every position, a pair for each set of frequencies (LlamaRotaryEmbedding), as wide as what is
    rotated."""
    attentions = [block.attention for block in c.model.blocks]
    dtype = "fp32" if any(a.rotary_fp32 for a in attentions) else c.embedding_dtype
    return sum(2 * allocated(c.seq_len * width * BYTES_PER_ELEMENT[dtype]) for width in c.model.rotary_widths)


def mask_bytes(c: Setting) -> Any:
    """Masks that all layers share: eager attention has one for each kind of window, in the dtype of the residual
    stream and for every sequence (transformers, masking_utils.py, eager_mask); sdpa one of 1 B an entry where a window
    is shorter than the text (sdpa_mask), else none."""
    windows = {block.attention.window for block in c.model.blocks}
    if c.attention == "eager":
        return len(windows) * allocated(c.tokens * c.seq_len * BYTES_PER_ELEMENT[c.embedding_dtype])
    return allocated(c.seq_len * c.seq_len) if any(c.slides(block.attention) for block in c.model.blocks) else 0
