"""`llamafactory-cli train FILE` (llamafactory 0.9.5: hparams)."""

from __future__ import annotations

from . import trainer_yaml
from .names import Plan
from .yaml_text import YamlText

NAME = "llama-factory.yaml"
RUN = "llamafactory-cli train {name}"
WHY = {
    "loss": "LLaMA-Factory has the standard loss, and Liger's with all of its kernels",
    "dtype": "LLaMA-Factory trains fp32 weights unless pure_bf16, and freezes weights in the type it computes in",
    "autocast": "LLaMA-Factory's precision sets weights and autocast together",
    "adapter_dtype": "LLaMA-Factory trains adapters in fp32",
    "kbit_prep": "LLaMA-Factory never calls prepare_model_for_kbit_training",
    "quant": "LLaMA-Factory quantises with bitsandbytes here; GPTQ weights come with their checkpoint",
    "attention": "torch picks the kernel behind sdpa",
}
_ATTENTION = {"flash2": "fa2", "eager": "disabled"}


def write(plan: Plan) -> YamlText:
    r, text = plan.recipe, YamlText()
    text.section("Model")
    text.add("model_name_or_path", plan.model_name)
    text.add("flash_attn", _ATTENTION.get(r.attention, "sdpa"))
    if plan.four_bit:
        text.add("quantization_bit", 4)
        text.add("quantization_type", plan.quant_type)
        text.add("double_quantization", plan.double_quant)
    elif r.quant == "int8":
        text.add("quantization_bit", 8)
    text.section("Method")
    text.add("stage", "sft")
    text.add("do_train", True)
    text.add("finetuning_type", "lora" if r.has_adapters else "full")
    if r.has_adapters:
        text.add("lora_rank", int(r.rank))
        text.add("lora_alpha", plan.alpha, "assumed")
        text.add("lora_dropout", float(r.lora_dropout))
        targets = plan.targets()
        text.add("lora_target", "all" if targets == "all-linear" else ",".join(targets))
    text.section("Training")
    trainer_yaml.batch_and_optimizer(text, plan)
    text.add("cutoff_len", int(r.seq_len))
    text.add("disable_gradient_checkpointing", not r.checkpointing)
    text.add("use_reentrant_gc", False)
    _precision(text, plan)
    if plan.liger:
        text.add("enable_liger_kernel", True)
    elif r.stack.partition("+")[0] == "unsloth":
        text.add("use_unsloth", True)
    trainer_yaml.sharding(text, plan)
    trainer_yaml.schedule(text, plan)
    text.section("Data and output: not planned by vramplan")
    dataset = plan.schedule.dataset
    text.add("dataset", dataset or "your_dataset", "" if dataset else "fill in: a name of data/dataset_info.json")
    text.add("template", "default", "fill in: the model's chat template")
    text.add("output_dir", "output")
    return text


def _precision(text: YamlText, plan: Plan) -> None:
    """Full fine-tuning: fp32 weights, or bf16 ones with pure_bf16. Adapters: weights in the type of autocast, or bf16
    without autocast."""
    r = plan.recipe
    text.add("bf16", r.autocast == "bf16")
    text.add("fp16", r.autocast == "fp16")
    if r.dtype == "bf16" and (r.method == "full" or r.autocast == "none"):
        text.add("pure_bf16", True)
