"""Parts that many families share, read from their config keys."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from ..errors import UnknownNameError
from ..model import Activation, Attention, Block, Linear, Mlp, Model, Norm, NormKind
from .config import Config, unsupported

ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_fast": "gelu_new",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
    "xielu": "xielu",
}
"""transformers' names of the activations (transformers.activations.ACT2FN)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The figures that nearly every family gives."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int

    @property
    def q_width(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_dim


def read_shape(
    c: Config,
    *,
    hidden: tuple[str, ...] = ("hidden_size",),
    layers: tuple[str, ...] = ("num_hidden_layers",),
    heads: tuple[str, ...] = ("num_attention_heads",),
    kv_heads: int | None = None,
    kv_required: bool = False,
    head_dim: Literal["derived", "optional", "required"] = "optional",
) -> Shape:
    """Widths and head counts. `kv_heads` overrides the config's; the rest says how absent keys are to be taken.

    Where the library's default for an absent key is the figure of one model, not a rule, the key is required.
    """
    hidden_size = c.size(*hidden)
    head_count = c.size(*heads)
    if kv_heads is None:
        required = kv_required and "num_key_value_heads" not in c.values
        kv_heads = c.size("num_key_value_heads", default=None if required else head_count)
    if head_count % kv_heads:
        raise c.error("num_key_value_heads", kv_heads, f"a divisor of the {head_count} attention heads")
    if head_dim == "derived" or (head_dim == "optional" and not c.has("head_dim")):
        if hidden_size % head_count:
            raise c.error(hidden[0], hidden_size, f"a multiple of the {head_count} attention heads")
        dim = hidden_size // head_count
    else:
        dim = c.size("head_dim")
    return Shape(
        hidden=hidden_size,
        layers=c.layers(*layers),
        heads=head_count,
        kv_heads=kv_heads,
        head_dim=dim,
        vocab=c.size("vocab_size"),
    )


def activation(c: Config, *keys: str, default: Activation) -> Activation:
    """The MLP's activation."""
    word = c.word(*(keys or ("hidden_act",)), default=default)
    if word not in ACTIVATIONS:
        raise UnknownNameError(f"activation in {c.where}", word, ACTIVATIONS)
    return ACTIVATIONS[word]


def rotary_dim(c: Config, head_dim: int, *, key: str = "partial_rotary_factor", default: float = 1.0) -> int:
    """Rotated features of a head. transformers 5 keeps the share among `rope_parameters`, before it stood alone."""
    share = c.share(key, default=default)
    for name in ("rope_scaling", "rope_parameters"):
        rope = c.section(name)
        if rope is not None:
            share = rope.share("partial_rotary_factor", default=share)
    return int(head_dim * share)


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


def fused_attention(
    s: Shape,
    *,
    names: tuple[str, str],
    rotary: int = 0,
    bias: tuple[bool, bool] = (False, False),
    window: int | None = None,
    alibi: bool = False,
    qk_norms: tuple[Norm, ...] = (),
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
        qk_norms=qk_norms,
    )


def head_norms(s: Shape, kind: NormKind = "rms") -> tuple[Norm, Norm]:
    """One weight of head size, shared by all heads, for q and for k."""
    return rms("q_norm", s.head_dim, kind), rms("k_norm", s.head_dim, kind)


def projection_norms(s: Shape) -> tuple[Norm, Norm]:
    """Norms over the whole q and the whole k projection (OLMo 2)."""
    return rms("q_norm", s.q_width), rms("k_norm", s.kv_width)


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


def fused_gated_mlp(hidden: int, width: int, act: Activation) -> Mlp:
    """gate_proj and up_proj in one matrix, gate_up_proj."""
    return Mlp(
        gated=True,
        inputs=(Linear(name="gate_up_proj", inputs=hidden, outputs=2 * width),),
        output=Linear(name="down_proj", inputs=width, outputs=hidden),
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


def sliding_layers(c: Config, layers: int, *, every: int) -> list[bool]:
    """Whether each layer has the sliding window: what `layer_types` says, else all but each `every`-th."""
    types = c.per_layer("layer_types", layers)
    if types is None:
        return [(i + 1) % every != 0 for i in range(layers)]
    for kind in types:
        if kind not in ("sliding_attention", "full_attention"):
            raise unsupported(c.where, f"layers of type {str(kind)[:40]!r}")
    return [kind == "sliding_attention" for kind in types]


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
