"""OLMo and EXAONE 4: norms without weights, or behind attention and MLP instead of before them."""

from __future__ import annotations

from dataclasses import replace

from ..model import Block, Model, Norm, NormKind
from .config import Config
from .parts import (
    blocks_of,
    decoder,
    head_norms,
    layer,
    layer_norm,
    model,
    projection_norms,
    read_mlp,
    rms,
    separate_attention,
)
from .shape import Shape, read_shape, sliding_layers


def olmo(c: Config) -> Model:
    """LayerNorm without weights."""
    s = read_shape(c)
    bias = c.flag("attention_bias", default=False)
    norms = tuple(layer_norm(n, s.hidden, affine=False) for n in ("input_layernorm", "post_attention_layernorm"))
    attention = replace(separate_attention(s, qkv_bias=bias, output_bias=bias), rotary_fp32=True)
    block = layer(s, attention, read_mlp(c, s), norms)
    return model(c, s, (block,), layer_norm("norm", s.hidden, affine=False), tied=False)


def _post_norm(
    c: Config, s: Shape, layers: list[tuple[int | None, bool]], qk_norms: tuple[Norm, ...], *,
    bias: bool = False, kind: NormKind = "rms",
) -> Model:  # fmt: skip
    """Norms behind each part; `layers` = the window of each layer and whether it has rotary positions."""
    mlp = read_mlp(c, s)
    norms = (rms("post_attention_layernorm", s.hidden, kind), rms("post_feedforward_layernorm", s.hidden, kind))

    def block(sort: tuple[int | None, bool]) -> Block:
        window, rotates = sort
        attention = separate_attention(
            s, rotary=None if rotates else 0, qkv_bias=bias, output_bias=bias, qk_norms=qk_norms, window=window
        )
        attention = replace(attention, rotary_fp32=kind == "rms_wide")
        return layer(s, attention, mlp, norms, arrangement="post")

    described = decoder(c, s, *blocks_of(layers, block))
    return replace(described, final_norm=rms("norm", s.hidden, kind))


def olmo2(c: Config) -> Model:
    s = read_shape(c)
    bias = c.flag("attention_bias", default=False)
    return _post_norm(c, s, [(None, True)] * s.layers, projection_norms(s, "rms_wide"), bias=bias, kind="rms_wide")


def olmo3(c: Config) -> Model:
    s = read_shape(c)
    window = c.window(4096)
    bias = c.flag("attention_bias", default=False)
    layers = [(window if slides else None, True) for slides in sliding_layers(c, s, every=4)]
    described = _post_norm(c, s, layers, projection_norms(s, "rms_wide"), bias=bias, kind="rms_wide")
    return replace(described, rotary_kinds=len(described.blocks))


def exaone4(c: Config) -> Model:
    """Where there is a window, the layers without it have no rotary positions either."""
    s = read_shape(c, kv_heads="required")
    window = c.window(4096)
    if window is None:
        return _post_norm(c, s, [(None, True)] * s.layers, head_norms(s))
    every = 4 if c.has("layer_types") else c.size("sliding_window_pattern", default=4)
    layers = [(window if slides else None, slides) for slides in sliding_layers(c, s, every=every)]
    return _post_norm(c, s, layers, head_norms(s))


READERS = {"exaone4": exaone4, "olmo": olmo, "olmo2": olmo2, "olmo3": olmo3}
