"""Figures that many families share, read from their config keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import UnknownNameError
from ..model import Activation
from .config import Config, unsupported

ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_fast": "gelu_new",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
    "xielu": "xielu",
}
"""transformers' names of the activations (transformers.activations.ACT2FN)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The figures that nearly every family gives."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int

    @property
    def q_width(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_dim


def read_shape(
    c: Config,
    *,
    names: tuple[str, str, str] = ("hidden_size", "num_hidden_layers", "num_attention_heads"),
    kv_heads: int | Literal["optional", "required", "all"] = "optional",
    head_dim: int | Literal["optional", "required", "derived"] = "optional",
) -> Shape:
    """Widths and head counts. `names` = the family's own keys for hidden size, layers and heads, where it has such.

    Absent `num_key_value_heads` mean as many as heads, absent `head_dim` hidden size / heads, unless they are required:
    where the library's default is the figure of one model, not a rule. `all`, `derived` = the key does not count.
    """
    hidden = c.size(names[0], "hidden_size")
    heads = c.size(names[2], "num_attention_heads")
    if kv_heads == "required" and "num_key_value_heads" not in c.values:
        raise c.missing("num_key_value_heads")
    if not isinstance(kv_heads, int):
        kv_heads = heads if kv_heads == "all" else c.size("num_key_value_heads", default=heads)
    if heads % kv_heads:
        key = "num_key_value_heads" if c.has("num_key_value_heads") else "num_kv_heads"
        raise c.error(key, kv_heads, f"a divisor of the {heads} attention heads")
    if head_dim == "required" or (head_dim == "optional" and c.has("head_dim")):
        head_dim = c.size("head_dim")
    elif not isinstance(head_dim, int):
        if hidden % heads:
            raise c.error(names[0], hidden, f"a multiple of the {heads} attention heads")
        head_dim = hidden // heads
    return Shape(
        hidden=hidden,
        layers=c.layers(names[1], "num_hidden_layers"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=c.size("vocab_size"),
    )


def activation(c: Config, key: str = "hidden_act", *, default: Activation) -> Activation:
    """The MLP's activation."""
    if not c.has(key):
        return default
    word = c.word(key)
    if word not in ACTIVATIONS:
        raise UnknownNameError(f"activation in {c.where}", word, ACTIVATIONS)
    return ACTIVATIONS[word]


def rotary_dim(c: Config, head_dim: int, *, key: str = "partial_rotary_factor", default: float = 1.0) -> int:
    """Rotated features of a head. transformers 5 keeps the share among `rope_parameters`, before it stood alone."""
    share = c.share(key, default=default)
    for name in ("rope_scaling", "rope_parameters"):
        rope = c.section(name)
        if rope is not None:
            share = rope.share("partial_rotary_factor", default=share)
    return int(head_dim * share)


def sliding_layers(c: Config, s: Shape, *, every: int) -> list[bool]:
    """Whether each layer has the sliding window: what `layer_types` says, else all but each `every`-th."""
    types = c.per_layer("layer_types", s.layers)
    if types is None:
        return [(i + 1) % every != 0 for i in range(s.layers)]
    for kind in types:
        if kind not in ("sliding_attention", "full_attention"):
            raise unsupported(c.where, f"layers of type {str(kind)[:40]!r}")
    return [kind == "sliding_attention" for kind in types]


def late_windows(c: Config, s: Shape) -> list[int | None]:
    """Qwen's windows, off unless `use_sliding_window`: in the layers from `max_window_layers` on."""
    if not c.flag("use_sliding_window", default=False):
        return [None] * s.layers
    window, first = c.window(4096), c.count("max_window_layers", default=28)
    if c.has("layer_types"):
        return [window if slides else None for slides in sliding_layers(c, s, every=1)]
    return [window if i >= first else None for i in range(s.layers)]


def rope_layers(c: Config, s: Shape) -> list[bool]:
    """Whether each layer has rotary positions: `no_rope_layers` holds a 1 for those that have."""
    marks = c.per_layer("no_rope_layers", s.layers) if c.values.get("no_rope_layers") != [] else None
    if marks is not None:
        return [bool(mark) for mark in marks]
    interval = c.size("no_rope_layer_interval", default=4)
    return [(i + 1) % interval != 0 for i in range(s.layers)]
