"""The keys of TrainingArguments, which TRL and LLaMA-Factory share."""

from __future__ import annotations

from typing import cast

from .names import FSDP_TABLE, MOMENTUM, OPTIMIZERS, ZERO, Plan, deepspeed_table
from .yaml_text import Value, YamlText


def batch_and_optimizer(text: YamlText, plan: Plan) -> None:
    r = plan.recipe
    text.add("per_device_train_batch_size", int(r.batch))
    text.add("gradient_accumulation_steps", r.grad_accum)
    text.add("optim", OPTIMIZERS[r.optimizer])
    if r.optimizer == "sgd_momentum":
        text.add("optim_args", MOMENTUM)
    text.add("learning_rate", plan.learning_rate, "assumed; moves neither memory nor time")


def schedule(text: YamlText, plan: Plan) -> None:
    if plan.schedule.steps is not None:
        text.add("max_steps", plan.schedule.steps)
    else:
        epochs = plan.schedule.epochs
        text.add("num_train_epochs", 1.0 if epochs is None else float(epochs), "assumed" if epochs is None else "")


def sharding(text: YamlText, plan: Plan) -> None:
    kind = plan.recipe.sharding
    if kind in ZERO:
        text.add("deepspeed", cast(Value, deepspeed_table(ZERO[kind])))
    elif kind == "fsdp":
        text.add("fsdp", True)
        text.add("fsdp_config", cast(Value, FSDP_TABLE))
