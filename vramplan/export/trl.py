"""`trl sft --config FILE` (trl 1.16: scripts/sft.py; SFTConfig, ModelConfig)."""

from __future__ import annotations

from . import trainer_yaml
from .names import DTYPES, Plan
from .yaml_text import YamlText

NAME = "trl-sft.yaml"
RUN = "trl sft --config {name}"
WHY = {
    "loss": "TRL computes its own, chunked loss",
    "adapter_dtype": "TRL keeps adapters of a quantised model in bf16, others in fp32",
    "kbit_prep": "TRL never calls prepare_model_for_kbit_training",
    "quant": "TRL quantises with bitsandbytes; GPTQ weights come with their checkpoint",
    "attention": "torch picks the kernel behind sdpa",
}


def write(plan: Plan) -> YamlText:
    r, text = plan.recipe, YamlText()
    text.section("Model")
    text.add("model_name_or_path", plan.model_name)
    text.add("dtype", DTYPES[r.dtype], "TRL's own default is float32")
    text.add("attn_implementation", plan.attention)
    if plan.four_bit:
        text.add("load_in_4bit", True)
        text.add("bnb_4bit_quant_type", plan.quant_type)
        text.add("use_bnb_nested_quant", plan.double_quant)
    elif r.quant == "int8":
        text.add("load_in_8bit", True)
    if r.has_adapters:
        text.section("LoRA")
        text.add("use_peft", True)
        text.add("lora_r", int(r.rank))
        text.add("lora_alpha", plan.alpha, "assumed")
        text.add("lora_dropout", float(r.lora_dropout))
        text.add("lora_target_modules", plan.targets())
    text.section("Training")
    trainer_yaml.batch_and_optimizer(text, plan)
    text.add("max_length", int(r.seq_len))
    text.add("gradient_checkpointing", r.checkpointing)
    text.add("bf16", r.autocast == "bf16")
    text.add("fp16", r.autocast == "fp16")
    if plan.liger:
        text.add("use_liger_kernel", True)
    trainer_yaml.sharding(text, plan)
    trainer_yaml.schedule(text, plan)
    text.section("Data and output: not planned by vramplan")
    dataset = plan.schedule.dataset
    text.add("dataset_name", dataset or "your/dataset", "" if dataset else "fill in")
    text.add("output_dir", "output")
    return text
