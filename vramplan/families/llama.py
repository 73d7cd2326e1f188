"""Llama and the families built like it: separate projections, rotary positions, RMS norms before attention and MLP."""

from __future__ import annotations

from dataclasses import replace

from ..model import Block, Model
from .config import Config
from .parts import (
    blocks_of,
    decoder,
    fused_gated_mlp,
    head_norms,
    interleaved,
    layer,
    plain_mlp,
    read_mlp,
    rms,
    scaled,
    separate_attention,
    squared_relu_mlp,
)
from .shape import activation, late_windows, read_shape, rope_layers


def llama(c: Config) -> Model:
    """Also InternLM2, whose remote code has the same shape under other names, and Granite's code models."""
    s = read_shape(c)
    bias = c.flag("attention_bias", default=False)
    attention = separate_attention(s, qkv_bias=bias, output_bias=bias)
    return decoder(c, s, layer(s, attention, read_mlp(c, s, bias=c.flag("mlp_bias", default=False))))


def granite(c: Config) -> Model:
    """Llama with a multiplier on the embedding, the attention, the residuals and the logits."""
    return scaled(llama(c))


def granite_hybrid(c: Config) -> Model:
    """Granite 4 where all layers are attention; with Mamba layers or experts it is refused."""
    s = read_shape(c)
    types = c.per_layer("layer_types", s.layers) or c.per_layer("layers_block_type", s.layers) or ()
    mixed = not types or any(kind not in ("attention", "full_attention") for kind in types)
    c.refuse_if(mixed, "granitemoehybrid with Mamba layers")
    c.refuse_if(c.count("num_local_experts") > 0, "granitemoehybrid with experts")
    rotates = c.word("position_embedding_type", default="none") == "rope"
    width = c.size("shared_intermediate_size")
    mlp = fused_gated_mlp(s.hidden, width, activation(c, default="silu"), ("input_linear", "output_linear"))
    bias = c.flag("attention_bias", default=False)
    attention = separate_attention(s, rotary=None if rotates else 0, qkv_bias=bias, output_bias=bias)
    return replace(scaled(decoder(c, s, layer(s, attention, mlp))), positions="rotary" if rotates else "none")


def mistral(c: Config) -> Model:
    s = read_shape(c, kv_heads="required")
    return decoder(c, s, layer(s, separate_attention(s, window=c.window(4096)), read_mlp(c, s)))


def ministral3(c: Config) -> Model:
    s = read_shape(c, kv_heads="required", head_dim="required")
    return decoder(c, s, layer(s, separate_attention(s, window=c.window(None)), read_mlp(c, s)))


def qwen2(c: Config) -> Model:
    s = read_shape(c, kv_heads="required")
    mlp = read_mlp(c, s)
    blocks = blocks_of(late_windows(c, s), lambda w: layer(s, separate_attention(s, qkv_bias=True, window=w), mlp))
    return decoder(c, s, *blocks)


def qwen3(c: Config) -> Model:
    s = read_shape(c, kv_heads="required", head_dim="required")
    bias, mlp, norms = c.flag("attention_bias", default=False), read_mlp(c, s), head_norms(s)

    def block(window: int | None) -> Block:
        attention = separate_attention(s, qkv_bias=bias, output_bias=bias, qk_norms=norms, window=window)
        return layer(s, attention, mlp)

    return decoder(c, s, *blocks_of(late_windows(c, s), block))


def smollm3(c: Config) -> Model:
    """Every fourth layer, or those `no_rope_layers` marks with 0, has no rotary positions."""
    s = read_shape(c, kv_heads="required")
    c.refuse_if(c.flag("use_sliding_window", default=False), "smollm3 with a sliding window")
    bias, mlp = c.flag("attention_bias", default=False), read_mlp(c, s, bias=c.flag("mlp_bias", default=False))

    def block(rotates: bool) -> Block:
        attention = separate_attention(s, rotary=None if rotates else 0, qkv_bias=bias, output_bias=bias)
        return layer(s, attention, mlp)

    return decoder(c, s, *blocks_of(rope_layers(c, s), block), tied=True)


def seed_oss(c: Config) -> Model:
    """Trains with its dropouts on, as its config says."""
    s = read_shape(c, kv_heads="required", head_dim="required")
    attention = separate_attention(
        s, qkv_bias=c.flag("attention_bias", default=True), output_bias=c.flag("attention_out_bias", default=False)
    )
    mlp = read_mlp(c, s, bias=c.flag("mlp_bias", default=False))
    return replace(
        decoder(c, s, layer(s, attention, mlp)),
        dropout=c.share("residual_dropout", default=0.1),
        attention_dropout=c.share("attention_dropout", default=0.1),
    )


def arcee(c: Config) -> Model:
    s = read_shape(c)
    bias = c.flag("attention_bias", default=False)
    mlp = squared_relu_mlp(c, s)
    return decoder(c, s, layer(s, separate_attention(s, qkv_bias=bias, output_bias=bias), mlp))


def apertus(c: Config) -> Model:
    """xIELU has two learned scalars a layer."""
    s = read_shape(c)
    bias = c.flag("attention_bias", default=False)
    mlp = plain_mlp(s.hidden, c.size("intermediate_size"), activation(c, default="xielu"), ("up_proj", "down_proj"))
    attention = separate_attention(s, qkv_bias=bias, output_bias=bias, qk_norms=head_norms(s))
    block = layer(s, attention, mlp, (rms("attention_layernorm", s.hidden), rms("feedforward_layernorm", s.hidden)))
    if mlp.activation == "xielu":
        block = replace(block, extra_parameters=(1, 1), buffers=(2, 2))  # alpha_p, alpha_n; beta, eps
    return decoder(c, s, block)


def ernie(c: Config) -> Model:
    s = read_shape(c, kv_heads="required", head_dim="required")
    bias = c.flag("use_bias", default=False)
    attention = interleaved(separate_attention(s, qkv_bias=bias, output_bias=bias), fp32=True)
    return replace(decoder(c, s, layer(s, attention, read_mlp(c, s, bias=bias)), tied=True), attention_dropout=0.0)


READERS = {
    "apertus": apertus,
    "arcee": arcee,
    "ernie4_5": ernie,
    "granite": granite,
    "granitemoehybrid": granite_hybrid,
    "internlm2": llama,
    "llama": llama,
    "ministral3": ministral3,
    "mistral": mistral,
    "qwen2": qwen2,
    "qwen3": qwen3,
    "seed_oss": seed_oss,
    "smollm3": smollm3,
}
