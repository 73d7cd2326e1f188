"""`accelerate launch --config_file FILE` (accelerate 1.15: commands/config/config_args.py). A launcher's file: how many
processes, how they share the work, in which precision; the recipe itself belongs to the trainer's file."""

from __future__ import annotations

from typing import cast

from .names import FSDP_TABLE, ZERO, Plan
from .yaml_text import Value, YamlText

NAME = "accelerate.yaml"
RUN = "accelerate launch --config_file {name} SCRIPT"
SAYS = ("gpus", "sharding")
"""Knobs that this file decides; of the precision, the trainer's own file has the last word."""
WHY = {"sharding": "one process shares nothing, and several without sharding are DDP"}


def write(plan: Plan) -> YamlText:
    r, text = plan.recipe, YamlText()
    text.section("Processes")
    kind = "DEEPSPEED" if r.sharding in ZERO else "FSDP" if r.sharding == "fsdp" else "MULTI_GPU"
    text.add("compute_environment", "LOCAL_MACHINE")
    text.add("distributed_type", "NO" if kind == "MULTI_GPU" and plan.gpus == 1 else kind)
    text.add("num_machines", 1, "assumed: one machine")
    text.add("machine_rank", 0)
    text.add("num_processes", plan.gpus, "one a GPU")
    text.add("mixed_precision", {"none": "no"}.get(r.autocast, r.autocast))
    if kind == "DEEPSPEED":
        table = {
            "zero_stage": ZERO[r.sharding], "gradient_accumulation_steps": r.grad_accum,
            "offload_optimizer_device": "none", "offload_param_device": "none",
            "zero3_init_flag": r.sharding == "zero3",
        }  # fmt: skip
        text.add("deepspeed_config", cast(Value, table))
    elif kind == "FSDP":
        text.add("fsdp_config", cast(Value, {f"fsdp_{key}": value for key, value in FSDP_TABLE.items()}))
    text.add("main_training_function", "main")
    text.add("use_cpu", False)
    return text
