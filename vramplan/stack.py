"""By which software it is trained: a stack is a set of defaults for a recipe's knobs and of habits no knob names.

Stacks are data (`vramplan_profiles/stacks.json`), each value with its source there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A training loop with its libraries. The habits move gigabytes; docs/formulas.md says how."""

    name: str
    title: str
    versions: str
    source: str
    defaults: Mapping[str, Any]
    """Knob -> value for every method."""
    method_defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Method -> knob -> value, over `defaults`."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Knob or habit (`qlora.adapter_dtype` for one method's) -> where the value comes from."""

    fp32_outputs: bool = False
    """The wrapped forward returns its outputs in fp32 (accelerate.utils.convert_outputs_to_fp32)."""
    holds_outputs: bool = False
    """The loop keeps the model's outputs (the logits) in a variable through backward."""
    shifts_logits: bool = False
    """The loss copies the logits without the last position (transformers before 4.49) instead of the labels."""
    upcasts_in_model: bool = False
    """`logits = logits.float()` in the model's forward gives up the 16-bit logits (transformers before 4.46)."""
    own_loss_models: tuple[str, ...] = ()
    """Model types whose forward computes the loss on logits in the dtype they have, and whose outputs were seen to
    live through backward (eight A100 runs of fms-acceleration; the reason is not known)."""
    reentrant_checkpoints: bool = False
    """torch.utils.checkpoint with use_reentrant=True holds the recomputed output through a layer's backward
    (the Trainer's default before transformers 5)."""
    wide_embedding_states: bool = False
    """8-bit optimizers keep fp32 states for embeddings (transformers, trainer.py: register_module_override)."""
    use_cache: bool = False
    """Keys and values of every layer stay alive through the step."""
    clips_gradients: bool = True
    keeps_half_embeddings: bool = False
    """After k-bit preparation embedding and head go back to 16 bit, norms stay fp32 (TRL up to 0.12)."""
    fused_norm: bool = False
    fused_rope: bool = False
    fused_mlp: bool = False
    """The gated product of the MLP keeps gate and up only (Liger, Unsloth)."""
    fused_linear_buffers: int = 1
    """Chunks of logits that the fused linear loss holds at once."""
    fused_ce_reads_logits: bool = False
    """A fused cross entropy gets the logits in the dtype they have, and makes a gradient beside them (Unsloth)."""
    fused_lora: Literal["none", "quantized", "all"] = "none"
    """LoRA as one autograd function a matrix, which saves its input once and no casts, on quantised matrices or all."""
    keeps_4bit_inputs: bool = False
    """A 4-bit product keeps its input for backward (bitsandbytes before 0.43.2: ctx.tensors = (A, B))."""
    expands_kv: bool = False
    """K and V are copied to all heads before the kernel (repeat_kv; transformers before 4.48, or with a mask)."""
    fused_4bit_tokens: int = 0
    """Most tokens of a step for which bitsandbytes surely multiplies without dequantising; 0 = never."""
    flat_shards: bool = False
    """FSDP puts the parameters of a unit into one flat tensor (FSDP1), and shards that."""
    fsdp_compute_dtype: Literal["", "bf16", "fp16"] = ""
    """What FSDP gathers and the layers compute in, where autocast does not say (a mixed-precision policy)."""
    fsdp_reduce_dtype: Literal["", "fp32"] = ""
    """Gradients are cast to it for the reduce-scatter; else they keep their dtype."""
    replicates_quantized_adapters: bool = False
    """Under FSDP every GPU holds the adapters of a quantised model, in 16 bit, outside its units."""
    attention_mask: Literal["none", "full"] = "none"
    speed_only: bool = False
    """No run of it has a known memory: `accuracy` compares its speed and no verdict."""
    unsupported: str = ""
    """Why the estimate does not describe this stack; empty = it does."""
    notes: tuple[str, ...] = ()

    def default(self, method: str, knob: str) -> Any:
        """The stack's value for a knob, or None where it has no opinion."""
        return self.method_defaults.get(method, {}).get(knob, self.defaults.get(knob))
