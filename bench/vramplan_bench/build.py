"""Recipe -> the real model: transformers, bitsandbytes, PEFT, preparation for k-bit training, checkpointing.

One path for every device: `device` is where tensors go and `make` what they hold; inside a `FakeTensorMode` they have
no storage.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from vramplan.errors import UnsupportedError, VramplanError
from vramplan.families import LIBRARY_TYPES, model_from_config
from vramplan.recipe import ResolvedRecipe
from vramplan.step.setting import target_names

from .attention import implementation_name
from .loading import MakeTensor, causal_lm_class, lazy_state_dict, synchronous_loading

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def build_config(raw: Mapping[str, Any], layers: int | None = None) -> Any:
    """A transformers config from the figures of a `config.json`; `layers` replaces the depth."""
    from transformers import AutoConfig

    figures = dict(raw)
    model_type = str(figures.pop("model_type", ""))
    if not model_type:
        raise UnsupportedError("the config has no model_type, so no class of transformers builds it")
    try:
        config = AutoConfig.for_model(LIBRARY_TYPES.get(model_type, model_type), **figures)
    except ValueError as error:
        raise UnsupportedError(f"transformers has no model of type {model_type!r}; remote code is not run") from error
    if layers is not None:
        set_depth(config, layers)
    return config


def depth_of(config: Any) -> int:
    return int(config.get_text_config().num_hidden_layers)


def set_depth(config: Any, layers: int) -> None:
    """Cut or extend the stack of layers; lists with one entry a layer follow."""
    text = config.get_text_config()
    before = int(text.num_hidden_layers)
    text.num_hidden_layers = layers
    for name, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == before and before > 1:
            setattr(text, name, (value * layers)[:layers] if layers > before else value[:layers])


def build_base(config: Any, recipe: ResolvedRecipe, device: torch.device, make: MakeTensor) -> Any:
    """The causal language model with weights of `recipe.dtype`, quantised one by one if the recipe says so."""
    model_class = causal_lm_class(config)
    dtype = DTYPES[recipe.dtype]
    options: dict[str, Any] = {}
    if recipe.quantizes:
        options["quantization_config"] = _quantization(recipe)
    with synchronous_loading(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model_class.from_pretrained(
            None,
            config=config,
            state_dict=lazy_state_dict(model_class, config, dtype, make),
            dtype=dtype,
            attn_implementation=implementation_name(recipe.attention, model_class),
            device_map={"": device},
            **options,
        )


def _quantization(recipe: ResolvedRecipe) -> Any:
    try:
        import bitsandbytes  # noqa: F401  (named in the error)
    except ImportError as error:
        raise UnsupportedError("quantised weights need bitsandbytes: pip install 'vramplan[bench]'") from error
    from transformers import BitsAndBytesConfig

    if recipe.quant == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    if recipe.quant.startswith("gptq"):
        raise UnsupportedError("the rig quantises with bitsandbytes: no GPTQ")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=recipe.quant.removesuffix("-dq"),
        bnb_4bit_use_double_quant=recipe.quant.endswith("-dq"),
        bnb_4bit_compute_dtype=DTYPES[recipe.dtype],
    )


def target_modules(raw: Mapping[str, Any], targets: str, model: nn.Module) -> list[str] | str:
    """PEFT's `target_modules`: the names that the planner's own description of the model gives."""
    if targets == "all-linear":
        return targets
    names: Iterable[str]
    try:
        names = target_names(model_from_config(raw, id="the model"), targets)
    except UnsupportedError:
        names = targets.split(",")
    leaves = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    missing = [name for name in names if name not in leaves]
    if missing:
        raise VramplanError(f"targets: {missing[0]!r} matches no module of this model")
    return sorted(names)


def add_adapters(model: Any, raw: Mapping[str, Any], recipe: ResolvedRecipe) -> Any:
    """LoRA through PEFT; the adapter's type is PEFT's default (fp32) unless the recipe has another."""
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(
        r=int(recipe.rank),
        lora_alpha=2 * int(recipe.rank),
        lora_dropout=recipe.lora_dropout,
        target_modules=target_modules(raw, recipe.targets, model),
        task_type="CAUSAL_LM",
    )
    wrapped = get_peft_model(model, settings, autocast_adapter_dtype=recipe.adapter_dtype == "fp32")
    wanted = DTYPES[recipe.adapter_dtype]
    for parameter in wrapped.parameters():
        if parameter.requires_grad and parameter.dtype != wanted:
            parameter.data = parameter.data.to(wanted)
    return wrapped


def prepare(model: Any, recipe: ResolvedRecipe, *, reentrant: bool) -> Any:
    """k-bit preparation and checkpointing, as the recipe says; `reentrant` is checkpointing's older way."""
    way = {"use_reentrant": reentrant}
    if recipe.kbit_prep:
        from peft import prepare_model_for_kbit_training

        return prepare_model_for_kbit_training(
            model, use_gradient_checkpointing=recipe.checkpointing, gradient_checkpointing_kwargs=way
        )
    if recipe.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=way)
        if recipe.has_adapters:
            model.enable_input_require_grads()
    return model
