"""Recipe -> the real model: transformers, bitsandbytes, PEFT, preparation for k-bit training, checkpointing.

One path for every device: `device` is where tensors go, and inside a `FakeTensorMode` they have no storage.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from vramplan.errors import UnsupportedError
from vramplan.recipe import ResolvedRecipe

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
ATTENTION_TARGETS = (
    "q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "c_attn", "c_proj", "query_key_value", "dense", "Wqkv",
    "out_proj", "W_pack", "wqkv", "wo", "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj",
)  # fmt: skip


def build_config(raw: Mapping[str, Any], layers: int | None = None) -> Any:
    """A transformers config from the figures of a `config.json`; `layers` replaces the depth."""
    from transformers import AutoConfig

    figures = dict(raw)
    model_type = figures.pop("model_type", None)
    if not isinstance(model_type, str):
        raise UnsupportedError("the config has no model_type, so no class of transformers builds it")
    try:
        config = AutoConfig.for_model(model_type, **figures)
    except ValueError as error:
        raise UnsupportedError(f"transformers has no model of type {model_type!r} (remote code is not run)") from error
    if layers is not None:
        _set_depth(config, layers)
    return config


def depth(config: Any) -> int:
    return int(config.get_text_config().num_hidden_layers)


def _set_depth(config: Any, layers: int) -> None:
    text = config.get_text_config()
    text.num_hidden_layers = layers
    for name in ("layer_types", "attention_layers", "mlp_layer_types"):
        kinds = getattr(text, name, None)
        if isinstance(kinds, (list, tuple)):
            setattr(text, name, list(kinds)[:layers])


def build_base(config: Any, recipe: ResolvedRecipe, device: torch.device) -> nn.Module:
    """The causal language model with weights of `recipe.dtype`, quantised one matrix at a time if the recipe says so."""
    from transformers import AutoModelForCausalLM

    implementation = "eager" if recipe.attention == "eager" else "sdpa"
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(
            config, dtype=DTYPES[recipe.dtype], attn_implementation=implementation
        )
    if recipe.quantizes:
        _replace_linears(model, recipe)
    _materialize(model, DTYPES[recipe.dtype], device)
    return model


def _replace_linears(model: Any, recipe: ResolvedRecipe) -> None:
    """Every linear layer but the head -> Linear4bit, through transformers' own replacement."""
    from transformers import BitsAndBytesConfig
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear
    from transformers.quantizers.base import get_keys_to_not_convert

    if recipe.quant == "int8":
        raise UnsupportedError("the rig does not build int8 bases yet")
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=recipe.quant.removesuffix("-dq"),
        bnb_4bit_use_double_quant=recipe.quant.endswith("-dq"),
        bnb_4bit_compute_dtype=DTYPES[recipe.dtype] if recipe.dtype != "fp32" else torch.bfloat16,
    )
    replace_with_bnb_linear(model, get_keys_to_not_convert(model), settings)
    model.is_loaded_in_4bit = True
    model.is_quantized = True


def _materialize(model: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
    """Give every parameter and buffer memory on the device, in the order of loading; quantise where the module does."""
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            if id(parameter) not in made:
                made[id(parameter)] = _loaded(parameter, dtype, device)
            module._parameters[name] = made[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty_like(buffer, device=device)


def _loaded(parameter: Any, dtype: torch.dtype, device: torch.device) -> Any:
    if not hasattr(parameter, "quant_type"):
        return nn.Parameter(torch.empty_like(parameter, device=device), requires_grad=parameter.requires_grad)
    import bitsandbytes as bnb

    module = parameter.module
    weight = torch.empty((module.out_features, module.in_features), dtype=dtype, device=device)
    return bnb.nn.Params4bit(
        weight,
        requires_grad=False,
        compress_statistics=parameter.compress_statistics,
        quant_type=parameter.quant_type,
        module=module,
    ).to(device)


def target_modules(targets: str, model: nn.Module) -> str | list[str]:
    """PEFT's `target_modules` for `all-linear`, `attention` or a list of names."""
    if targets == "all-linear":
        return targets
    leaves = {name.rpartition(".")[2] for name, module in model.named_modules() if not list(module.children())}
    if targets == "attention":
        chosen = [name for name in ATTENTION_TARGETS if name in leaves]
        if {"q_proj", "query_key_value"} & set(chosen):
            chosen = [name for name in chosen if name not in ("c_proj",)]
        if "query_key_value" not in chosen:
            chosen = [name for name in chosen if name != "dense"]
    else:
        chosen = re.split(r"\s*,\s*", targets)
        missing = [name for name in chosen if name not in leaves]
        if missing:
            raise UnsupportedError(f"target {missing[0]!r} matches no module of this model")
    if not chosen:
        raise UnsupportedError(f"targets {targets!r} match no module of this model")
    return chosen


def add_adapters(model: Any, recipe: ResolvedRecipe) -> Any:
    """LoRA through PEFT; the adapter's type is PEFT's default (fp32) unless the recipe has another."""
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        r=int(recipe.rank),
        lora_alpha=2 * int(recipe.rank),
        lora_dropout=recipe.lora_dropout,
        target_modules=target_modules(recipe.targets, model),
        task_type="CAUSAL_LM",
    )
    wrapped = get_peft_model(model, settings, autocast_adapter_dtype=recipe.adapter_dtype == "fp32")
    wanted = DTYPES[recipe.adapter_dtype]
    for parameter in wrapped.parameters():
        if parameter.requires_grad and parameter.dtype != wanted:
            parameter.data = parameter.data.to(wanted)
    return wrapped


def build_model(config: Any, recipe: ResolvedRecipe, device: torch.device, *, reentrant: bool = False) -> Any:
    """The model as the loop trains it; `reentrant` picks the older way of checkpointing."""
    model: Any = build_base(config, recipe, device)
    if recipe.kbit_prep:
        from peft import prepare_model_for_kbit_training

        # PEFT alone would checkpoint the reentrant way; transformers.Trainer and careful loops ask for the other.
        model = prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=recipe.checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": reentrant},
        )
    elif recipe.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
        if recipe.has_adapters:
            model.enable_input_require_grads()
    if recipe.has_adapters:
        model = add_adapters(model, recipe)
    model.train()
    return model
