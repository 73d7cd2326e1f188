"""Phi-3 and GLM: gate_proj and up_proj in one matrix; Phi-3 also q, k and v."""

from __future__ import annotations

from dataclasses import replace

from ..model import Block, Model
from .config import Config
from .parts import (
    activation,
    fused_attention,
    fused_gated_mlp,
    model,
    read_shape,
    rms,
    rotary_dim,
    separate_attention,
)


def phi3(c: Config) -> Model:
    s = read_shape(c)
    block = Block(
        count=s.layers,
        arrangement="pre",
        norms=(rms("input_layernorm", s.hidden), rms("post_attention_layernorm", s.hidden)),
        attention=fused_attention(
            s, names=("qkv_proj", "o_proj"), rotary=rotary_dim(c, s.head_dim), window=c.window(None)
        ),
        feed_forward=fused_gated_mlp(s.hidden, c.size("intermediate_size"), activation(c, default="silu")),
    )
    return replace(
        model(c, s, (block,), rms("norm", s.hidden), tied=False), dropout=c.share("resid_pdrop", default=0.0)
    )


def _glm(c: Config, block_norms: tuple[str, ...]) -> Model:
    s = read_shape(c, kv_required=True, head_dim="required")
    block = Block(
        count=s.layers,
        arrangement="pre" if len(block_norms) == 2 else "sandwich",
        norms=tuple(rms(name, s.hidden) for name in block_norms),
        attention=separate_attention(
            s, rotary=rotary_dim(c, s.head_dim, default=0.5), qkv_bias=c.flag("attention_bias", default=True)
        ),
        feed_forward=fused_gated_mlp(s.hidden, c.size("intermediate_size"), activation(c, default="silu")),
    )
    return model(c, s, (block,), rms("norm", s.hidden), tied=False)


def glm(c: Config) -> Model:
    return _glm(c, ("input_layernorm", "post_attention_layernorm"))


def glm4(c: Config) -> Model:
    return _glm(
        c, ("input_layernorm", "post_self_attn_layernorm", "post_attention_layernorm", "post_mlp_layernorm")
    )


READERS = {"glm": glm, "glm4": glm4, "phi3": phi3}
