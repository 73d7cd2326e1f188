"""Phi-3 and GLM: gate_proj and up_proj in one matrix; Phi-3 also q, k and v."""

from __future__ import annotations

from dataclasses import replace

from ..model import Model
from .config import Config
from .parts import decoder, fused_attention, fused_gated_mlp, interleaved, layer, rms, separate_attention
from .shape import activation, read_shape, rotary_dim


def phi3(c: Config) -> Model:
    s = read_shape(c)
    rotary = rotary_dim(c, s.head_dim)
    attention = fused_attention(s, names=("qkv_proj", "o_proj"), rotary=rotary, window=c.window(None))
    attention = replace(attention, rotary_joined=True)
    mlp = fused_gated_mlp(s.hidden, c.size("intermediate_size"), activation(c, default="silu"))
    return replace(decoder(c, s, layer(s, attention, mlp)), dropout=c.share("resid_pdrop", default=0.0))


def _glm(c: Config, *names: str) -> Model:
    """`names` of the norms in the order of use: two before the parts, or four around them."""
    s = read_shape(c, kv_heads="required", head_dim="required")
    rotary = rotary_dim(c, s.head_dim, default=0.5)
    attention = interleaved(separate_attention(s, rotary=rotary, qkv_bias=c.flag("attention_bias", default=True)))
    mlp = fused_gated_mlp(s.hidden, c.size("intermediate_size"), activation(c, default="silu"))
    norms = tuple(rms(name, s.hidden) for name in names)
    return decoder(c, s, layer(s, attention, mlp, norms, arrangement="pre" if len(norms) == 2 else "sandwich"))


def glm(c: Config) -> Model:
    return _glm(c, "input_layernorm", "post_attention_layernorm")


def glm4(c: Config) -> Model:
    return _glm(c, "input_layernorm", "post_self_attn_layernorm", "post_attention_layernorm", "post_mlp_layernorm")


READERS = {"glm": glm, "glm4": glm4, "phi3": phi3}
