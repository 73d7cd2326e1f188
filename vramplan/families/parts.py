"""The parts of a layer, and how layers become a model: constructors that many families share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from typing import TypeVar

from ..model import Activation, Arrangement, Attention, Block, Experts, Linear, Mlp, Model, Norm, NormKind
from .config import Config
from .shape import Shape, activation


def rms(name: str, width: int, kind: NormKind = "rms") -> Norm:
    return Norm(name=name, kind=kind, width=width)


def layer_norm(name: str, width: int, *, bias: bool = True, affine: bool = True) -> Norm:
    return Norm(name=name, kind="layer", width=width, bias=bias and affine, affine=affine)


def separate_attention(
    s: Shape,
    *,
    rotary: int | None = None,
    qkv_bias: bool = False,
    output_bias: bool = False,
    output: str = "o_proj",
    qk_norms: tuple[Norm, ...] = (),
    window: int | None = None,
    softcap: bool = False,
    sinks: int = 0,
) -> Attention:
    """q_proj, k_proj, v_proj, then `output`. `rotary` None = every feature of a head is rotated."""
    return Attention(
        layout="separate",
        inputs=(
            Linear(name="q_proj", inputs=s.hidden, outputs=s.q_width, bias=qkv_bias),
            Linear(name="k_proj", inputs=s.hidden, outputs=s.kv_width, bias=qkv_bias),
            Linear(name="v_proj", inputs=s.hidden, outputs=s.kv_width, bias=qkv_bias),
        ),
        output=Linear(name=output, inputs=s.q_width, outputs=s.hidden, bias=output_bias),
        heads=s.heads,
        kv_heads=s.kv_heads,
        qk_head_dim=s.head_dim,
        v_head_dim=s.head_dim,
        rotary_dim=s.head_dim if rotary is None else rotary,
        qk_norms=qk_norms,
        window=window,
        softcap=softcap,
        sinks=sinks,
    )


def interleaved(attention: Attention, *, fp32: bool = False) -> Attention:
    """With neighbouring features rotated as pairs, in fp32 or in the dtype of the stream."""
    return replace(attention, rotary_interleaved=True, rotary_fp32=fp32)


def fused_attention(
    s: Shape,
    *,
    names: tuple[str, str],
    rotary: int = 0,
    bias: tuple[bool, bool] = (False, False),
    window: int | None = None,
    alibi: bool = False,
) -> Attention:
    """One matrix for q, k and v, and the output matrix; `names` and `bias` in that order."""
    return Attention(
        layout="fused",
        inputs=(Linear(name=names[0], inputs=s.hidden, outputs=s.q_width + 2 * s.kv_width, bias=bias[0]),),
        output=Linear(name=names[1], inputs=s.q_width, outputs=s.hidden, bias=bias[1]),
        heads=s.heads,
        kv_heads=s.kv_heads,
        qk_head_dim=s.head_dim,
        v_head_dim=s.head_dim,
        rotary_dim=rotary,
        window=window,
        alibi=alibi,
    )


def head_norms(s: Shape, kind: NormKind = "rms") -> tuple[Norm, Norm]:
    """One weight of head size, shared by all heads, for q and for k."""
    return rms("q_norm", s.head_dim, kind), rms("k_norm", s.head_dim, kind)


def projection_norms(s: Shape, kind: NormKind = "rms") -> tuple[Norm, Norm]:
    """Norms over the whole q and the whole k projection (OLMo 2)."""
    return rms("q_norm", s.q_width, kind), rms("k_norm", s.kv_width, kind)


def gated_mlp(hidden: int, width: int, act: Activation, *, bias: bool = False) -> Mlp:
    """down_proj(act(gate_proj(x)) * up_proj(x))."""
    return Mlp(
        gated=True,
        inputs=(
            Linear(name="gate_proj", inputs=hidden, outputs=width, bias=bias),
            Linear(name="up_proj", inputs=hidden, outputs=width, bias=bias),
        ),
        output=Linear(name="down_proj", inputs=width, outputs=hidden, bias=bias),
        width=width,
        activation=act,
    )


def read_mlp(c: Config, s: Shape, *, bias: bool = False) -> Mlp:
    """Llama's gated MLP."""
    return gated_mlp(s.hidden, c.size("intermediate_size"), activation(c, default="silu"), bias=bias)


def fused_gated_mlp(
    hidden: int, width: int, act: Activation, names: tuple[str, str] = ("gate_up_proj", "down_proj")
) -> Mlp:
    """gate_proj and up_proj in one matrix."""
    return Mlp(
        gated=True,
        inputs=(Linear(name=names[0], inputs=hidden, outputs=2 * width),),
        output=Linear(name=names[1], inputs=width, outputs=hidden),
        width=width,
        activation=act,
    )


def plain_mlp(hidden: int, width: int, act: Activation, names: tuple[str, str], *, bias: bool = False) -> Mlp:
    """Two matrices with the activation between them."""
    return Mlp(
        gated=False,
        inputs=(Linear(name=names[0], inputs=hidden, outputs=width, bias=bias),),
        output=Linear(name=names[1], inputs=width, outputs=hidden, bias=bias),
        width=width,
        activation=act,
    )


def squared_relu_mlp(c: Config, s: Shape) -> Mlp:
    """Up and down with relu^2 between them (Nemotron, Arcee)."""
    act, bias = activation(c, default="relu2"), c.flag("mlp_bias", default=False)
    return plain_mlp(s.hidden, c.size("intermediate_size"), act, ("up_proj", "down_proj"), bias=bias)


def layer(
    s: Shape,
    attention: Attention,
    feed_forward: Mlp | Experts,
    norms: tuple[Norm, ...] = (),
    *,
    arrangement: Arrangement = "pre",
) -> Block:
    """All layers of a model, equal; Llama's two RMS norms unless others are given."""
    return Block(
        count=s.layers,
        arrangement=arrangement,
        norms=norms or (rms("input_layernorm", s.hidden), rms("post_attention_layernorm", s.hidden)),
        attention=attention,
        feed_forward=feed_forward,
    )


Kind = TypeVar("Kind", bound=Hashable)


def blocks_of(kinds: Iterable[Kind], block: Callable[[Kind], Block]) -> tuple[Block, ...]:
    """Equal layers put together: `kinds` has one entry a layer, `block` builds a layer of a kind."""
    counts: dict[Kind, int] = {}
    for kind in kinds:
        counts[kind] = counts.get(kind, 0) + 1
    return tuple(replace(block(kind), count=count) for kind, count in counts.items())


def model(
    c: Config, s: Shape, blocks: tuple[Block, ...], final_norm: Norm | None, *, tied: bool, head_bias: bool = False
) -> Model:
    """A model with rotary positions, in its plainest form; families add what they have besides with `replace`.

    `tied` is the library's default for an absent `tie_word_embeddings`.
    """
    return Model(
        id=c.where,
        model_type=c.word("model_type"),
        hidden_size=s.hidden,
        vocab_size=s.vocab,
        blocks=blocks,
        final_norm=final_norm,
        head=Linear(name="lm_head", inputs=s.hidden, outputs=s.vocab, bias=head_bias),
        tied_embeddings=c.flag("tie_word_embeddings", default=tied),
        attention_dropout=c.share("attention_dropout", default=0.0),
    )


def decoder(c: Config, s: Shape, *blocks: Block, tied: bool = False) -> Model:
    """A model whose last norm is Llama's."""
    return model(c, s, blocks, rms("norm", s.hidden), tied=tied)


def scaled(plain: Model) -> Model:
    """The same model with Granite's multipliers on the embedding, the residuals and the logits."""
    blocks = tuple(replace(block, residual_scale=True) for block in plain.blocks)
    return replace(plain, blocks=blocks, embedding_scale=True, logit_scale=True)
