"""Mixtures of experts with ordinary attention. transformers 5 holds the experts of a layer as two 3-D parameters."""

from __future__ import annotations

from dataclasses import replace

from ..model import Attention, Block, Experts, Linear, Model, Norm, RouterScores
from .config import Config
from .parts import (
    blocks_of,
    decoder,
    gated_mlp,
    head_norms,
    interleaved,
    layer,
    layer_norm,
    model,
    projection_norms,
    read_mlp,
    scaled,
    separate_attention,
)
from .shape import Shape, activation, read_shape, rope_layers, rotary_dim, sliding_layers


def mixture(
    c: Config,
    s: Shape,
    *,
    router: str = "gate",
    count: str = "num_local_experts",
    per_token: str = "num_experts_per_tok",
    width: str = "intermediate_size",
    bias: bool = False,
    shared: int = 0,
    scores: RouterScores = "input",
) -> Experts:
    """The experts of a layer; the names are the config's keys. `shared` = width of the expert that all tokens pass."""
    experts = c.size(count)
    chosen = c.size(per_token)
    if chosen > experts:
        raise c.error(per_token, chosen, f"at most the {experts} experts")
    act = activation(c, default="silu")
    return Experts(
        count=experts,
        per_token=chosen,
        width=c.size(width),
        hidden_size=s.hidden,
        router=Linear(name=router, inputs=s.hidden, outputs=experts, bias=bias),
        bias=bias,
        activation=act,
        shared=gated_mlp(s.hidden, shared, act) if shared else None,
        scores=scores,
    )


def mixtral(c: Config) -> Model:
    s = read_shape(c, kv_heads="required")
    return decoder(c, s, layer(s, separate_attention(s, window=c.window(None)), mixture(c, s, scores="fp32")))


def olmoe(c: Config) -> Model:
    s = read_shape(c)
    bias = c.flag("attention_bias", default=False)
    attention = separate_attention(s, qkv_bias=bias, output_bias=bias, qk_norms=projection_norms(s))
    return decoder(c, s, layer(s, attention, mixture(c, s, count="num_experts")))


def granitemoe(c: Config) -> Model:
    s = read_shape(c)
    bias = c.flag("attention_bias", default=False)
    attention = separate_attention(s, qkv_bias=bias, output_bias=bias)
    return scaled(decoder(c, s, layer(s, attention, mixture(c, s, router="router"))))


def phimoe(c: Config) -> Model:
    s = read_shape(c, kv_heads="required")
    bias = c.flag("attention_bias", default=False)
    norms = (layer_norm("input_layernorm", s.hidden), layer_norm("post_attention_layernorm", s.hidden))
    attention = separate_attention(s, qkv_bias=bias, output_bias=bias, window=c.window(None))
    block = layer(s, attention, linear_router(mixture(c, s, router="router")), norms)
    final = layer_norm("norm", s.hidden)
    return model(c, s, (block,), final, tied=False, head_bias=c.flag("lm_head_bias", default=False))


def linear_router(experts: Experts) -> Experts:
    """The router's class derives from nn.Linear."""
    return replace(experts, router=replace(experts.router, quantizable=False), router_is_linear=True)


def minimax_m2(c: Config) -> Model:
    s = read_shape(c, kv_heads="required", head_dim="required")
    rotary = c.size("rotary_dim", limit=s.head_dim) if c.has("rotary_dim") else rotary_dim(c, s.head_dim)
    attention = separate_attention(s, rotary=rotary, qk_norms=projection_norms(s))
    experts = mixture(c, s, scores="fp32")
    return decoder(c, s, replace(layer(s, attention, experts), buffers=(2 * experts.count,)))  # the correction


def gpt_oss(c: Config) -> Model:
    """Windows in every second layer, a learned sink for each head, biases everywhere."""
    s = read_shape(c, kv_heads="required", head_dim="required")
    bias, window = c.flag("attention_bias", default=True), c.window(128)
    experts = mixture(c, s, router="router", bias=True)
    names = ("input_layernorm", "post_attention_layernorm")
    norms = tuple(Norm(name=name, kind="rms_wide", width=s.hidden) for name in names)

    def block(slides: bool) -> Block:
        attention = separate_attention(
            s, qkv_bias=bias, output_bias=bias, window=window if slides else None, sinks=s.heads
        )
        return layer(s, attention, experts, norms)

    described = decoder(c, s, *blocks_of(sliding_layers(c, s, every=2), block))
    return replace(described, final_norm=Norm(name="norm", kind="rms_wide", width=s.hidden), sdpa=False)


def _sparse_layers(c: Config, s: Shape) -> list[bool]:
    """Whether each layer of a Qwen mixture has experts."""
    c.refuse_if(c.flag("use_sliding_window", default=False), "a Qwen mixture with a sliding window")
    step, dense = c.size("decoder_sparse_step", default=1), c.indices("mlp_only_layers")
    return [i not in dense and (i + 1) % step == 0 for i in range(s.layers)]


def _qwen_moe(c: Config, s: Shape, attention: Attention, experts: Experts) -> Model:
    sparse = _sparse_layers(c, s)
    dense = None if all(sparse) else read_mlp(c, s)
    blocks = blocks_of(sparse, lambda has_experts: layer(s, attention, experts if has_experts or not dense else dense))
    return decoder(c, s, *blocks)


def qwen2_moe(c: Config) -> Model:
    s = read_shape(c, kv_heads="required")
    attention = separate_attention(s, qkv_bias=c.flag("qkv_bias", default=True))
    shared = c.size("shared_expert_intermediate_size")
    experts = mixture(c, s, count="num_experts", width="moe_intermediate_size", shared=shared)
    gate = Linear(name="shared_expert_gate", inputs=s.hidden, outputs=1)
    return _qwen_moe(c, s, attention, replace(experts, shared_gate=gate, shared_first=True))


def qwen3_moe(c: Config) -> Model:
    s = read_shape(c, kv_heads="required")
    bias = c.flag("attention_bias", default=False)
    attention = separate_attention(s, qkv_bias=bias, output_bias=bias, qk_norms=head_norms(s))
    count = "num_experts" if c.has("num_experts") else "num_local_experts"
    return _qwen_moe(c, s, attention, mixture(c, s, count=count, width="moe_intermediate_size"))


def ernie4_5_moe(c: Config) -> Model:
    """The router's correction, one figure an expert, is a parameter here."""
    s = read_shape(c, kv_heads="required")
    bias = c.flag("use_bias", default=False)
    c.refuse_if(bias, "ernie4_5_moe with biases")
    first, last = c.count("moe_layer_start_index", default=1), c.values.get("moe_layer_end_index", -1)
    c.refuse_if(last not in (-1, s.layers - 1), "ernie4_5_moe with dense layers at the end")
    interval = c.size("moe_layer_interval", default=1)
    width = c.size("moe_intermediate_size")
    experts = mixture(
        c,
        s,
        count="moe_num_experts",
        per_token="moe_k",
        width="moe_intermediate_size",
        shared=width * c.count("moe_num_shared_experts"),
    )
    experts = replace(experts, router_fp32=True, router_widens=True, shared_first=True)
    dense, attention = read_mlp(c, s), interleaved(separate_attention(s), fp32=True)

    def block(sparse: bool) -> Block:
        if not sparse:
            return layer(s, attention, dense)
        return replace(layer(s, attention, experts), extra_parameters=(experts.count,))

    sparse_layers = [i >= first and (i + 1) % interval == 0 for i in range(s.layers)]
    return replace(decoder(c, s, *blocks_of(sparse_layers, block), tied=True), attention_dropout=0.0)


def glm4_moe(c: Config) -> Model:
    s = read_shape(c, kv_heads="required")
    attention = separate_attention(
        s,
        rotary=rotary_dim(c, s.head_dim, default=0.5),
        qkv_bias=c.flag("attention_bias", default=False),
        qk_norms=head_norms(s) if c.flag("use_qk_norm", default=False) else (),
    )
    return decoder(c, s, *dense_then_experts(c, s, attention))


def corrected(block: Block) -> Block:
    """With the fp32 correction of the router's scores, one figure an expert (e_score_correction_bias)."""
    experts = block.feed_forward
    return replace(block, buffers=(4 * experts.count,)) if isinstance(experts, Experts) else block


def dense_then_experts(c: Config, s: Shape, attention: Attention) -> tuple[Block, ...]:
    """DeepSeek's order: `first_k_dense_replace` layers with an MLP, experts in all others. V2 corrects no scores."""
    dense = c.count("first_k_dense_replace")
    shared = c.size("moe_intermediate_size") * c.size("n_shared_experts")
    scores: RouterScores = "fp32" if c.word("model_type") == "deepseek_v2" else "product"
    experts = mixture(c, s, count="n_routed_experts", width="moe_intermediate_size", shared=shared, scores=scores)
    experts = replace(experts, router_widens=True)
    mlp = read_mlp(c, s)
    blocks = blocks_of(
        [i < dense for i in range(s.layers)], lambda is_dense: layer(s, attention, mlp if is_dense else experts)
    )
    return blocks if c.word("model_type") == "deepseek_v2" else tuple(corrected(block) for block in blocks)


def llama4(c: Config) -> Model:
    """The library's code computes every expert for every token, on zeroed inputs where the router chose another."""
    s = read_shape(c, kv_heads="required", head_dim="required")
    bias = c.flag("attention_bias", default=False)
    chunk = c.size("attention_chunk_size") if c.has("attention_chunk_size") else None
    normed = c.flag("use_qk_norm", default=True)
    l2 = Norm(name="qk_norm", kind="rms", width=s.head_dim, affine=False)
    chosen = mixture(c, s, router="router", shared=c.size("intermediate_size"))
    experts = linear_router(replace(chosen, per_token=chosen.count))
    dense = gated_mlp(s.hidden, c.size("intermediate_size_mlp"), experts.activation)

    def block(kind: tuple[bool, bool]) -> Block:
        rotates, sparse = kind
        attention = separate_attention(
            s,
            rotary=None if rotates else 0,
            qkv_bias=bias,
            output_bias=bias,
            qk_norms=(l2, l2) if normed and rotates else (),
            window=chunk if rotates else None,
        )
        return layer(s, attention, experts if sparse else dense)

    step = c.size("interleave_moe_layer_step", default=1)
    listed = c.indices("moe_layers")
    sparse = [i in listed if c.has("moe_layers") else (i + 1) % step == 0 for i in range(s.layers)]
    blocks = blocks_of(zip(rope_layers(c, s), sparse, strict=True), block)
    note = f"the library computes all {chosen.count} experts for each token; the router picks {chosen.per_token}"
    return replace(decoder(c, s, *blocks), flash=False, notes=(note,))


READERS = {
    "ernie4_5_moe": ernie4_5_moe,
    "glm4_moe": glm4_moe,
    "gpt_oss": gpt_oss,
    "granitemoe": granitemoe,
    "llama4_text": llama4,
    "minimax_m2": minimax_m2,
    "mixtral": mixtral,
    "olmoe": olmoe,
    "phimoe": phimoe,
    "qwen2_moe": qwen2_moe,
    "qwen3_moe": qwen3_moe,
}
