"""Families whose attention and MLP read the same input side by side: Cohere, Phi, StableLM, GPT-J, GPT-NeoX, Falcon."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from ..model import Attention, Block, Mlp, Model, Norm
from .config import Config
from .parts import blocks_of, fused_attention, layer, layer_norm, model, plain_mlp, read_mlp, separate_attention
from .shape import Shape, activation, read_shape, rotary_dim, sliding_layers

Part = TypeVar("Part", Attention, Mlp)


def _wide_norm(name: str, width: int) -> Norm:
    return Norm(name=name, kind="layer_wide", width=width)


def _cohere(c: Config, s: Shape, layers: list[tuple[int | None, bool]], qk_norms: tuple[Norm, ...] = ()) -> Model:
    """LayerNorms without bias; `layers` = the window of each layer and whether it has rotary positions."""
    bias = c.flag("attention_bias", default=False)
    mlp = read_mlp(c, s)
    norms = (_wide_norm("input_layernorm", s.hidden),)

    def block(kind: tuple[int | None, bool]) -> Block:
        window, rotates = kind
        attention = separate_attention(
            s, rotary=None if rotates else 0, qkv_bias=bias, output_bias=bias, qk_norms=qk_norms, window=window
        )
        return layer(s, attention, mlp, norms, arrangement="parallel")

    final = _wide_norm("norm", s.hidden)
    return replace(model(c, s, blocks_of(layers, block), final, tied=True), logit_scale=True)


def cohere(c: Config) -> Model:
    s = read_shape(c)
    norms: tuple[Norm, ...] = ()
    if c.flag("use_qk_norm", default=False):  # a weight for each feature of each head
        norms = (_wide_norm("q_norm", s.q_width), _wide_norm("k_norm", s.kv_width))
    return _cohere(c, s, [(None, True)] * s.layers, norms)


def cohere2(c: Config) -> Model:
    """The layers without a window have no rotary positions."""
    s = read_shape(c, head_dim="derived")
    window = c.window(4096)
    every = c.size("sliding_window_pattern", default=4)
    return _cohere(c, s, [(window if slides else None, slides) for slides in sliding_layers(c, s, every=every)])


def phi(c: Config) -> Model:
    s = read_shape(c)
    norms: tuple[Norm, ...] = ()
    if c.flag("qk_layernorm", default=False):
        norms = (layer_norm("q_layernorm", s.head_dim), layer_norm("k_layernorm", s.head_dim))
    attention = separate_attention(
        s,
        rotary=rotary_dim(c, s.head_dim, default=0.5),
        qkv_bias=True,
        output_bias=True,
        output="dense",
        qk_norms=norms,
    )
    act = activation(c, default="gelu_new")
    mlp = plain_mlp(s.hidden, c.size("intermediate_size"), act, ("fc1", "fc2"), bias=True)
    block = layer(s, attention, mlp, (layer_norm("input_layernorm", s.hidden),), arrangement="parallel")
    return replace(
        model(c, s, (block,), layer_norm("final_layernorm", s.hidden), tied=False, head_bias=True),
        dropout=c.share("resid_pdrop", default=0.0),
        embedding_dropout=c.share("embd_pdrop", default=0.0),
    )


def stablelm(c: Config) -> Model:
    s = read_shape(c, kv_heads="required", head_dim="derived")
    norms: tuple[Norm, ...] = ()
    if c.flag("qk_layernorm", default=False):  # a LayerNorm for each head, held in a list
        norms = (
            replace(layer_norm("q_layernorm", s.q_width, bias=False), modules=s.heads),
            replace(layer_norm("k_layernorm", s.kv_width, bias=False), modules=s.kv_heads),
        )
    attention = separate_attention(
        s,
        rotary=rotary_dim(c, s.head_dim, default=0.25),
        qkv_bias=c.flag("use_qkv_bias", default=False),
        qk_norms=norms,
    )
    mlp = read_mlp(c, s)
    parallel = c.flag("use_parallel_residual", default=False)
    names = ("input_layernorm",) if parallel else ("input_layernorm", "post_attention_layernorm")
    block = _serial_or_parallel(s, parallel, names, attention, mlp)
    return replace(
        model(c, s, (block,), layer_norm("norm", s.hidden), tied=False), dropout=c.share("hidden_dropout", default=0.0)
    )


def gptj(c: Config) -> Model:
    """Each layer keeps an fp32 table of sines and cosines, positions x rotated features."""
    positions = c.size("n_positions", "max_position_embeddings")
    s = read_shape(c, names=("n_embd", "n_layer", "n_head"), kv_heads="all", head_dim="derived")
    rotary = c.size("rotary_dim", limit=s.head_dim) if c.has("rotary_dim") else s.head_dim
    act = activation(c, "activation_function", default="gelu_new")
    width = c.size("n_inner", default=4 * s.hidden)
    mlp = plain_mlp(s.hidden, width, act, ("fc_in", "fc_out"), bias=True)
    attention = replace(separate_attention(s, rotary=rotary, output="out_proj"), fp32_scores=True)
    block = layer(s, attention, mlp, (layer_norm("ln_1", s.hidden),), arrangement="parallel")
    block = replace(block, buffers=(positions * rotary * 4,))
    return replace(
        model(c, s, (block,), layer_norm("ln_f", s.hidden), tied=False, head_bias=True),
        rotary_kinds=0,
        returns_attention=True,
        sdpa=False,
        dropout=c.share("resid_pdrop", default=0.0),
        attention_dropout=c.share("attn_pdrop", default=0.0),
        embedding_dropout=c.share("embd_pdrop", default=0.0),
    )


def gpt_neox(c: Config) -> Model:
    s = read_shape(c, kv_heads="all", head_dim="derived")
    bias = c.flag("attention_bias", default=True)
    attention = fused_attention(
        s,
        names=("query_key_value", "dense"),
        rotary=rotary_dim(c, s.head_dim, key="rotary_pct", default=0.25),
        bias=(bias, bias),
    )
    act = activation(c, default="gelu")
    mlp = plain_mlp(s.hidden, c.size("intermediate_size"), act, ("dense_h_to_4h", "dense_4h_to_h"), bias=True)
    parallel = c.flag("use_parallel_residual", default=True)
    block = _serial_or_parallel(s, parallel, ("input_layernorm", "post_attention_layernorm"), attention, mlp)
    dropout = c.share("hidden_dropout", default=0.0)
    return replace(
        model(c, s, (block,), layer_norm("final_layer_norm", s.hidden), tied=False),
        dropout=dropout,
        embedding_dropout=dropout,
    )


def falcon(c: Config) -> Model:
    """7b: one K and V, one norm. 40b and 180b: groups, two norms. 11B: groups, one norm. RW: ALiBi, in series."""
    new = c.flag("new_decoder_architecture", default=False)
    heads = c.size("num_attention_heads")
    kv_heads = 1 if c.flag("multi_query", default=True) else heads
    if new:
        kv_heads = c.size("num_kv_heads", default=heads)
    s = read_shape(c, kv_heads=kv_heads, head_dim="derived")
    bias, alibi = c.flag("bias", default=False), c.flag("alibi", default=False)
    parallel = c.flag("parallel_attn", default=True)
    c.refuse_if(new and not parallel, "falcon's new architecture with attention and MLP in series")
    attention = fused_attention(
        s, names=("query_key_value", "dense"), rotary=0 if alibi else s.head_dim, bias=(bias, bias), alibi=alibi
    )
    width = c.size("ffn_hidden_size", default=4 * s.hidden)
    act = activation(c, "activation", default="gelu")
    mlp = plain_mlp(s.hidden, width, act, ("dense_h_to_4h", "dense_4h_to_h"), bias=bias)
    names: tuple[str, ...]
    if not parallel:
        names = ("input_layernorm", "post_attention_layernorm")
    elif new and c.size("num_ln_in_parallel_attn", default=2) == 2:
        names = ("ln_attn", "ln_mlp")
    else:
        names = ("input_layernorm",)
    block = _serial_or_parallel(s, parallel, names, _unquantizable(attention), _unquantizable(mlp))
    return replace(
        model(c, s, (block,), layer_norm("ln_f", s.hidden), tied=True),
        positions="alibi" if alibi else "rotary",
        dropout=c.share("hidden_dropout", default=0.0),
    )


def _serial_or_parallel(s: Shape, parallel: bool, norms: tuple[str, ...], attention: Attention, mlp: Mlp) -> Block:
    named = tuple(layer_norm(name, s.hidden) for name in norms)
    return layer(s, attention, mlp, named, arrangement="parallel" if parallel else "pre")


def _unquantizable(part: Part) -> Part:
    """Falcon's matrices are of a class of their own, FalconLinear."""
    inputs = tuple(replace(matrix, quantizable=False) for matrix in part.inputs)
    return replace(part, inputs=inputs, output=replace(part.output, quantizable=False))


READERS = {
    "cohere": cohere,
    "cohere2": cohere2,
    "falcon": falcon,
    "gpt_neox": gpt_neox,
    "gptj": gptj,
    "phi": phi,
    "stablelm": stablelm,
}
