"""The setting of a step: what operators need to know beside their tensors, decided once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InvalidValueError, UnknownNameError, UnsupportedError
from ..model import Experts
from ..recipe import BYTES_PER_ELEMENT, AttentionKernel, ResolvedRecipe

if TYPE_CHECKING:
    from ..gpu import Gpu
    from ..model import Attention, Linear, Model
    from ..stack import Stack

_ROLES = {
    "q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "o_proj": "output",
    "gate_proj": "mlp_in", "up_proj": "mlp_in", "down_proj": "mlp_out",
}  # fmt: skip
"""Llama's names for the roles of matrices, accepted where a model fuses or renames them."""


EXPERT_LORA_TYPES = frozenset({
    "mixtral", "minimax_m2", "deepseek_v2", "deepseek_v3", "kimi_k2", "ernie4_5_moe", "glm4_moe", "glm4_moe_lite",
    "qwen3_moe", "olmoe",
})  # fmt: skip
"""Mixtures whose fused experts and router PEFT adapts under `all-linear`, as their unfused forms were
(peft 0.21: utils/transformers_weight_conversion.py, _MODEL_TO_CONVERSION_PATTERN)."""
FLASH_WIDEST_HEAD = 256
"""Features of a head that flash attention takes at most; up to there transformers leaves grouped heads to sdpa, wider
ones it copies to all heads (integrations/sdpa_attention.py, use_gqa_in_sdpa)."""
FUSED_EXPERT_NAMES = frozenset({"gate", "gate_proj", "up_proj", "down_proj"})
"""Names that PEFT then takes for the experts, so that dense layers and shared experts of these names get no adapter."""


class Setting:
    """Model, recipe, stack and card, with the dtypes and targets that follow from them. Counts may be arrays."""

    def __init__(self, model: Model, recipe: ResolvedRecipe, stack: Stack, gpu: Gpu | None) -> None:
        self.model, self.recipe, self.stack, self.gpu = model, recipe, stack, gpu
        self.batch: Any = recipe.batch
        self.seq_len: Any = recipe.seq_len
        self.tokens: Any = recipe.batch * recipe.seq_len
        self.rank: Any = recipe.rank
        self.autocast = recipe.autocast if recipe.autocast != "none" else ""
        self.trains_base = recipe.method == "full"
        self.quant = recipe.quant
        self.base_dtype = recipe.dtype
        # prepare_model_for_kbit_training upcasts no GPTQ model (peft/utils/other.py, is_gptq_quantized)
        others = "fp32" if recipe.kbit_prep and not self.quant.startswith("gptq") else self.base_dtype
        self.norm_dtype = others
        self.embedding_dtype = self.head_dtype = self.base_dtype if stack.keeps_half_embeddings else others
        self.compute_dtype = self.autocast or self.base_dtype
        self.owns_loss = model.model_type in stack.own_loss_models
        self.adapter_dtype = recipe.adapter_dtype
        self.dropout = recipe.lora_dropout if recipe.has_adapters else 0.0
        self.targets = target_names(model, recipe.targets) if recipe.has_adapters else frozenset[str]()
        self.adapts_experts = recipe.has_adapters and adapts_experts(model, recipe.targets)
        if self.adapts_experts and self.dropout:
            raise UnsupportedError("LoRA on fused experts takes no dropout (PEFT's ParamWrapper); use --lora-dropout 0")
        self.head_targeted = recipe.has_adapters and model.head.name in self.targets
        mixture = any(isinstance(block.feed_forward, Experts) for block in model.blocks)
        if mixture and stack.fused_mlp and stack.fused_lora == "none":
            raise UnsupportedError(f"{model.id}: stack {stack.name!r} fuses experts, which cannot be described yet")
        self.at_rest: Setting = self
        """With the dtypes in which several GPUs hold what is trained."""
        if recipe.gpus > 1:
            from .precision import at_rest

            self.at_rest = at_rest(self)
        self.attention = attention_kernel(self)

    @property
    def several(self) -> bool:
        """Whether a batch has more than one sequence. Several batches at once must agree (estimator/many.py)."""
        return bool((self.batch > 1) if type(self.batch) is int else (self.batch > 1).all())

    def is_target(self, matrix: Linear) -> bool:
        return matrix.name in self.targets

    def quantizes(self, matrix: Linear) -> bool:
        """transformers replaces `nn.Linear` and Conv1D themselves, not subclasses (Falcon's), and never the head."""
        return self.quant != "none" and matrix.quantizable

    def slides(self, attention: Attention) -> bool:
        """Whether sdpa gets a mask: a window that the text fills (transformers, masking_utils.py,
        _ignore_causal_mask_sdpa). Several lengths at once must agree (estimator/many.py sees to it)."""
        window = attention.window
        if window is None or not self.recipe.attention.startswith("sdpa") or self.attention == "eager":
            return False
        return bool((self.seq_len >= window) if type(self.seq_len) is int else (self.seq_len >= window).all())

    def matrix_bytes(self, matrix: Linear) -> int:
        """Bytes of a matrix in the dtype in which it is multiplied."""
        return matrix.weights * BYTES_PER_ELEMENT[self.compute_dtype]


def target_names(model: Model, targets: str) -> frozenset[str]:
    """Leaf module names that a target expression matches; every part must match something.

    Raises UnknownNameError with the model's own names.
    """
    names: set[str] = set()
    known = {matrix.name for matrix, _ in model.linears()} | {model.head.name}
    for part in targets.split(","):
        part = part.strip()
        if not part:
            raise InvalidValueError("targets", targets, "`all-linear`, `attention`, or module names joined by commas")
        if part == "all-linear":
            names |= {matrix.name for matrix, _ in model.linears()}
        elif part == "attention":
            names |= {matrix.name for block in model.blocks for matrix in block.attention.linears}
        elif part in known:
            names.add(part)
        else:
            names |= _by_role(model, part, known)
    return frozenset(names - FUSED_EXPERT_NAMES if adapts_experts(model, targets) else names)


def adapts_experts(model: Model, targets: str) -> bool:
    """Whether PEFT puts adapters on the fused experts."""
    return model.model_type in EXPERT_LORA_TYPES and "all-linear" in targets.split(",")


def _by_role(model: Model, name: str, known: set[str]) -> set[str]:
    role = _ROLES.get(name)
    found: set[str] = set()
    for block in model.blocks:
        ff = block.feed_forward
        mlp = ff.shared if isinstance(ff, Experts) else ff
        if role == "qkv":
            found |= {m.name for m in block.attention.inputs}
        elif role == "output":
            found.add(block.attention.output.name)
        elif role == "mlp_in" and mlp is not None:
            found |= {m.name for m in mlp.inputs}
        elif role == "mlp_out" and mlp is not None:
            found.add(mlp.output.name)
    if not found:
        raise UnknownNameError("target", name, known, hint="this model has " + ", ".join(sorted(known)))
    return found


def attention_kernel(c: Setting) -> AttentionKernel:
    """The kernel that really runs: what torch's dispatcher picks for `sdpa`, and `eager` where a model insists.

    sdpa takes flash for 16-bit inputs on sm80 and later, else the memory-efficient kernel; with grouped K and V left
    to it (enable_gqa) the latter is not offered and math runs (aten/native/transformers/cuda/sdp_utils.cpp).
    Soft-capped attention exists in eager and flash2 only (transformers, integrations/sdpa_attention.py).
    """
    asked, model, gpu = c.recipe.attention, c.model, c.gpu
    if asked == "flash2" and not model.flash:
        raise UnsupportedError(f"{model.id} has no flash attention 2 in transformers; use --attention sdpa or eager")
    widest = max(block.attention.qk_head_dim for block in model.blocks)
    if asked == "flash2" and widest > FLASH_WIDEST_HEAD:
        raise UnsupportedError(f"flash attention 2 takes heads of at most {FLASH_WIDEST_HEAD}, {model.id} has {widest}")
    if asked.startswith("sdpa") and not model.sdpa:
        return "eager"
    if asked != "sdpa":
        return asked
    if model.model_type == "falcon":
        # its mask rules out flash; one K and V head broadcasts, which only math takes
        return "sdpa-math" if model.blocks[0].attention.kv_heads == 1 else "sdpa-mem-efficient"
    fp32 = not c.autocast and c.embedding_dtype == "fp32"
    if not fp32 and (gpu is None or gpu.has_flash):
        return "flash2"
    grouped = any(block.attention.kv_heads != block.attention.heads for block in model.blocks)
    return "sdpa-math" if grouped and not c.stack.expands_kv else "sdpa-mem-efficient"
