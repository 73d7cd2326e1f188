"""axolotl's YAML (axolotl 0.19: utils/schemas/config.py and loaders/model.py)."""

from __future__ import annotations

from ..errors import UnsupportedError
from .adapter import PEFT_TARGETS, tell_targets
from .document import Document
from .keys import AUTO, Keys
from .launchers import tell_deepspeed, tell_fsdp
from .part import Part
from .quantization import four_bit
from .result import SourceFile
from .trainer import tell_attention, tell_optimizer

VERSION = "axolotl 0.19"
_ATTENTION_FLAGS = {
    "flash_attention": "flash2", "sdp_attention": "sdpa", "eager_attention": "eager",
}  # fmt: skip
"""Old flags; the newer key is attn_implementation (schemas/enums.py, LEGACY_ATTN_FLAG_TO_IMPL)."""
_NOT_DESCRIBED = {
    "peft_use_dora": "DoRA's magnitudes and norms are not described; LoRA is",
    "lora_modules_to_save": "modules trained whole beside the adapters are not described",
    "lora_target_parameters": "adapters on single parameters are not described",
    "lora_rank_pattern": "ranks that differ from module to module are not described",
    "peft_layers_to_transform": "adapters on some layers only are not described: every layer has them here",
    "unfrozen_parameters": "training of some parameters only is not described",
    "relora": "ReLoRA is not described; LoRA is",
    "activation_offloading": "activations moved to the host are not described: they stay on the card here",
    "layer_offloading": "layers on the host are not described: they stay on the card here",
    "selective_checkpointing": "selective checkpointing is not described: every layer is recomputed whole here",
    "tiled_mlp": "tiled MLPs hold less; they are not described",
    "chunked_cross_entropy": "it chunks logits that are there already; read as the standard loss",
    "context_parallel_size": "context parallelism is not described",
    "sequence_parallel_degree": "sequence parallelism is not described",
    "tensor_parallel_size": "tensor parallelism is not described",
    "quantize_moe_experts": "quantised experts are not described: they stay in 16 bit here",
    "fp8": "fp8 is not described",
    "torch_compile": "compiled kernels hold less; `--stack STACK+compile` describes them",
    "unsloth_cross_entropy_loss": "read as the standard loss; --loss fused-ce describes it",
}
_LORA_KERNELS = ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel")


def read_axolotl(document: Document, keys: Keys) -> tuple[Part, SourceFile]:
    part = Part(kind="axolotl", document=document)
    kind = keys.word("rl")
    if kind or keys.flag("reward_model") or keys.flag("process_reward_model"):
        raise UnsupportedError(f"{keys.where('rl')}: preference and reward training is not described; only SFT is")
    part.default(VERSION, stack="hf-trainer", batch=1, seq_len=512, checkpointing=False, quant="none", adapts=False)
    part.tell("model", keys.word("base_model"), keys, "base_model")
    part.tell("seq_len", keys.count("sequence_len"), keys, "sequence_len")
    _batch(part, keys)
    _adapter(part, keys)
    _precision(part, keys)
    tell_optimizer(part, keys, "optimizer")
    _checkpointing(part, keys)
    _attention(part, keys)
    _plugins(part, keys)
    tell_deepspeed(part, keys, "deepspeed")
    tell_fsdp(part, keys, "fsdp", "fsdp_config")
    for key, why in _NOT_DESCRIBED.items():
        value = keys.raw(key)
        if value and (value is True or value != 1):
            part.warn(keys, key, why)
    return part, part.file(keys, ("axolotl",))


def _batch(part: Part, keys: Keys) -> None:
    """`batch_size` is micro_batch_size x gradient_accumulation_steps; axolotl takes one of the last and it."""
    micro, steps, whole = (keys.count(k) for k in ("micro_batch_size", "gradient_accumulation_steps", "batch_size"))
    part.tell("batch", micro, keys, "micro_batch_size")
    part.tell("grad_accum", steps, keys, "gradient_accumulation_steps")
    if whole is None:
        return
    if steps is not None and whole != (micro or 1) * steps:
        text = f"{keys.where('batch_size')} is {whole}, but micro_batch_size x gradient_accumulation_steps is"
        part.doubt(("batch", "grad_accum"), f"{text} {micro or 1} x {steps}")
    elif steps is None:
        part.tell("grad_accum", max(1, whole // (micro or 1)), keys, "batch_size")


def _adapter(part: Part, keys: Keys) -> None:
    adapter = keys.word("adapter")
    if adapter not in (None, "lora", "qlora"):
        raise UnsupportedError(f"{keys.where('adapter')}: {adapter!r} is not described; lora and qlora are")
    part.tell("adapts", adapter is not None or None, keys, "adapter")
    four, eight, gptq = keys.flag("load_in_4bit"), keys.flag("load_in_8bit"), keys.flag("gptq")
    if adapter == "qlora" and not four:
        part.doubt(("method", "quant"), f"{keys.where('adapter')}: qlora without load_in_4bit: true")
    if four and eight:
        part.doubt(("quant",), f"{keys.where('load_in_4bit')} and load_in_8bit are both true")
    elif four:
        part.tell("quant", _four_bit(keys), keys, "load_in_4bit")
    elif eight or gptq:
        part.tell("quant", "int8" if eight else "gptq-int4", keys, "load_in_8bit" if eight else "gptq")
    if adapter is None:
        return
    part.default(VERSION, lora_dropout=0.0, targets=PEFT_TARGETS)
    part.tell("rank", keys.count("lora_r"), keys, "lora_r")
    if part.value("rank") is None and "lora_model_dir" not in keys:
        part.doubt(("rank",), f"{keys.where('lora_r')} is missing: axolotl has no rank of its own")
    part.tell("lora_dropout", keys.number("lora_dropout"), keys, "lora_dropout")
    if keys.flag("lora_target_linear"):
        # beside the modules named, of which all but embeddings are linear (loaders/adapter.py: load_lora)
        part.tell("targets", "all-linear", keys, "lora_target_linear")
        keys.raw("lora_target_modules")
    else:
        tell_targets(part, keys, "lora_target_modules")
    if keys.flag("peft_autocast_adapter_dtype") is False:
        part.default(VERSION, adapter_dtype="bf16")
    if all(keys.raw(k) is None for k in _LORA_KERNELS) or any(keys.flag(k) for k in _LORA_KERNELS):
        part.warnings.append(
            f"{part.document.path}: axolotl's fused LoRA kernels hold less than the operators counted here; "
            "it turns them on unless lora_*_kernel are false"
        )


def _four_bit(keys: Keys) -> str:
    """nf4 with double quantisation (loaders/model.py), unless bnb_config_kwargs change it."""
    table = keys.table("bnb_config_kwargs")
    kind = table.word("bnb_4bit_quant_type") if table else None
    double = table.flag("bnb_4bit_use_double_quant") if table else None
    return four_bit(kind, True if double is None else double)


def _precision(part: Part, keys: Keys) -> None:
    """utils/config: resolve_dtype. bf16 and fp16 mean autocast and weights, bfloat16 and float16 weights alone; bf16 is
    `auto` where nothing is said, which the card decides."""
    words = {key: keys.raw(key) for key in ("bf16", "fp16", "bfloat16", "float16", "float32")}
    on = {key for key in words if words[key] != AUTO and keys.flag(key)}
    if {"bf16", "fp16"} <= on or {"bfloat16", "float16"} <= on:
        part.doubt(("dtype", "autocast"), f"{keys.where('bf16')} and fp16 are both true")
    for key, dtype, autocast in (
        ("bf16", "bf16", "bf16"), ("bfloat16", "bf16", "none"), ("fp16", "fp16", "fp16"), ("float16", "fp16", "none"),
    ):  # fmt: skip
        if key in on:
            part.tell("dtype", dtype, keys, key)
            part.tell("autocast", autocast, keys, key)
            break
    if not on & {"bf16", "fp16", "bfloat16", "float16"} and (words["bf16"] is not None and words["bf16"] != AUTO):
        part.tell("dtype", "fp16" if keys.flag("load_in_8bit") else "fp32", keys, "bf16")
        part.tell("autocast", "none", keys, "bf16")


def _checkpointing(part: Part, keys: Keys) -> None:
    value = keys.raw("gradient_checkpointing")
    if isinstance(value, str) and value.startswith("offload"):
        part.tell("checkpointing", True, keys, "gradient_checkpointing")
        part.warn(keys, "gradient_checkpointing", "checkpoints on the host are not described: they stay on the card")
    else:
        part.tell("checkpointing", keys.flag("gradient_checkpointing"), keys, "gradient_checkpointing")


def _attention(part: Part, keys: Keys) -> None:
    for key, name in _ATTENTION_FLAGS.items():
        if keys.flag(key):
            part.tell("attention", name, keys, key)
    for key in ("xformers_attention", "flex_attention", "sage_attention"):
        if keys.flag(key):
            part.doubt(("attention",), f"{keys.where(key)}: this kernel is not described")
    tell_attention(part, keys, "attn_implementation")


def _plugins(part: Part, keys: Keys) -> None:
    """Liger's plugin does what its flags say; Cut Cross Entropy is on once its plugin is listed."""
    plugins = " ".join(keys.words("plugins") or ())
    if "CutCrossEntropy" in plugins and keys.flag("cut_cross_entropy") is not False:
        part.tell("loss", "fused-linear", keys, "plugins")
        part.warn(keys, "plugins", "Cut Cross Entropy is read as fused-linear: neither holds the logits")
    if "Liger" not in plugins:
        return
    layers = [keys.flag(key) for key in ("liger_rms_norm", "liger_rope", "liger_glu_activation", "liger_swiglu")]
    if any(layers):
        part.tell("stack", "liger", keys, "plugins")
        part.default(VERSION, loss="standard")
    if keys.flag("liger_fused_linear_cross_entropy"):
        part.tell("loss", "fused-linear", keys, "liger_fused_linear_cross_entropy")
    elif keys.flag("liger_cross_entropy"):
        part.tell("loss", "fused-ce", keys, "liger_cross_entropy")
