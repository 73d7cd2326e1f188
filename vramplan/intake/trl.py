"""TRL's SFT configuration (`trl sft --config`) and alignment-handbook recipes: model and training in one file."""

from __future__ import annotations

from ..errors import UnsupportedError
from .adapter import PEFT_TARGETS, tell_targets
from .document import Document
from .keys import Keys
from .part import Part, Told
from .quantization import tell_bits
from .result import SourceFile
from .trainer import tell_attention, tell_dtype, trainer

VERSION = "trl 1.16"
PREFERENCE = (
    "beta",
    "num_generations",
    "max_prompt_length",
    "max_completion_length",
    "reward_funcs",
    "desirable_weight",
)
"""Keys by which a configuration of DPO, KTO or GRPO shows (trl 1.16: the fields that SFTConfig lacks)."""
_NOT_DESCRIBED = {
    "use_dora": "DoRA's magnitudes and norms are not described; LoRA is",
    "lora_modules_to_save": "modules trained whole beside the adapters are not described",
    "lora_target_parameters": "adapters on single parameters are not described",
}


def read_trl(document: Document, keys: Keys) -> tuple[Part, SourceFile]:
    """TRL's own file: weights in fp32 unless `dtype` says otherwise (trl 1.16: trainer/model_config.py)."""
    part = _read(document, keys, "TRL")
    part.default(VERSION, dtype="fp32")
    return part, part.file(keys, ("transformers", "trl"))


def read_handbook(document: Document, keys: Keys) -> tuple[Part, SourceFile]:
    """alignment-handbook and open-r1: TRL's keys and some more; without `torch_dtype` the checkpoint's dtype."""
    part = _read(document, keys, "alignment-handbook")
    if keys.flag("use_flash_attention_2"):
        part.tell("attention", "flash2", keys, "use_flash_attention_2")
    return part, part.file(keys, ("transformers", "trl", "alignment-handbook"))


def _read(document: Document, keys: Keys, kind: str) -> Part:
    part = Part(kind=kind, document=document)
    for key in PREFERENCE:
        if key in keys:
            raise UnsupportedError(f"{keys.where(key)}: preference and reward training is not described; only SFT is")
    trainer(part, keys)
    _defaults(part)
    part.tell("model", keys.word("model_name_or_path"), keys, "model_name_or_path")
    for key in ("torch_dtype", "dtype"):
        tell_dtype(part, keys, key)
    tell_attention(part, keys, "attn_implementation")
    _init_kwargs(part, keys)
    tell_length(part, keys)
    tell_loss(part, keys)
    _adapters(part, keys)
    if part.value("stack") == "liger":
        # TRL keeps its own loss and casts with Liger's layer kernels (trl 1.16: sft_trainer.py, add_fused_lm_head)
        part.default(VERSION, loss="chunked")
    if part.value("quant") in ("int8",) or (part.value("stack") == "liger" and part.value("quant") != "none"):
        part.default(VERSION, adapter_dtype="bf16")
    return part


def _defaults(part: Part) -> None:
    """What differs from the stack's: SFTConfig and ModelConfig (trl 1.16: trainer/sft_config.py, model_config.py)."""
    part.default(VERSION, stack="trl", batch=8, seq_len=1024, quant="none", adapts=False)
    part.default(VERSION, rank=16, lora_dropout=0.05, targets=PEFT_TARGETS)
    if "autocast" not in part.told:
        # bf16 is on unless fp16 is, whatever the launcher says
        part.told["autocast"] = part.defaults.get("autocast") or _implied()


def _implied() -> Told:
    return Told("bf16", f"default of {VERSION}")


def _init_kwargs(part: Part, keys: Keys) -> None:
    table = keys.table("model_init_kwargs") if isinstance(keys.raw("model_init_kwargs"), dict) else None
    if table is None:
        return
    for key in ("torch_dtype", "dtype"):
        tell_dtype(part, table, key)
    tell_attention(part, table, "attn_implementation")
    if table.flag("use_kernels"):
        part.warn(table, "use_kernels", "layer kernels from the hub are not described; `--stack liger` is the nearest")


def tell_length(part: Part, keys: Keys) -> None:
    for key in ("max_seq_length", "max_length"):
        if key in keys.values and keys.raw(key) is None:
            part.doubt(("seq_len",), f"{keys.where(key)}: texts are not cut, so the file leaves their length open")
        part.tell("seq_len", keys.count(key), keys, key)


def tell_loss(part: Part, keys: Keys) -> None:
    name = keys.word("loss_type")
    if name == "dft":
        part.warn(keys, "loss_type", "computed as the chunked loss that it builds on")
    elif name not in (None, "nll", "chunked_nll"):
        raise UnsupportedError(f"{keys.where('loss_type')}: {name!r} is no loss of SFT, and only SFT is described")


def _adapters(part: Part, keys: Keys) -> None:
    part.tell("adapts", keys.flag("use_peft"), keys, "use_peft")
    part.tell("rank", keys.count("lora_r"), keys, "lora_r")
    part.tell("lora_dropout", keys.number("lora_dropout"), keys, "lora_dropout")
    tell_targets(part, keys, "lora_target_modules")
    kind = keys.word("bnb_4bit_quant_type")
    if kind not in (None, "nf4", "fp4"):
        raise keys.wrong("bnb_4bit_quant_type", "nf4 or fp4")
    tell_bits(part, keys, kind=kind, double=keys.flag("use_bnb_nested_quant"))
    for key, why in _NOT_DESCRIBED.items():
        if keys.raw(key):
            part.warn(keys, key, why)
