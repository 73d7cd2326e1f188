"""Who starts the processes and shares the work: accelerate and DeepSpeed configurations, FSDP and DeepSpeed keys."""

from __future__ import annotations

import os
import re

from ..errors import UnsupportedError
from .document import Document
from .keys import AUTO, Keys
from .part import Part, Told
from .result import SourceFile

_STRATEGIES = {
    "FULL_SHARD": "fsdp", "1": "fsdp", "SHARD_GRAD_OP": "zero2", "2": "zero2", "NO_SHARD": "ddp", "3": "ddp",
    "TRUE": "fsdp", "FALSE": "zero2",
}  # fmt: skip
"""FSDP's sharding strategies (1) and `reshard_after_forward` (2) -> the recipe's names. Without resharding, parameters
stay whole between forward and backward, as with ZeRO-2 (torch.distributed.fsdp, ShardingStrategy)."""
_SHIPPED = re.compile(r"(?:^|/)deepspeed_configs/zero([123])\w*\.json$|(?:^|/)deepspeed/ds_z([0123])\w*_config\.json$")
"""axolotl 0.19: deepspeed_configs; LLaMA-Factory 0.9.5: examples/deepspeed."""
_STAGES = {0: "ddp", 1: "zero1", 2: "zero2", 3: "zero3"}


def read_accelerate(document: Document, keys: Keys) -> tuple[Part, SourceFile]:
    """What `accelerate config` writes (accelerate 1.15: commands/config/config_args.py, ClusterConfig)."""
    part = Part(kind="accelerate", document=document)
    kind = keys.values.get("distributed_type")  # an unquoted NO is False in YAML
    keys.asked.add("distributed_type")
    name = "NO" if kind in (False, None) else str(kind).upper()
    processes = keys.count("num_processes")
    if name == "NO":
        part.tell("gpus", 1, keys, "distributed_type")
        part.tell("sharding", "none", keys, "distributed_type")
    elif name in ("MULTI_GPU", "FSDP", "DEEPSPEED"):
        part.tell("gpus", processes, keys, "num_processes")
        if name == "MULTI_GPU":
            part.tell("sharding", "ddp" if processes != 1 else "none", keys, "distributed_type")
    else:
        raise UnsupportedError(f"{keys.where('distributed_type')}: {name!r} is not described")
    if (fsdp := keys.table("fsdp_config")) is not None and name == "FSDP":
        _fsdp(part, fsdp)
    if (deepspeed := keys.table("deepspeed_config")) is not None and name == "DEEPSPEED":
        _accelerate_deepspeed(part, deepspeed)
    precision = keys.word("mixed_precision")
    if precision in ("bf16", "fp16"):
        # holds where the trainer's own keys are silent
        part.defaults["autocast"] = Told(precision, keys.where("mixed_precision"))
    elif precision == "fp8":
        part.warn(keys, "mixed_precision", "fp8 is not described")
    return part, part.file(keys, ("accelerate",))


def _accelerate_deepspeed(part: Part, keys: Keys) -> None:
    stage = keys.number("zero_stage")
    if stage is not None:
        _tell_stage(part, keys, "zero_stage", stage)
    part.tell("grad_accum", keys.count("gradient_accumulation_steps"), keys, "gradient_accumulation_steps")
    path = keys.word("deepspeed_config_file")
    if path:
        part.references.append(("sharding", path))
    for key in ("offload_optimizer_device", "offload_param_device"):
        if keys.word(key) not in (None, "none", AUTO):
            part.warn(keys, key, "offloading is not described: states and weights stay on the card here")


def _tell_stage(part: Part, keys: Keys, key: str, stage: float) -> None:
    if stage not in _STAGES:
        raise keys.wrong(key, "a ZeRO stage from 0 to 3")
    part.tell("sharding", _STAGES[int(stage)], keys, key)


def read_deepspeed(document: Document, keys: Keys) -> tuple[Part, SourceFile]:
    """A DeepSpeed configuration (deepspeed 0.19: runtime/config.py). `auto` leaves a key to the trainer."""
    part = Part(kind="DeepSpeed", document=document)
    deepspeed(part, keys)
    return part, part.file(keys, ("deepspeed",))


def deepspeed(part: Part, keys: Keys) -> None:
    part.tell("batch", keys.count("train_micro_batch_size_per_gpu"), keys, "train_micro_batch_size_per_gpu")
    part.tell("grad_accum", keys.count("gradient_accumulation_steps"), keys, "gradient_accumulation_steps")
    part.tell("train_batch", keys.count("train_batch_size"), keys, "train_batch_size")
    zero = keys.table("zero_optimization")
    stage = zero.number("stage") if zero else 0.0
    if zero is not None:
        _tell_stage(part, zero, "stage", stage or 0.0)
        for key in ("offload_optimizer", "offload_param"):
            table = zero.raw(key)
            if isinstance(table, dict) and table.get("device") not in (None, "none"):
                part.warn(zero, key, "offloading is not described: states and weights stay on the card here")
    for key, name in (("bf16", "bf16"), ("bfloat16", "bf16"), ("fp16", "fp16")):
        table = keys.raw(key)
        if isinstance(table, dict) and table.get("enabled") is True:
            part.tell("autocast", name, keys, key)


def tell_deepspeed(part: Part, keys: Keys, key: str) -> None:
    """A trainer's `deepspeed`: a table, or the path of one. Files that axolotl and LLaMA-Factory ship are known by
    name; others are read where they exist."""
    value = keys.raw(key)
    if isinstance(value, dict):
        deepspeed(part, Keys(part.document, value, (*keys.at, key)))
    elif value is not None:
        path = keys.word(key) or ""
        shipped = _SHIPPED.search(path)
        if shipped and near(part.document, path) is None:
            _tell_stage(part, keys, key, int(shipped[1] or shipped[2]))
            if "offload" in path:
                part.warn(keys, key, "offloading is not described: states and weights stay on the card here")
        else:
            part.references.append(("sharding", path))


def deepspeed_files(document: Document) -> list[str]:
    """Paths of DeepSpeed configurations that a trainer's or a launcher's file names."""
    inner = document.values.get("deepspeed_config")
    paths = [document.values.get("deepspeed"), inner.get("deepspeed_config_file") if isinstance(inner, dict) else None]
    return [path for path in paths if isinstance(path, str)]


def tell_fsdp(part: Part, keys: Keys, key: str, table_key: str) -> None:
    """A trainer's `fsdp` (true, words, or a list of words) and `fsdp_config`."""
    value = keys.raw(key)
    options = keys.raw(table_key)
    on = value is True
    words = [] if isinstance(value, bool) else " ".join(keys.words(key) or ()).split()
    if words:
        strategy = next((_STRATEGIES[w.upper()] for w in words if w.upper() in _STRATEGIES), None)
        if strategy is None or any(word.startswith("hybrid") for word in words):
            part.doubt(("sharding",), f"{keys.where(key)}: sharding {' '.join(words)!r} is not described")
        else:
            part.tell("sharding", strategy, keys, key)
        if "offload" in words:
            part.warn(keys, key, "offloading is not described: weights stay on the card here")
    if isinstance(options, dict) and (words or on or key not in keys.values):
        _fsdp(part, Keys(part.document, options, (*keys.at, table_key)))
    elif on:
        part.tell("sharding", "fsdp", keys, key)


def _fsdp(part: Part, keys: Keys) -> None:
    """FSDP's own table; its keys may begin with `fsdp_`."""
    for prefix in ("fsdp_", ""):
        for name in ("sharding_strategy", "reshard_after_forward"):
            key = prefix + name
            value = keys.raw(key)
            if value is None:
                continue
            if str(value).upper() not in _STRATEGIES:
                part.doubt(("sharding",), f"{keys.where(key)}: sharding {str(value)!r} is not described")
            else:
                part.tell("sharding", _STRATEGIES[str(value).upper()], keys, key)
        if keys.flag(prefix + "offload_params"):
            part.warn(keys, prefix + "offload_params", "offloading is not described: weights stay on the card here")
        if keys.flag(prefix + "activation_checkpointing"):
            part.told["checkpointing"] = Told(True, keys.where(prefix + "activation_checkpointing"))
    part.told.setdefault("sharding", Told("fsdp", keys.document.where(*keys.at)))


def near(document: Document, path: str) -> str | None:
    """Where a file that `document` names lies: as written, or beside the document."""
    beside = os.path.join(os.path.dirname(document.path), path)
    return next((p for p in (path, beside) if os.path.isfile(p)), None)
