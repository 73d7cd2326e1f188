"""`axolotl train FILE` (axolotl 0.19: utils/schemas/config.py, loaders/model.py)."""

from __future__ import annotations

from typing import cast

from .names import MOMENTUM, OPTIMIZERS, ZERO, Plan, deepspeed_table
from .yaml_text import Value, YamlText, scalar

NAME = "axolotl.yaml"
RUN = "axolotl train {name}"
WHY = {
    "loss": "axolotl has the standard loss, and Liger's",
    "dtype": "axolotl loads weights in the type it trains in",
    "autocast": "axolotl's bf16 and fp16 set weights and autocast together",
    "adapter_dtype": "axolotl has adapters in fp32, or in the type of the weights",
    "kbit_prep": "axolotl casts norms and embeddings back after prepare_model_for_kbit_training",
    "quant": "axolotl quantises with bitsandbytes; GPTQ weights come with their checkpoint",
    "attention": "torch picks the kernel behind sdpa",
}
_PRECISION = {
    ("bf16", "bf16"): "bf16", ("fp16", "fp16"): "fp16", ("bf16", "none"): "bfloat16", ("fp16", "none"): "float16",
}  # fmt: skip


def write(plan: Plan) -> YamlText:
    r, text = plan.recipe, YamlText()
    text.section("Model")
    text.add("base_model", plan.model_name)
    text.add("attn_implementation", plan.attention)
    if plan.four_bit:
        text.add("load_in_4bit", True)
        if r.quant != "nf4-dq":
            options = {"bnb_4bit_quant_type": plan.quant_type, "bnb_4bit_use_double_quant": plan.double_quant}
            text.add("bnb_config_kwargs", cast(Value, options))
    elif r.quant == "int8":
        text.add("load_in_8bit", True)
    if r.has_adapters:
        _adapter(text, plan)
    text.section("Training")
    text.add("sequence_len", int(r.seq_len))
    text.add("micro_batch_size", int(r.batch))
    text.add("gradient_accumulation_steps", r.grad_accum)
    text.add("optimizer", OPTIMIZERS[r.optimizer])
    if r.optimizer == "sgd_momentum":
        text.add("optim_args", MOMENTUM)
    text.add("learning_rate", plan.learning_rate, "assumed; moves neither memory nor time")
    _precision(text, plan)
    text.add("gradient_checkpointing", r.checkpointing)
    if r.checkpointing:
        text.add("gradient_checkpointing_kwargs", {"use_reentrant": False})
    _liger(text, plan)
    _sharding(text, plan)
    if plan.schedule.steps is not None:
        text.add("max_steps", plan.schedule.steps)
    else:
        text.add("num_epochs", float(plan.schedule.epochs or 1), "" if plan.schedule.epochs else "assumed")
    text.section("Data and output: not planned by vramplan")
    dataset = scalar(plan.schedule.dataset) if plan.schedule.dataset else "your/dataset  # fill in"
    text.lines += ["datasets:", f"  - path: {dataset}", "    type: chat_template  # assumed"]
    text.add("output_dir", "./output")
    return text


def _adapter(text: YamlText, plan: Plan) -> None:
    r = plan.recipe
    text.section("LoRA")
    text.add("adapter", "qlora" if plan.four_bit else "lora")
    text.add("lora_r", int(r.rank))
    text.add("lora_alpha", plan.alpha, "assumed")
    text.add("lora_dropout", float(r.lora_dropout))
    targets = plan.targets()
    if targets == "all-linear":
        text.add("lora_target_linear", True)
    else:
        text.add("lora_target_modules", targets)
    if r.adapter_dtype == r.dtype != "fp32":
        text.add("peft_autocast_adapter_dtype", False)
    for kernel in ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel"):
        text.add(kernel, False, "hold less than planned; on unless false" if kernel == "lora_mlp_kernel" else "")


def _precision(text: YamlText, plan: Plan) -> None:
    """`bf16` is `auto` unless it is said to be off."""
    key = _PRECISION.get((plan.recipe.dtype, plan.recipe.autocast))
    if key is None and plan.recipe.autocast != "none":
        key = plan.recipe.autocast
    text.add("bf16", key == "bf16")
    text.add("fp16", key == "fp16")
    if key in ("bfloat16", "float16"):
        text.add(key, True)


def _liger(text: YamlText, plan: Plan) -> None:
    loss = {"fused-linear": "liger_fused_linear_cross_entropy", "fused-ce": "liger_cross_entropy"}
    key = loss.get(plan.recipe.loss)
    if not plan.liger and key is None:
        return
    text.add("plugins", ["axolotl.integrations.liger.LigerPlugin"])
    if plan.liger:
        for name in ("liger_rope", "liger_rms_norm", "liger_glu_activation"):
            text.add(name, True)
    if key:
        text.add(key, True)


def _sharding(text: YamlText, plan: Plan) -> None:
    kind = plan.recipe.sharding
    if kind in ZERO:
        text.add("deepspeed", cast(Value, deepspeed_table(ZERO[kind])))
    elif kind == "fsdp":
        text.add("fsdp_version", 2)
        table = {
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "reshard_after_forward": True,
            "state_dict_type": "SHARDED_STATE_DICT",
        }  # fmt: skip
        text.add("fsdp_config", cast(Value, table))
