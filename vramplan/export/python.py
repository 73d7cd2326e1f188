"""A script that trains with TRL and PEFT (trl 1.16, peft 0.21, transformers 5.23)."""

from __future__ import annotations

import json
from typing import Any

from .names import DTYPES, FSDP_TABLE, MOMENTUM, OPTIMIZERS, ZERO, Plan, deepspeed_table

NAME = "train.py"
RUN = "python {name}, or accelerate launch {name}"
WHY = {
    "loss": "TRL computes its own, chunked loss",
    "quant": "the script quantises with bitsandbytes; GPTQ weights come with their checkpoint",
    "attention": "torch picks the kernel behind sdpa",
}


class Code(str):
    """An expression, written as it is."""

    __slots__ = ()


class Script:
    """The lines of a script."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def write(plan: Plan) -> Script:
    r = plan.recipe
    prepares = r.kbit_prep and r.quantizes
    lines = _imports(plan, prepares)
    dataset = plan.schedule.dataset
    lines += ["", f"MODEL = {_shown(plan.model_name)}"]
    lines += [f"DATASET = {_shown(dataset)}" if dataset else 'DATASET = "your/dataset"  # fill in']
    lines += _table("DEEPSPEED", deepspeed_table(ZERO[r.sharding])) if r.sharding in ZERO else []
    lines += _table("FSDP", FSDP_TABLE) if r.sharding == "fsdp" else []
    casts = r.has_adapters and r.adapter_dtype != _trl_adapter_dtype(plan)
    if casts:
        lines.append(f"ADAPTER_DTYPE = torch.{DTYPES[r.adapter_dtype]}")
    if plan.bits:
        lines += ["", "", "def quantization():", '    """How the frozen weights are held."""']
        lines += _call("return BitsAndBytesConfig", _bits(plan))
    lines += ["", "", "def load_model():", '    """The base model."""']
    lines += _call("model = AutoModelForCausalLM.from_pretrained", _loading(plan), first="MODEL")
    if prepares:
        lines.append(
            f"    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing={r.checkpointing})"
        )
    lines += ["    return model", "", "", "def training_arguments():", '    """How it is trained."""']
    lines += _call("return SFTConfig", _arguments(plan))
    if r.has_adapters:
        lines += ["", "", "def adapters():", '    """What is trained beside the base model."""']
        lines += _call("return LoraConfig", _lora(plan))
    return Script([*lines, *_main(plan, casts)])


def _imports(plan: Plan, prepares: bool) -> list[str]:
    r = plan.recipe
    peft = ["LoraConfig"] if r.has_adapters else []
    peft += ["prepare_model_for_kbit_training"] if prepares else []
    lines = ["import os", ""] if plan.bits else []
    models = "AutoModelForCausalLM, BitsAndBytesConfig" if plan.bits else "AutoModelForCausalLM"
    lines += ["import torch", "from datasets import load_dataset"]
    lines += [f"from peft import {', '.join(peft)}"] if peft else []
    return [*lines, f"from transformers import {models}", "from trl import SFTConfig, SFTTrainer"]


def _loading(plan: Plan) -> dict[str, Any]:
    r = plan.recipe
    options: dict[str, Any] = {"dtype": Code(f"torch.{DTYPES[r.dtype]}"), "attn_implementation": plan.attention}
    if plan.bits:
        options["quantization_config"] = Code("quantization()")
        options["device_map"] = Code('{"": int(os.environ.get("LOCAL_RANK", "0"))}')
    return options


def _bits(plan: Plan) -> dict[str, Any]:
    r = plan.recipe
    if not plan.four_bit:
        return {"load_in_8bit": True}
    compute = r.autocast if r.autocast != "none" else r.dtype
    return {
        "load_in_4bit": True, "bnb_4bit_quant_type": plan.quant_type, "bnb_4bit_use_double_quant": plan.double_quant,
        "bnb_4bit_compute_dtype": Code(f"torch.{DTYPES[compute]}"),
    }  # fmt: skip


def _arguments(plan: Plan) -> dict[str, Any]:
    r = plan.recipe
    options: dict[str, Any] = {
        "output_dir": "output",
        "per_device_train_batch_size": int(r.batch),
        "gradient_accumulation_steps": r.grad_accum,
        "max_length": int(r.seq_len),
        "optim": OPTIMIZERS[r.optimizer],
        "learning_rate": plan.learning_rate,
        "gradient_checkpointing": r.checkpointing,
        "bf16": r.autocast == "bf16",
        "fp16": r.autocast == "fp16",
    }
    if r.optimizer == "sgd_momentum":
        options["optim_args"] = MOMENTUM
    if plan.liger:
        options["use_liger_kernel"] = True
    if r.sharding in ZERO:
        options["deepspeed"] = Code("DEEPSPEED")
    elif r.sharding == "fsdp":
        options |= {"fsdp": True, "fsdp_config": Code("FSDP")}
    if plan.schedule.steps is not None:
        return options | {"max_steps": plan.schedule.steps}
    return options | {"num_train_epochs": float(plan.schedule.epochs or 1)}


def _lora(plan: Plan) -> dict[str, Any]:
    r = plan.recipe
    return {
        "r": int(r.rank), "lora_alpha": plan.alpha, "lora_dropout": float(r.lora_dropout),
        "target_modules": plan.targets(), "task_type": "CAUSAL_LM",
    }  # fmt: skip


def _trl_adapter_dtype(plan: Plan) -> str:
    """bf16 beside quantised weights, else fp32 (trl 1.16: sft_trainer.py)."""
    return "bf16" if plan.recipe.quantizes else "fp32"


def _call(head: str, options: dict[str, Any], first: str = "") -> list[str]:
    lines = [f"    {head}("] + ([f"        {first},"] if first else [])
    return [*lines, *(f"        {key}={_shown(value)}," for key, value in options.items()), "    )"]


def _table(name: str, table: dict[str, Any]) -> list[str]:
    return [f"{name} = {{", *(f"    {_shown(key)}: {_shown(value)}," for key, value in table.items()), "}"]


def _shown(value: object) -> str:
    """The value as Python reads it, text in double quotes."""
    if isinstance(value, Code) or not isinstance(value, str | dict | list):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_shown(key)}: {_shown(held)}" for key, held in value.items()) + "}"
    return json.dumps(value)


def _main(plan: Plan, casts: bool) -> list[str]:
    peft = ", peft_config=adapters()" if plan.recipe.has_adapters else ""
    lines = ["", "", "def build_trainer(dataset):", '    """Model, adapters and arguments together."""']
    lines += ["    args = training_arguments()  # before the model, which ZeRO-3 splits while it is loaded"]
    lines += [f"    trainer = SFTTrainer(model=load_model(), args=args, train_dataset=dataset{peft})"]
    if casts:
        lines += [
            "    for parameter in trainer.model.parameters():",
            "        if parameter.requires_grad:",
            "            parameter.data = parameter.data.to(ADAPTER_DTYPE)",
        ]
    return [
        *lines,
        "    return trainer",
        "",
        "",
        'if __name__ == "__main__":',
        '    trainer = build_trainer(load_dataset(DATASET, split="train"))',
        "    trainer.train()",
        "    trainer.save_model()",
    ]
