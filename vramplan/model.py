"""What is trained: the shape of a causal language model, as a composition of its parts.

A `Model` is read from the figures of a Hugging Face `config.json` (`vramplan.families`), never from weights.
Parts carry the names of the library's modules, because those are what a LoRA target or a quantiser matches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

NormKind = Literal["rms", "rms_wide", "rms_unit_offset", "layer", "layer_narrow", "layer_wide"]
"""`rms` scales in the dtype of its input (Llama), `rms_wide` in fp32 (OLMo 2, gpt-oss), `rms_unit_offset` by
(1 + weight) in fp32 (Gemma); `layer` is torch's own kernel, `layer_narrow` that with autocast off (Nemotron),
`layer_wide` written out in fp32 (Cohere)."""
Activation = Literal["silu", "gelu", "gelu_tanh", "gelu_new", "gelu_bloom", "relu", "relu2", "xielu"]
RouterScores = Literal["input", "fp32", "product"]
"""Dtype of a router's weights for the experts: that of its `input`; `fp32`, and so the weighted outputs (Mixtral);
that of its `product` in fp32, which autocast lowers (DeepSeek V3)."""
Arrangement = Literal["pre", "post", "outer", "sandwich", "parallel", "twin"]
Positions = Literal["rotary", "learned", "alibi", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """A weight matrix, y = x W^T (+ b); `name` is the leaf module name that a LoRA target matches."""

    name: str
    inputs: int
    outputs: int
    bias: bool = False
    quantizable: bool = True
    """False where its class derives from nn.Linear: LoRA takes such a matrix, but transformers 5 leaves it in 16 bit
    (integrations.bitsandbytes.replace_with_bnb_linear asks for `type(module) is nn.Linear`). Falcon, some routers."""

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs

    @property
    def parameters(self) -> int:
        return self.weights + (self.outputs if self.bias else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """A normalisation over `width` features; `affine` = it has a learned scale, `bias` = and a learned shift."""

    name: str
    kind: NormKind
    width: int
    bias: bool = False
    affine: bool = True
    modules: int = 1
    """Held as this many modules of equal width (StableLM 2 12B: one for each head)."""

    @property
    def parameters(self) -> int:
        return self.width * (self.affine + self.bias)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Self-attention of one layer.

    `layout` says how q, k and v come about: `separate` (q_proj, k_proj, v_proj), `fused` (one matrix, split),
    `latent` (DeepSeek's compressed KV: q_a/q_b or q_proj, kv_a, kv_b). `inputs` holds those matrices in the order
    of use, `output` the one behind the kernel.
    """

    layout: Literal["separate", "fused", "latent"]
    inputs: tuple[Linear, ...]
    output: Linear
    heads: int
    kv_heads: int
    qk_head_dim: int
    v_head_dim: int
    rotary_dim: int = 0
    """Features of a head that are rotated; 0 = no rotary positions in this layer."""
    qk_norms: tuple[Norm, ...] = ()
    """q and k norm: width = head size (one weight for all heads), or the whole projection."""
    rotary_fp32: bool = False
    """cos and sin stay fp32, and the rotated tensors are cast back (OLMo, ERNIE)."""
    rotary_interleaved: bool = False
    """Every layer spreads cos and sin to pairs of features anew, and saves them (GLM, ERNIE)."""
    rotary_joined: bool = False
    """q and k come out of torch.cat even where all features are rotated (Phi-3)."""
    latent_norms: tuple[Norm, ...] = ()
    """Norms on the compressed q and kv of the latent layout."""
    value_norm: Norm | None = None
    """On the values, which are the keys as projected where there is no matrix for them (Gemma 4)."""
    window: int | None = None
    """Tokens a position sees; None = all before it."""
    fp32_scores: bool = False
    """Eager attention casts q and k to fp32 before their product (GPT-J)."""
    softcap: bool = False
    sinks: int = 0
    """Learned attention sinks (one parameter a head), gpt-oss."""
    alibi: bool = False

    @property
    def linears(self) -> tuple[Linear, ...]:
        return (*self.inputs, self.output)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlp:
    """A feed-forward layer. `inputs` = (gate_proj, up_proj), one fused gate_up_proj, or one plain matrix."""

    gated: bool
    inputs: tuple[Linear, ...]
    output: Linear
    width: int
    activation: Activation

    @property
    def linears(self) -> tuple[Linear, ...]:
        return (*self.inputs, self.output)


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """A mixture of experts: `count` gated MLPs of `width`, held as fused 3-D parameters, `per_token` to a token."""

    count: int
    per_token: int
    width: int
    hidden_size: int
    router: Linear
    router_fp32: bool = False
    """The router and its correction stay fp32 whatever the weights' dtype (ERNIE: _keep_in_fp32_modules_strict)."""
    router_widens: bool = False
    """The router multiplies fp32 copies of its input and of its weight (DeepSeek, GLM, ERNIE)."""
    router_is_linear: bool = False
    """The router is an nn.Linear, which LoRA's `all-linear` takes as well (Llama 4, Phi-3.5-MoE)."""
    bias: bool = False
    """Biases on both expert matrices (gpt-oss)."""
    gated: bool = True
    activation: Activation = "silu"
    shared: Mlp | None = None
    scores: RouterScores = "input"
    shared_first: bool = False
    """The shared expert runs before the others (Qwen-MoE, ERNIE)."""
    shared_gate: Linear | None = None
    """A sigmoid gate on the shared expert (Qwen-MoE)."""

    @property
    def expert_weights(self) -> int:
        """Elements of the expert matrices of all experts."""
        return self.count * self.hidden_size * self.width * (3 if self.gated else 2)

    @property
    def expert_biases(self) -> int:
        return self.count * ((2 if self.gated else 1) * self.width + self.hidden_size) if self.bias else 0

    @property
    def linears(self) -> tuple[Linear, ...]:
        shared = self.shared.linears if self.shared else ()
        gate = (self.shared_gate,) if self.shared_gate else ()
        return shared + gate + ((self.router,) if self.router_is_linear else ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """`count` equal decoder layers.

    `norms` in the order of use. Where they sit is `arrangement`: `pre` (before attention and MLP), `post` (behind
    each, OLMo 2), `outer` (behind each sum, OPT-350m), `sandwich` (both, Gemma 2/3), `parallel` (attention and MLP read
    the same normed input; with two norms each its own), `twin` (a sandwich with an MLP and experts side by side, Gemma
    4).
    """

    count: int
    arrangement: Arrangement
    norms: tuple[Norm, ...]
    attention: Attention
    feed_forward: Mlp | Experts
    residual_scale: bool = False
    """What a layer adds to the residual stream is multiplied by a constant first (Granite)."""
    scales_output: bool = False
    """What a layer hands on is multiplied by a scalar in place (Gemma 4)."""
    extra_parameters: tuple[int, ...] = ()
    """Sizes of a layer's parameters that sit in no matrix and no norm (multipliers, scalars)."""
    buffers: tuple[int, ...] = ()
    """Bytes of the non-parameter tensors that each layer keeps on the device (GPT-J's table of positions)."""

    @property
    def linears(self) -> tuple[Linear, ...]:
        """Matrices that are `nn.Linear` (or Conv1D) modules, the router left out."""
        return self.attention.linears + self.feed_forward.linears

    @property
    def all_norms(self) -> tuple[Norm, ...]:
        a = self.attention
        return self.norms + a.qk_norms + a.latent_norms + ((a.value_norm,) if a.value_norm else ())

    @property
    def parameters(self) -> int:
        """Parameters of one layer."""
        total = sum(m.parameters for m in self.linears) + sum(n.parameters for n in self.all_norms)
        total += self.attention.sinks + sum(self.extra_parameters)
        if isinstance(self.feed_forward, Experts):
            e = self.feed_forward
            total += (0 if e.router_is_linear else e.router.parameters) + e.expert_weights + e.expert_biases
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A causal language model. `blocks` are runs of equal layers, in order of first appearance."""

    id: str
    """Hub id, or the path of a config file."""
    alias: str | None = None
    """What the user typed, where that was not the id."""
    model_type: str
    hidden_size: int
    vocab_size: int
    blocks: tuple[Block, ...]
    final_norm: Norm | None
    head: Linear
    """`lm_head`; where `tied_embeddings`, its matrix is the embedding's."""
    tied_embeddings: bool
    positions: Positions = "rotary"
    learned_positions: int = 0
    """Rows of a learned position table."""
    embedding_width: int | None = None
    """Where it differs from the hidden size (OPT-350m projects)."""
    embedding_norm: Norm | None = None
    outer_linears: tuple[Linear, ...] = ()
    """Matrices outside the layers and the head (OPT-350m's project_in, project_out)."""
    embedding_scale: bool = False
    """Embeddings are multiplied by a constant behind their module (Granite; Gemma's does it itself)."""
    logit_softcap: bool = False
    logit_scale: bool = False
    max_position_embeddings: int | None = None
    dtype: Literal["bf16", "fp16", "fp32"] = "bf16"
    """Storage type of the published weights."""
    buffer_bytes: int = 0
    """Non-parameter tensors on the device outside the layers (GPTBigCode's causal mask)."""
    rotary_kinds: int = 1
    """Sets of rotary frequencies, each with its tables of cos and sin; two where layers with a window have their own
    (Gemma 3, OLMo 3)."""
    returns_attention: bool = False
    """The loop over eager layers holds the attention weights of one until the next has run (BLOOM, MPT, GPT-J)."""
    sdpa: bool = True
    """transformers 5 offers `sdpa` attention for it; else it falls back to `eager`."""
    flash: bool = True
    """transformers 5 offers `flash_attention_2` for it."""
    dropout: float = 0.0
    """Residual/hidden dropout that the config leaves on in training."""
    attention_dropout: float = 0.0
    embedding_dropout: float = 0.0
    source: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def layers(self) -> int:
        return sum(block.count for block in self.blocks)

    @property
    def rotary_widths(self) -> tuple[int, ...]:
        """Features of a head that each set of frequencies rotates."""
        widths = [block.attention.rotary_dim for block in self.blocks]
        return tuple(widths) if self.rotary_kinds == len(widths) else (max(widths),) * self.rotary_kinds

    @property
    def embedding_parameters(self) -> int:
        return self.vocab_size * (self.embedding_width or self.hidden_size)

    def linears(self) -> Iterator[tuple[Linear, int]]:
        """Every matrix inside the layers (and outer ones) with the number of its copies; neither head nor routers."""
        for block in self.blocks:
            for linear in block.linears:
                yield linear, block.count
        for linear in self.outer_linears:
            yield linear, 1

    @property
    def parameters(self) -> int:
        """All parameters, tied ones counted once."""
        total = self.embedding_parameters + self.learned_positions * self.hidden_size
        total += sum(block.count * block.parameters for block in self.blocks)
        total += sum(linear.parameters for linear in self.outer_linears)
        total += self.final_norm.parameters if self.final_norm else 0
        total += self.embedding_norm.parameters if self.embedding_norm else 0
        if not self.tied_embeddings:
            total += self.head.parameters
        elif self.head.bias:
            total += self.head.outputs
        return total
