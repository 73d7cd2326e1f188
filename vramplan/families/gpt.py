"""GPT-2 and what followed its plan: LayerNorms with bias before attention and a plain MLP, biases nearly everywhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from ..model import Activation, Attention, Block, Linear, Mlp, Model, Norm
from .config import Config
from .parts import fused_attention, layer, layer_norm, model, plain_mlp, separate_attention, squared_relu_mlp
from .shape import Shape, activation, read_shape, rotary_dim


def _block(s: Shape, names: tuple[str, str], attention: Attention, mlp: Mlp, *, bias: bool = True) -> Block:
    norms = (layer_norm(names[0], s.hidden, bias=bias), layer_norm(names[1], s.hidden, bias=bias))
    return layer(s, attention, mlp, norms)


def _gpt2_like(c: Config, *, multi_query: bool, act: Activation) -> Model:
    """Fused c_attn, learned positions, dropouts on by default (GPT2Config, GPTBigCodeConfig)."""
    c.refuse_if(c.flag("add_cross_attention", default=False), "cross attention")
    positions = c.size("n_positions", "max_position_embeddings")
    kv_heads: Literal[1, "all"] = 1 if multi_query else "all"
    s = read_shape(c, names=("n_embd", "n_layer", "n_head"), kv_heads=kv_heads, head_dim="derived")
    mlp = plain_mlp(
        s.hidden,
        c.size("n_inner", default=4 * s.hidden),
        activation(c, "activation_function", default=act),
        ("c_fc", "c_proj"),
        bias=True,
    )
    attention = fused_attention(s, names=("c_attn", "c_proj"), bias=(True, True))
    block = _block(s, ("ln_1", "ln_2"), attention, mlp)
    return replace(
        model(c, s, (block,), layer_norm("ln_f", s.hidden), tied=True),
        positions="learned",
        learned_positions=positions,
        dropout=c.share("resid_pdrop", default=0.1),
        attention_dropout=c.share("attn_pdrop", default=0.1),
        embedding_dropout=c.share("embd_pdrop", default=0.1),
    )


def gpt2(c: Config) -> Model:
    return _gpt2_like(c, multi_query=False, act="gelu_new")


def gpt_bigcode(c: Config) -> Model:
    """One causal mask for the model, a byte for each pair of positions."""
    model = _gpt2_like(c, multi_query=c.flag("multi_query", default=True), act="gelu_tanh")
    return replace(model, buffer_bytes=model.learned_positions**2)


def bloom(c: Config) -> Model:
    s = read_shape(c, names=("n_embed", "n_layer", "n_head"), kv_heads="all", head_dim="derived")
    c.refuse_if(
        c.flag("apply_residual_connection_post_layernorm", default=False), "bloom with residuals behind the norms"
    )
    mlp = plain_mlp(s.hidden, 4 * s.hidden, "gelu_bloom", ("dense_h_to_4h", "dense_4h_to_h"), bias=True)
    attention = fused_attention(s, names=("query_key_value", "dense"), bias=(True, True), alibi=True)
    block = _block(s, ("input_layernorm", "post_attention_layernorm"), attention, mlp)
    return replace(
        model(c, s, (block,), layer_norm("ln_f", s.hidden), tied=True),
        positions="alibi",
        returns_attention=True,
        embedding_norm=layer_norm("word_embeddings_layernorm", s.hidden),
        sdpa=False,
        flash=False,
        dropout=c.share("hidden_dropout", default=0.0),
    )


def opt(c: Config) -> Model:
    """OPT-350m is another model than its sisters: norms behind the sums, and embeddings of half the width."""
    s = read_shape(c, kv_heads="all", head_dim="derived")
    c.refuse_if(c.share("layerdrop", default=0.0) > 0, "opt with layerdrop")
    bias, affine = c.flag("enable_bias", default=True), c.flag("layer_norm_elementwise_affine", default=True)
    before = c.flag("do_layer_norm_before", default=True)
    norms = tuple(layer_norm(name, s.hidden, affine=affine) for name in ("self_attn_layer_norm", "final_layer_norm"))
    act = activation(c, "activation_function", default="relu")
    attention = separate_attention(s, rotary=0, qkv_bias=bias, output_bias=bias, output="out_proj")
    mlp = plain_mlp(s.hidden, c.size("ffn_dim"), act, ("fc1", "fc2"), bias=bias)
    block = layer(s, attention, mlp, norms, arrangement="pre" if before else "outer")
    final: Norm | None = None
    if before and not c.flag("_remove_final_layer_norm", default=False):
        final = layer_norm("final_layer_norm", s.hidden, affine=affine)
    described = replace(
        model(c, s, (block,), final, tied=True),
        positions="learned",
        learned_positions=c.size("max_position_embeddings") + 2,  # OPTLearnedPositionalEmbedding.offset
        dropout=c.share("dropout", default=0.1),
    )
    width = c.size("word_embed_proj_dim", default=s.hidden)
    if width == s.hidden:
        return described
    outer = (
        Linear(name="project_in", inputs=width, outputs=s.hidden),
        Linear(name="project_out", inputs=s.hidden, outputs=width),
    )
    head = replace(described.head, inputs=width)
    return replace(described, embedding_width=width, outer_linears=outer, head=head)


def mpt(c: Config) -> Model:
    """transformers' MPT: always ALiBi, no biases, an MLP of four times the width, whatever else its config says."""
    s = read_shape(c, names=("d_model", "n_layers", "n_heads"), kv_heads="all", head_dim="derived")
    attn = c.section("attn_config")
    dropout = attn.share("attn_pdrop", default=0.0) if attn else 0.0
    mlp = plain_mlp(s.hidden, 4 * s.hidden, "gelu", ("up_proj", "down_proj"))
    attention = fused_attention(s, names=("Wqkv", "out_proj"), alibi=True)
    block = _block(s, ("norm_1", "norm_2"), attention, mlp, bias=False)
    return replace(
        model(c, s, (block,), layer_norm("norm_f", s.hidden, bias=False), tied=True),
        positions="alibi",
        sdpa=False,
        flash=False,
        returns_attention=True,
        dropout=dropout,
        attention_dropout=dropout,
    )


def starcoder2(c: Config) -> Model:
    s = read_shape(c, kv_heads="required")
    bias = c.flag("use_bias", default=True)
    mlp = plain_mlp(
        s.hidden, c.size("intermediate_size"), activation(c, default="gelu_tanh"), ("c_fc", "c_proj"), bias=bias
    )
    attention = separate_attention(s, qkv_bias=bias, output_bias=bias, window=c.window(None))
    block = _block(s, ("input_layernorm", "post_attention_layernorm"), attention, mlp)
    return replace(
        model(c, s, (block,), layer_norm("norm", s.hidden), tied=True),
        dropout=c.share("residual_dropout", default=0.0),
        embedding_dropout=c.share("embedding_dropout", default=0.0),
    )


def nemotron(c: Config) -> Model:
    """LayerNorm that scales by 1 + weight, half of the features rotated, squared ReLU."""
    s = read_shape(c)
    bias = c.flag("attention_bias", default=False)
    mlp = squared_relu_mlp(c, s)
    rotary = rotary_dim(c, s.head_dim, default=0.5)
    attention = separate_attention(s, rotary=rotary, qkv_bias=bias, output_bias=bias)
    names = ("input_layernorm", "post_attention_layernorm", "norm")
    *norms, last = (Norm(name=name, kind="layer_narrow", width=s.hidden, bias=True) for name in names)
    return model(c, s, (layer(s, attention, mlp, tuple(norms)),), last, tied=False)


READERS = {
    "bloom": bloom,
    "gpt2": gpt2,
    "gpt_bigcode": gpt_bigcode,
    "mpt": mpt,
    "nemotron": nemotron,
    "opt": opt,
    "starcoder2": starcoder2,
}
