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
    hidden: tuple[str, ...] = ("hidden_size",),
    layers: tuple[str, ...] = ("num_hidden_layers",),
    heads: tuple[str, ...] = ("num_attention_heads",),
    kv_heads: int | None = None,
    kv_required: bool = False,
    head_dim: Literal["derived", "optional", "required"] = "optional",
) -> Shape:
    """Widths and head counts. `kv_heads` overrides the config's; the rest says how absent keys are to be taken.

    Where the library's default for an absent key is the figure of one model, not a rule, the key is required.
    """
    hidden_size = c.size(*hidden)
    head_count = c.size(*heads)
    if kv_heads is None:
        required = kv_required and "num_key_value_heads" not in c.values
        kv_heads = c.size("num_key_value_heads", default=None if required else head_count)
    if head_count % kv_heads:
        raise c.error("num_key_value_heads", kv_heads, f"a divisor of the {head_count} attention heads")
    if head_dim == "derived" or (head_dim == "optional" and not c.has("head_dim")):
        if hidden_size % head_count:
            raise c.error(hidden[0], hidden_size, f"a multiple of the {head_count} attention heads")
        dim = hidden_size // head_count
    else:
        dim = c.size("head_dim")
    return Shape(
        hidden=hidden_size,
        layers=c.layers(*layers),
        heads=head_count,
        kv_heads=kv_heads,
        head_dim=dim,
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


def sliding_layers(c: Config, layers: int, *, every: int) -> list[bool]:
    """Whether each layer has the sliding window: what `layer_types` says, else all but each `every`-th."""
    types = c.per_layer("layer_types", layers)
    if types is None:
        return [(i + 1) % every != 0 for i in range(layers)]
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
        return [window if slides else None for slides in sliding_layers(c, s.layers, every=1)]
    return [window if i >= first else None for i in range(s.layers)]


def rope_layers(c: Config, s: Shape) -> list[bool]:
    """Whether each layer has rotary positions: `no_rope_layers` holds a 1 for those that have."""
    marks = c.per_layer("no_rope_layers", s.layers) if c.values.get("no_rope_layers") != [] else None
    if marks is not None:
        return [bool(mark) for mark in marks]
    interval = c.size("no_rope_layer_interval", default=4)
    return [(i + 1) % interval != 0 for i in range(s.layers)]
