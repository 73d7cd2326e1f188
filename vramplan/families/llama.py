"""Llama and the families built like it: separate projections, rotary positions, RMS norms before attention and MLP."""

from __future__ import annotations

from dataclasses import replace

from ..model import Attention, Block, Linear, Mlp, Model
from .config import Config
from .parts import (
    Shape,
    activation,
    blocks_of,
    gated_mlp,
    head_norms,
    model,
    plain_mlp,
    read_shape,
    rms,
    separate_attention,
    sliding_layers,
)


def block(s: Shape, attention: Attention, mlp: Mlp, *, norms: tuple[str, str] = ("input_layernorm", "post_attention_layernorm")) -> Block:
    """A pre-norm layer; `parts.blocks_of` sets the count."""
    return Block(
        count=s.layers,
        arrangement="pre",
        norms=(rms(norms[0], s.hidden), rms(norms[1], s.hidden)),
        attention=attention,
        feed_forward=mlp,
    )


def decoder(c: Config, s: Shape, *blocks: Block, tied: bool = False) -> Model:
    return model(c, s, blocks, rms("norm", s.hidden), tied=tied)


def read_mlp(c: Config, s: Shape, *, bias: bool = False) -> Mlp:
    return gated_mlp(s.hidden, c.size("intermediate_size"), activation(c, default="silu"), bias=bias)


def llama(c: Config) -> Model:
    """Also InternLM2, whose remote code has the same shape under other names, and Granite's code models."""
    s = read_shape(c)
    bias = c.flag("attention_bias", default=False)
    attention = separate_attention(s, qkv_bias=bias, output_bias=bias)
    return decoder(c, s, block(s, attention, read_mlp(c, s, bias=c.flag("mlp_bias", default=False))))


def granite(c: Config) -> Model:
    """Llama with a multiplier on the embedding, the attention, the residuals and the logits."""
    return replace(llama(c), embedding_scale=True, logit_scale=True)


def granite_hybrid(c: Config) -> Model:
    """Granite 4 where all layers are attention; with Mamba layers or experts it is refused."""
    s = read_shape(c)
    types = c.per_layer("layer_types", s.layers) or c.per_layer("layers_block_type", s.layers) or ()
    c.refuse_if(not types or any(kind not in ("attention", "full_attention") for kind in types), "granitemoehybrid with Mamba layers")
    c.refuse_if(c.count("num_local_experts") > 0, "granitemoehybrid with experts")
    rotates = c.word("position_embedding_type", default="none") == "rope"
    width = c.size("shared_intermediate_size")
    mlp = Mlp(
        gated=True,
        inputs=(Linear(name="input_linear", inputs=s.hidden, outputs=2 * width),),
        output=Linear(name="output_linear", inputs=width, outputs=s.hidden),
        width=width,
        activation=activation(c, default="silu"),
    )
    bias = c.flag("attention_bias", default=False)
    attention = separate_attention(s, rotary=None if rotates else 0, qkv_bias=bias, output_bias=bias)
    positions = "rotary" if rotates else "none"
    return replace(decoder(c, s, block(s, attention, mlp)), embedding_scale=True, logit_scale=True, positions=positions)


def mistral(c: Config) -> Model:
    s = read_shape(c, kv_required=True)
    return decoder(c, s, block(s, separate_attention(s, window=c.window(4096)), read_mlp(c, s)))


def ministral3(c: Config) -> Model:
    s = read_shape(c, kv_required=True, head_dim="required")
    return decoder(c, s, block(s, separate_attention(s, window=c.window(None)), read_mlp(c, s)))


def late_windows(c: Config, s: Shape) -> list[int | None]:
    """Qwen's windows, off unless `use_sliding_window`: in the layers from `max_window_layers` on."""
    if not c.flag("use_sliding_window", default=False):
        return [None] * s.layers
    window, first = c.window(4096), c.count("max_window_layers", default=28)
    if c.has("layer_types"):
        return [window if slides else None for slides in sliding_layers(c, s.layers, every=1)]
    return [window if i >= first else None for i in range(s.layers)]


def qwen2(c: Config) -> Model:
    s = read_shape(c, kv_required=True)
    mlp = read_mlp(c, s)
    blocks = blocks_of(late_windows(c, s), lambda w: block(s, separate_attention(s, qkv_bias=True, window=w), mlp))
    return decoder(c, s, *blocks)


def qwen3(c: Config) -> Model:
    s = read_shape(c, kv_required=True, head_dim="required")
    bias, mlp, norms = c.flag("attention_bias", default=False), read_mlp(c, s), head_norms(s)

    def layer(window: int | None) -> Block:
        attention = separate_attention(s, qkv_bias=bias, output_bias=bias, qk_norms=norms, window=window)
        return block(s, attention, mlp)

    return decoder(c, s, *blocks_of(late_windows(c, s), layer))


def smollm3(c: Config) -> Model:
    """Every fourth layer, or those `no_rope_layers` marks with 0, has no rotary positions."""
    s = read_shape(c, kv_required=True)
    c.refuse_if(c.flag("use_sliding_window", default=False), "smollm3 with a sliding window")
    bias, mlp = c.flag("attention_bias", default=False), read_mlp(c, s, bias=c.flag("mlp_bias", default=False))

    def layer(rotates: bool) -> Block:
        attention = separate_attention(s, rotary=None if rotates else 0, qkv_bias=bias, output_bias=bias)
        return block(s, attention, mlp)

    return decoder(c, s, *blocks_of(rope_layers(c, s), layer), tied=True)


def rope_layers(c: Config, s: Shape) -> list[bool]:
    """Whether each layer has rotary positions: `no_rope_layers` holds a 1 for those that have."""
    marks = c.per_layer("no_rope_layers", s.layers) if c.values.get("no_rope_layers") != [] else None
    if marks is not None:
        return [bool(mark) for mark in marks]
    interval = c.size("no_rope_layer_interval", default=4)
    return [(i + 1) % interval != 0 for i in range(s.layers)]


def seed_oss(c: Config) -> Model:
    """Trains with its dropouts on, as its config says."""
    s = read_shape(c, kv_required=True, head_dim="required")
    attention = separate_attention(
        s, qkv_bias=c.flag("attention_bias", default=True), output_bias=c.flag("attention_out_bias", default=False)
    )
    mlp = read_mlp(c, s, bias=c.flag("mlp_bias", default=False))
    return replace(
        decoder(c, s, block(s, attention, mlp)),
        dropout=c.share("residual_dropout", default=0.1),
        attention_dropout=c.share("attention_dropout", default=0.1),
    )


def arcee(c: Config) -> Model:
    s = read_shape(c)
    bias = c.flag("attention_bias", default=False)
    mlp = plain_mlp(
        s.hidden,
        c.size("intermediate_size"),
        activation(c, default="relu2"),
        ("up_proj", "down_proj"),
        bias=c.flag("mlp_bias", default=False),
    )
    return decoder(c, s, block(s, separate_attention(s, qkv_bias=bias, output_bias=bias), mlp))


def apertus(c: Config) -> Model:
    """xIELU has two learned scalars a layer."""
    s = read_shape(c)
    bias = c.flag("attention_bias", default=False)
    mlp = plain_mlp(s.hidden, c.size("intermediate_size"), activation(c, default="xielu"), ("up_proj", "down_proj"))
    attention = separate_attention(s, qkv_bias=bias, output_bias=bias, qk_norms=head_norms(s))
    layer = block(s, attention, mlp, norms=("attention_layernorm", "feedforward_layernorm"))
    return decoder(c, s, replace(layer, extra_parameters=2 if mlp.activation == "xielu" else 0))


def ernie(c: Config) -> Model:
    s = read_shape(c, kv_required=True, head_dim="required")
    bias = c.flag("use_bias", default=False)
    attention = separate_attention(s, qkv_bias=bias, output_bias=bias)
    return replace(decoder(c, s, block(s, attention, read_mlp(c, s, bias=bias)), tied=True), attention_dropout=0.0)


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
