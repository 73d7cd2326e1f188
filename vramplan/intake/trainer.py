"""TrainingArguments: the keys that transformers, TRL, alignment-handbook and LLaMA-Factory share."""

from __future__ import annotations

from .document import Document
from .keys import AUTO, Keys
from .launchers import tell_deepspeed, tell_fsdp
from .part import Part
from .result import SourceFile

VERSION = "transformers 5.23"
OPTIMIZERS: dict[str, str] = {
    "adamw_torch": "adamw", "adamw_torch_fused": "adamw_fused", "adamw_apex_fused": "adamw_fused",
    "adamw_hf": "adamw", "adamw_bnb_8bit": "adamw_8bit", "adamw_8bit": "adamw_8bit",
    "paged_adamw": "paged_adamw_32bit", "paged_adamw_32bit": "paged_adamw_32bit",
    "paged_adamw_8bit": "paged_adamw_8bit", "adafactor": "adafactor", "sgd": "sgd", "lion_32bit": "lion",
    "lion": "lion", "lion_8bit": "lion_8bit", "paged_lion_8bit": "paged_lion_8bit",
}  # fmt: skip
"""transformers' names (5.23: training_args.py, OptimizerNames, and names dropped since) -> the recipe's."""
ATTENTION: dict[str, str] = {
    "flash_attention_2": "flash2", "flash_attention_3": "flash2", "kernels-community/flash-attn2": "flash2",
    "kernels-community/flash-attn3": "flash2", "kernels-community/flash-attn": "flash2",
    "kernels-community/vllm-flash-attn3": "flash2", "sdpa": "sdpa", "eager": "eager",
}  # fmt: skip
"""attn_implementation -> the recipe's name. Flash attention 3 saves what 2 saves."""
DTYPES: dict[str, str | None] = {
    "bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "bf16": "bf16", "fp16": "fp16", "fp32": "fp32",
    "half": "fp16", "float": "fp32", AUTO: None,
}  # fmt: skip
"""`auto` leaves it to the checkpoint, so open."""
_NOT_DESCRIBED = {
    "activation_offloading": "activations moved to the host are not described: they stay on the card here",
    "auto_find_batch_size": "the batch may shrink by itself; the figures are for the one written",
    "parallelism_config": "tensor, context and sequence parallelism are not described",
    "optim_target_modules": "optimizers for some modules only are not described",
}


def read_trainer(document: Document, keys: Keys) -> tuple[Part, SourceFile]:
    """transformers' TrainingArguments, YAML or what `to_json_string` writes."""
    part = Part(kind="TrainingArguments", document=document)
    trainer(part, keys)
    part.default(VERSION, stack="hf-trainer", batch=8, checkpointing=False, autocast="none")
    return part, part.file(keys, ("transformers",))


def trainer(part: Part, keys: Keys) -> None:
    """What TrainingArguments say; their defaults are left to the caller, since tools change them."""
    for key, knob in (("per_gpu_train_batch_size", "batch"), ("per_device_train_batch_size", "batch")):
        part.tell(knob, keys.count(key), keys, key)
    part.tell("grad_accum", keys.count("gradient_accumulation_steps"), keys, "gradient_accumulation_steps")
    tell_optimizer(part, keys, "optim")
    tell_mixed_precision(part, keys)
    _checkpointing(part, keys)
    _stack(part, keys)
    tell_deepspeed(part, keys, "deepspeed")
    tell_fsdp(part, keys, "fsdp", "fsdp_config")
    for key, why in _NOT_DESCRIBED.items():
        if keys.raw(key):
            part.warn(keys, key, why)
    if keys.number("label_smoothing_factor"):
        part.warn(keys, "label_smoothing_factor", "label smoothing works on whole logits, which is not described")


def tell_optimizer(part: Part, keys: Keys, key: str) -> None:
    """An optimizer by transformers' name; one that the recipe does not know stays unsettled."""
    name = keys.word(key)
    if name is None:
        return
    arguments = keys.raw("optim_args")
    if name == "sgd" and "momentum" in str(arguments or ""):
        part.tell("optimizer", "sgd_momentum", keys, key)
    elif name in OPTIMIZERS:
        part.tell("optimizer", OPTIMIZERS[name], keys, key)
    else:
        part.doubt(("optimizer",), f"{keys.where(key)}: optimizer {name!r} is not described")


def tell_mixed_precision(part: Part, keys: Keys) -> None:
    """`bf16` and `fp16`: the type of autocast. transformers refuses both at once."""
    bf16, fp16 = keys.flag("bf16"), keys.flag("fp16")
    if bf16 and fp16:
        part.doubt(("autocast",), f"{keys.where('bf16')} and fp16 are both true")
    elif bf16 or fp16:
        part.tell("autocast", "bf16" if bf16 else "fp16", keys, "bf16" if bf16 else "fp16")
    elif bf16 is False:
        part.tell("autocast", "none", keys, "bf16")


def _checkpointing(part: Part, keys: Keys) -> None:
    for key in ("gradient_checkpointing", "activation_checkpointing"):
        part.tell("checkpointing", keys.flag(key), keys, key)
        options = keys.raw(f"{key}_kwargs")
        if not isinstance(options, dict):
            continue
        for option, why in (
            ("offload", "checkpoints on the host are not described: they stay on the card here"),
            ("selective", "selective checkpointing is not described: every layer is recomputed whole here"),
            ("every_n_layers", "checkpointing of some layers is not described: every layer is a checkpoint here"),
        ):
            if options.get(option) not in (None, False, 1):
                part.warnings.append(f"{keys.where(f'{key}_kwargs')}: {why}")


def _stack(part: Part, keys: Keys) -> None:
    """Liger's kernels and torch.compile make another stack."""
    liger = keys.flag("use_liger_kernel") or keys.flag("use_liger")
    if liger:
        part.tell("stack", "liger", keys, "use_liger_kernel")
    if keys.flag("torch_compile"):
        part.warn(keys, "torch_compile", "compiled kernels hold less; `--stack STACK+compile` describes them")


def tell_attention(part: Part, keys: Keys, key: str) -> None:
    name = keys.word(key)
    if name is None:
        return
    base = name.partition(":")[0].partition("@")[0]
    if base in ATTENTION:
        part.tell("attention", ATTENTION[base], keys, key)
    else:
        part.doubt(("attention",), f"{keys.where(key)}: attention {name!r} is not described")


def tell_dtype(part: Part, keys: Keys, key: str, *, knob: str = "dtype") -> None:
    """A dtype by torch's name; `auto` leaves it to the checkpoint, so open, and no default of a tool holds."""
    name = keys.word(key)
    if name is None:
        return
    word = name.removeprefix("torch.")
    if word not in DTYPES:
        raise keys.wrong(key, "one of " + ", ".join(DTYPES))
    if DTYPES[word] is None:
        part.open.add(knob)
    part.tell(knob, DTYPES[word], keys, key)
