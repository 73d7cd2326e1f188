"""Gemma: norms that scale by 1 + weight, scaled embeddings, from the second generation on norms around each part."""

from __future__ import annotations

from dataclasses import replace

from ..model import Block, Experts, Linear, Mlp, Model, Norm
from .config import Config
from .parts import blocks_of, gated_mlp, head_norms, layer, model, rms, separate_attention
from .shape import Shape, activation, read_shape, sliding_layers

EXPERT_NORMS = ("post_feedforward_layernorm_1", "pre_feedforward_layernorm_2", "post_feedforward_layernorm_2")
SANDWICH = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")


SCALE_BUFFER_BYTES = 2
"""`embed_scale`, a 16-bit scalar beside the embedding (transformers, Gemma's scaled word embedding)."""


def unit_rms(name: str, width: int) -> Norm:
    return rms(name, width, "rms_unit_offset")


def gemma(c: Config) -> Model:
    s = read_shape(c, kv_heads="required", head_dim="required")
    bias = c.flag("attention_bias", default=False)
    act = activation(c, default="gelu_tanh")
    # The official configs say "gelu" and mean its tanh form (GemmaConfig.__post_init__).
    mlp = gated_mlp(s.hidden, c.size("intermediate_size"), "gelu_tanh" if act == "gelu" else act)
    norms = (unit_rms("input_layernorm", s.hidden), unit_rms("post_attention_layernorm", s.hidden))
    block = layer(s, separate_attention(s, qkv_bias=bias, output_bias=bias), mlp, norms)
    return replace(
        model(c, s, (block,), unit_rms("norm", s.hidden), tied=True),
        buffer_bytes=SCALE_BUFFER_BYTES,
    )


def _alternating(c: Config, *, every: int, qk_norm: bool, softcaps: tuple[bool, bool]) -> Model:
    """Gemma 2 and 3; `softcaps` = the library's default for attention scores and for logits."""
    s = read_shape(c, kv_heads="required", head_dim="required")
    bias = c.flag("attention_bias", default=False)
    softcap = _softcap(c, "attn_logit_softcapping", softcaps[0])
    window = c.window(4096)
    c.refuse_if(bool(c.values.get("use_bidirectional_attention")), "attention in both directions")
    mlp = gated_mlp(s.hidden, c.size("intermediate_size"), activation(c, "hidden_activation", default="gelu_tanh"))

    norms = tuple(unit_rms(name, s.hidden) for name in SANDWICH)
    qk_norms = head_norms(s, "rms_unit_offset") if qk_norm else ()

    def block(slides: bool) -> Block:
        attention = separate_attention(
            s,
            qkv_bias=bias,
            output_bias=bias,
            qk_norms=qk_norms,
            window=window if slides else None,
            softcap=softcap,
        )
        return layer(s, attention, mlp, norms, arrangement="sandwich")

    blocks = blocks_of(sliding_layers(c, s, every=every), block)
    return replace(
        model(c, s, blocks, unit_rms("norm", s.hidden), tied=True),
        buffer_bytes=SCALE_BUFFER_BYTES,
        logit_softcap=_softcap(c, "final_logit_softcapping", softcaps[1]),
    )


def _softcap(c: Config, key: str, default: bool) -> bool:
    return default if key not in c.values else c.has(key)


def gemma2(c: Config) -> Model:
    return replace(_alternating(c, every=2, qk_norm=False, softcaps=(True, True)), sdpa=False)


def gemma3(c: Config) -> Model:
    # The published 4b leaves out what equals the defaults of Gemma3TextConfig, so here these figures are a rule.
    c = c.defaulting(vocab_size=262_208, num_attention_heads=8, num_key_value_heads=4, head_dim=256)
    every = c.size("sliding_window_pattern", default=6)
    described = _alternating(c, every=every, qk_norm=True, softcaps=(False, False))
    return replace(described, rotary_kinds=len(described.blocks))


def gemma4(c: Config) -> Model:
    """Wider heads in the layers without a window, whose values may be the keys as projected; no norm adds one."""
    s = read_shape(c, kv_heads="required", head_dim="required")
    # what the config leaves out are the defaults of Gemma4TextConfig
    c.refuse_if(c.count("hidden_size_per_layer_input", default=256) > 0, "gemma4_text with per-layer embeddings")
    c.refuse_if(c.count("num_kv_shared_layers", default=0) > 0, "gemma4_text with layers that share keys and values")
    c.refuse_if(c.values.get("use_bidirectional_attention") == "all", "attention in both directions")
    bias, window = c.flag("attention_bias", default=False), c.window(512)
    mlp = gated_mlp(s.hidden, c.size("intermediate_size"), activation(c, "hidden_activation", default="gelu_tanh"))
    keys_are_values = c.flag("attention_k_eq_v", default=False)
    global_heads = c.size("num_global_key_value_heads", default=s.kv_heads) if keys_are_values else s.kv_heads
    wide = replace(s, head_dim=c.size("global_head_dim", default=512), kv_heads=global_heads)
    experts = _experts(c, s, mlp) if c.flag("enable_moe_block", default=False) else None
    names = (*SANDWICH, *EXPERT_NORMS) if experts else SANDWICH
    norms = tuple(rms(name, s.hidden, "rms_wide") for name in names)
    scales = (s.hidden, experts.count) if experts else ()

    def block(slides: bool) -> Block:
        own = s if slides else wide
        attention = separate_attention(
            own,
            qkv_bias=bias,
            output_bias=bias,
            qk_norms=head_norms(own, "rms_wide"),
            window=window if slides else None,
        )
        value_norm = Norm(name="v_norm", kind="rms", width=own.head_dim, affine=False)
        inputs = attention.inputs if slides or not keys_are_values else attention.inputs[:2]
        attention = replace(attention, inputs=inputs, value_norm=value_norm)
        plain = layer(own, attention, experts or mlp, norms, arrangement="twin" if experts else "sandwich")
        return replace(plain, scales_output=True, extra_parameters=scales, buffers=(SCALE_BUFFER_BYTES,))

    slides = [*sliding_layers(c, s, every=6)[:-1], False]  # the last layer never does, whatever the list says
    blocks = blocks_of(slides, block)
    return replace(
        model(c, s, blocks, rms("norm", s.hidden, "rms_wide"), tied=True),
        buffer_bytes=SCALE_BUFFER_BYTES,
        logit_softcap=_softcap(c, "final_logit_softcapping", default=False),
        rotary_kinds=len(blocks),
    )


def _experts(c: Config, s: Shape, mlp: Mlp) -> Experts:
    """Beside an MLP that all tokens pass; the router is an nn.Linear."""
    return Experts(
        count=c.size("num_experts"),
        per_token=c.size("top_k_experts"),
        width=c.size("moe_intermediate_size"),
        hidden_size=s.hidden,
        router=Linear(name="proj", inputs=s.hidden, outputs=c.size("num_experts")),
        router_is_linear=True,
        activation=mlp.activation,
        shared=mlp,
        scores="fp32",
    )


READERS = {"gemma": gemma, "gemma2": gemma2, "gemma3_text": gemma3, "gemma4_text": gemma4}
