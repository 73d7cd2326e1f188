"""DeepSeek's latent attention: keys and values come from a compressed vector, queries perhaps from another."""

from __future__ import annotations

from ..model import Attention, Linear, Model
from .config import Config
from .experts import corrected, dense_then_experts, mixture
from .parts import blocks_of, decoder, layer, read_mlp, rms
from .shape import Shape, read_shape


def _read_shape(c: Config) -> Shape:
    """`head_dim` in these configs is the rotated part of a head only."""
    return read_shape(c, kv_heads="all", head_dim=c.size("qk_rope_head_dim") + c.size("qk_nope_head_dim"))


def latent_attention(c: Config, s: Shape) -> Attention:
    """q_proj, or q_a_proj and q_b_proj; kv_a_proj_with_mqa, kv_b_proj; o_proj."""
    rope, nope, v = c.size("qk_rope_head_dim"), c.size("qk_nope_head_dim"), c.size("v_head_dim")
    rank, bias = c.size("kv_lora_rank"), c.flag("attention_bias", default=False)
    if "q_lora_rank" not in c.values:
        raise c.missing("q_lora_rank")  # null says that queries are not compressed
    q_rank = c.size("q_lora_rank") if c.has("q_lora_rank") else 0
    queries: tuple[Linear, ...] = (Linear(name="q_proj", inputs=s.hidden, outputs=s.q_width),)
    if q_rank:
        queries = (
            Linear(name="q_a_proj", inputs=s.hidden, outputs=q_rank, bias=bias),
            Linear(name="q_b_proj", inputs=q_rank, outputs=s.q_width),
        )
    return Attention(
        layout="latent",
        inputs=(
            *queries,
            Linear(name="kv_a_proj_with_mqa", inputs=s.hidden, outputs=rank + rope, bias=bias),
            Linear(name="kv_b_proj", inputs=rank, outputs=s.heads * (nope + v)),
        ),
        output=Linear(name="o_proj", inputs=s.heads * v, outputs=s.hidden, bias=bias),
        heads=s.heads,
        kv_heads=s.heads,
        qk_head_dim=s.head_dim,
        v_head_dim=v,
        rotary_dim=rope,
        latent_norms=((rms("q_a_layernorm", q_rank),) if q_rank else ()) + (rms("kv_a_layernorm", rank),),
    )


def deepseek(c: Config) -> Model:
    """DeepSeek V2 and V3, and Kimi K2, whose remote code is V3's."""
    s = _read_shape(c)
    c.refuse_if(c.flag("mlp_bias", default=False), "deepseek with biases in the MLP")
    return decoder(c, s, *dense_then_experts(c, s, latent_attention(c, s)))


def glm4_moe_lite(c: Config) -> Model:
    """The first layer is dense, or those that `mlp_layer_types` names."""
    s = _read_shape(c)
    types = c.per_layer("mlp_layer_types", s.layers) or ["dense"] + ["sparse"] * (s.layers - 1)
    shared = c.size("moe_intermediate_size") * c.size("n_shared_experts")
    experts = mixture(c, s, count="n_routed_experts", width="moe_intermediate_size", shared=shared, scores="product")
    attention, mlp = latent_attention(c, s), read_mlp(c, s)
    sparse = [kind == "sparse" for kind in types]
    return decoder(c, s, *blocks_of(sparse, lambda has: corrected(layer(s, attention, experts if has else mlp))))


READERS = {"deepseek_v2": deepseek, "deepseek_v3": deepseek, "glm4_moe_lite": glm4_moe_lite, "kimi_k2": deepseek}
