"""LLaMA-Factory's YAML (llamafactory 0.9.5: hparams, model/adapter.py, model/model_utils)."""

from __future__ import annotations

from ..errors import UnsupportedError
from .adapter import tell_targets
from .document import Document
from .keys import Keys
from .part import Part
from .quantization import four_bit
from .result import SourceFile
from .trainer import trainer

VERSION = "llamafactory 0.9.5"
_ATTENTION = {"disabled": "eager", "off": "eager", "sdpa": "sdpa", "fa2": "flash2", "fa3": "flash2"}
_NOT_DESCRIBED = {
    "use_dora": "DoRA's magnitudes and norms are not described; LoRA is",
    "additional_target": "modules trained whole beside the adapters are not described",
    "use_unsloth_gc": "checkpoints on the host are not described: they stay on the card here",
    "upcast_layernorm": "norms in fp32 are not described where nothing else is",
    "upcast_lmhead_output": "fp32 logits are described as the loss has them",
    "resize_vocab": "the vocabulary is counted as the model has it",
    "use_llama_pro": "added layers are not described",
    "shift_attn": "shifted sparse attention is not described",
    "mixture_of_depths": "mixture of depths is not described",
    "fp8": "fp8 is not described",
    "use_kt": "experts on the host are not described",
    "use_galore": "GaLore is not described; the optimizer is counted whole",
    "use_apollo": "APOLLO is not described; the optimizer is counted whole",
    "use_badam": "BAdam is not described; the optimizer is counted whole",
    "use_muon": "Muon is not described; the optimizer named is counted",
    "use_adam_mini": "Adam-mini is not described; the optimizer named is counted",
}


def read_llama_factory(document: Document, keys: Keys) -> tuple[Part, SourceFile]:
    part = Part(kind="LLaMA-Factory", document=document)
    for key in ("model_class", "dist_config", "peft_config"):
        if key in keys:
            raise UnsupportedError(f"{keys.where(key)}: LLaMA-Factory's v1 files are not read; those of 0.9 are")
    stage = keys.word("stage")
    if stage not in (None, "sft", "pt"):
        raise UnsupportedError(f"{keys.where('stage')}: {stage!r} is not described; sft and pt are")
    trainer(part, keys)
    part.default(VERSION, stack="hf-trainer", batch=8, seq_len=2048, autocast="none", quant="none", adapts=True)
    part.tell("model", keys.word("model_name_or_path"), keys, "model_name_or_path")
    part.tell("seq_len", keys.count("cutoff_len"), keys, "cutoff_len")
    _adapter(part, keys)
    _quantization(part, keys)
    _precision(part, keys)
    _checkpointing(part, keys)
    _kernels(part, keys)
    for key, why in _NOT_DESCRIBED.items():
        if keys.raw(key):
            part.warn(keys, key, why)
    return part, part.file(keys, ("transformers", "llama-factory"))


def _adapter(part: Part, keys: Keys) -> None:
    kind = keys.word("finetuning_type")
    if kind not in (None, "lora", "full"):
        raise UnsupportedError(f"{keys.where('finetuning_type')}: {kind!r} is not described; lora and full are")
    part.tell("adapts", None if kind is None else kind == "lora", keys, "finetuning_type")
    part.tell("rank", keys.count("lora_rank"), keys, "lora_rank")
    part.tell("lora_dropout", keys.number("lora_dropout"), keys, "lora_dropout")
    tell_targets(part, keys, "lora_target", every="all")
    part.default(VERSION, rank=8, lora_dropout=0.0, targets="all-linear")


def _quantization(part: Part, keys: Keys) -> None:
    bits = keys.count("quantization_bit")
    double = keys.flag("double_quantization")
    kind = keys.word("quantization_type")
    method = keys.word("quantization_method")
    if bits is None:
        return
    if method not in (None, "bnb", "bitsandbytes") or bits not in (4, 8):
        part.doubt(("quant",), f"{keys.where('quantization_bit')}: {bits} bits by {method or 'bnb'} is not described")
    else:
        told = "int8" if bits == 8 else four_bit(kind, True if double is None else double)
        part.tell("quant", told, keys, "quantization_bit")


def _precision(part: Part, keys: Keys) -> None:
    """Trained parameters become fp32 unless pure_bf16 (model/adapter.py: init_adapter); frozen ones are in the compute
    dtype, which is the checkpoint's where neither bf16 nor fp16 is set."""
    pure = keys.flag("pure_bf16")
    if part.value("adapts") is False:
        part.default(VERSION, dtype="bf16" if pure else "fp32")
    elif pure:
        part.tell("dtype", "bf16", keys, "pure_bf16")
    elif part.value("autocast") in ("bf16", "fp16"):
        part.default(VERSION, dtype=part.value("autocast"))


def _checkpointing(part: Part, keys: Keys) -> None:
    """On unless disabled (hparams/model_args.py); the trainer's own key turns it on again."""
    if keys.flag("disable_gradient_checkpointing") and not part.value("checkpointing"):
        part.tell("checkpointing", False, keys, "disable_gradient_checkpointing")
    elif part.value("checkpointing") is False:
        part.told.pop("checkpointing")


def _kernels(part: Part, keys: Keys) -> None:
    name = keys.word("flash_attn") or ("disabled" if keys.raw("flash_attn") is False else None)
    if name in _ATTENTION:
        part.tell("attention", _ATTENTION[name], keys, "flash_attn")
    elif name not in (None, "auto"):
        raise keys.wrong("flash_attn", "one of auto, " + ", ".join(_ATTENTION))
    if keys.flag("enable_liger_kernel"):
        part.tell("stack", "liger", keys, "enable_liger_kernel")
    if keys.flag("use_unsloth"):
        part.tell("stack", "unsloth", keys, "use_unsloth")
