"""What a trainer is about to run, read back from its live objects: as much of a recipe as they tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn

from vramplan.catalog import find_gpu
from vramplan.errors import VramplanError
from vramplan.record import Effective, Request

from ..effective import read_back
from ..session import Session

_DTYPES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
_ATTENTION = {"flash_attention_2": "flash2"}
_OPTIMIZERS = {
    "adamw_torch": "adamw", "adamw_torch_fused": "adamw_fused", "adamw_bnb_8bit": "adamw_8bit",
    "paged_adamw": "paged_adamw_32bit", "lion_32bit": "lion",
}  # fmt: skip
"""Names of transformers (OptimizerNames) -> those of a recipe, where they differ."""
_ATTENTION_MATRICES = {"q_proj", "k_proj", "v_proj", "o_proj"}


def request_of(model: Any, args: Any, *, seq_len: int | None, batch: int | None, chunked: bool) -> Request:
    """The request that this job amounts to; knobs that nothing tells are left out of the recipe. `seq_len` and `batch`:
    the largest micro-batch seen; `chunked`: TRL's loss without whole logits ran."""
    base = base_of(model)
    return Request(
        model=str(getattr(base.config, "_name_or_path", "") or "unknown"),
        layers=int(getattr(base.config.get_text_config(), "num_hidden_layers", 0)),
        gpu=_card(model),
        recipe={key: value for key, value in _recipe(model, base, args, seq_len, batch, chunked) if value is not None},
    )


def base_of(model: Any) -> Any:
    """The transformers model inside PEFT's wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def effective_of(model: Any, optimizer: Any) -> Effective:
    """The configuration of the live objects, as the rig reads its own."""
    base = base_of(model)
    inner = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
    session = Session(config=base.config, base=base, model=model, optimizer=inner, runner=cast(Any, None))
    return read_back(session)


def on_cuda(model: Any) -> bool:
    """Where it trains."""
    return bool(next(model.parameters()).device.type == "cuda")


def _card(model: Any) -> str | None:
    if not on_cuda(model):
        return None
    name = torch.cuda.get_device_name()
    try:
        return find_gpu(name).key
    except VramplanError:
        return str(name)


def _recipe(
    model: Any, base: Any, args: Any, seq_len: int | None, batch: int | None, chunked: bool
) -> Iterator[tuple[str, Any]]:
    """Knob by knob, under the names of `ResolvedRecipe`."""
    adapter = next(iter(getattr(model, "peft_config", {}).values()), None)
    quant = _quant(base)
    trains_embeddings = bool(getattr(adapter, "modules_to_save", None))
    yield "method", _method(adapter, quant, trains_embeddings)
    yield "stack", "trl" if any(kind.__name__ == "SFTConfig" for kind in type(args).__mro__) else "hf-trainer"
    yield "quant", quant
    frozen = _main_dtype(p for name, p in base.named_parameters() if ".lora_" not in name)
    loaded = _short(getattr(base.config, "dtype", None)) or frozen
    yield "dtype", loaded if quant != "none" else frozen
    yield "kbit_prep", quant != "none" and frozen == "fp32" and loaded != "fp32"
    yield "autocast", "bf16" if args.bf16 else "fp16" if args.fp16 else "none"
    if adapter is not None and hasattr(adapter, "r"):
        yield "rank", adapter.r
        yield "targets", _targets(model, base)
        yield "lora_dropout", float(adapter.lora_dropout)
        yield "adapter_dtype", _main_dtype(p for name, p in model.named_parameters() if ".lora_" in name)
    name = str(getattr(args.optim, "value", args.optim))
    yield "optimizer", _OPTIMIZERS.get(name, name)
    yield "batch", batch or args.per_device_train_batch_size
    yield "seq_len", seq_len
    yield "grad_accum", args.gradient_accumulation_steps
    yield "checkpointing", any(getattr(module, "gradient_checkpointing", False) for module in base.modules())
    attention = str(getattr(base.config, "_attn_implementation", "") or "eager")
    yield "attention", _ATTENTION.get(attention, attention)
    yield "loss", "chunked" if chunked else "fused-linear" if args.use_liger_kernel else "standard"
    yield "gpus", args.world_size
    yield "sharding", _sharding(args)


def _method(adapter: Any, quant: str, trains_embeddings: bool) -> str:
    if adapter is None:
        return "full"
    kind = str(getattr(adapter.peft_type, "value", adapter.peft_type)).lower()
    if kind != "lora":
        return kind
    if getattr(adapter, "use_dora", False):
        return "dora"
    if trains_embeddings:
        return "lora+emb"
    return "lora" if quant in ("none", "int8") else "qlora"


def _quant(base: Any) -> str:
    """Format of the base weights; a format that a recipe has no word for keeps its own name."""
    settings = getattr(base.config, "quantization_config", None)
    if settings is None:
        return "none"
    asked = settings if isinstance(settings, dict) else settings.to_dict()
    if asked.get("load_in_4bit"):
        double = "-dq" if asked.get("bnb_4bit_use_double_quant") else ""
        return f"{asked.get('bnb_4bit_quant_type', 'fp4')}{double}"
    if asked.get("load_in_8bit"):
        return "int8"
    method = str(getattr(asked.get("quant_method"), "value", asked.get("quant_method")))
    return f"gptq-int{asked.get('bits')}" if method == "gptq" else method


def _main_dtype(parameters: Iterator[Any]) -> str | None:
    """The floating type that most elements have; packed weights do not count."""
    elements: Counter[str] = Counter()
    for parameter in parameters:
        if parameter.is_floating_point():
            elements[_short(parameter.dtype) or ""] += parameter.numel()
    return elements.most_common(1)[0][0] if elements else None


def _short(dtype: Any) -> str | None:
    return _DTYPES.get(str(dtype).removeprefix("torch."))


def _targets(model: Any, base: Any) -> str:
    adapted = {n.rpartition(".lora_A")[0].rpartition(".")[2] for n, _ in model.named_parameters() if ".lora_A." in n}
    head = base.get_output_embeddings()
    every = {
        name.removesuffix(".base_layer").rpartition(".")[2]
        for name, module in base.named_modules()
        if isinstance(module, nn.Linear) and module is not head and ".lora_" not in name
    }
    if adapted == every:
        return "all-linear"
    return "attention" if adapted == _ATTENTION_MATRICES else ",".join(sorted(adapted))


def _sharding(args: Any) -> str:
    if args.world_size == 1:
        return "none"
    if getattr(args, "deepspeed", None):
        return "deepspeed"
    return "fsdp" if getattr(args, "fsdp", None) else "ddp"
