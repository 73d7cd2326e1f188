"""Reads a `Model` from the figures of a Hugging Face config.json: one function for each family of architectures.

A family's module is imported when one of its models is asked for: together they would take longer than an estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Literal

from ..errors import UnknownNameError
from ..model import Model
from .config import Config, unsupported

MODULES = {
    "experts": "ernie4_5_moe glm4_moe gpt_oss granitemoe llama4_text minimax_m2 mixtral olmoe phimoe qwen2_moe "
    "qwen3_moe",
    "fused": "glm glm4 phi3",
    "gemma": "gemma gemma2 gemma3_text gemma4_text",
    "gpt": "bloom gpt2 gpt_bigcode mpt nemotron opt starcoder2",
    "latent": "deepseek_v2 deepseek_v3 glm4_moe_lite kimi_k2",
    "llama": "apertus arcee ernie4_5 granite granitemoehybrid internlm2 llama ministral3 mistral qwen2 qwen3 seed_oss "
    "smollm3",
    "olmo": "exaone4 olmo olmo2 olmo3",
    "parallel": "cohere cohere2 falcon gpt_neox gptj phi stablelm",
}
"""Module -> the model types its READERS read."""

LIBRARY_TYPES = {"internlm2": "llama", "kimi_k2": "deepseek_v3"}
"""Model types of remote code -> the type of the same shape in transformers, whose names their parts bear."""

REFUSED = {
    "bamba": "state-space layers",
    "falcon_h1": "state-space layers",
    "falcon_mamba": "state-space layers",
    "gemma3n": "per-layer embeddings",
    "gemma3n_text": "per-layer embeddings",
    "jamba": "state-space layers",
    "kimi_linear": "linear attention",
    "lfm2": "short convolutions",
    "lfm2_moe": "short convolutions",
    "mamba": "state-space layers",
    "mamba2": "state-space layers",
    "minimax": "linear attention",
    "nemotron_h": "state-space layers",
    "qwen3_5": "linear attention",
    "qwen3_5_moe": "linear attention",
    "qwen3_5_moe_text": "linear attention",
    "qwen3_5_text": "linear attention",
    "qwen3_next": "linear attention",
    "recurrent_gemma": "recurrent layers",
    "zamba2": "state-space layers",
}
"""Known model types that the parts cannot describe, and what in them."""

DTYPES: dict[str, Literal["bf16", "fp16", "fp32"]] = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}

LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


def model_from_config(config: Mapping[str, object], *, id: str, alias: str | None = None, source: str = "") -> Model:
    """The model that a config.json describes. Reads figures only.

    `id` names the model, and the file in errors; `source` says where the figures come from. Raises UnknownNameError
    for a model type nobody knows, UnsupportedError for one that the parts cannot describe, InvalidValueError for a
    figure that is missing or impossible.
    """
    c, notes = _text_tower(Config(values=config, where=id))
    model_type = c.word("model_type")
    model = _reader(c, model_type)(c)
    if model_type in LIBRARY_TYPES:
        notes += (f"{model_type} is remote code; described as the equal {LIBRARY_TYPES[model_type]} of transformers",)
    dtype, more = _dtype(c)
    return replace(
        model,
        id=id,
        alias=alias,
        source=source,
        dtype=dtype,
        max_position_embeddings=c.size(*LENGTH_KEYS) if any(map(c.has, LENGTH_KEYS)) else None,
        notes=notes + more + model.notes,
    )


def known_types() -> list[str]:
    """Every model type that can be read."""
    return [model_type for types in MODULES.values() for model_type in types.split()]


def _reader(c: Config, model_type: str) -> Callable[[Config], Model]:
    if model_type in REFUSED:
        raise unsupported(c.where, f"{model_type} ({REFUSED[model_type]})")
    for module, types in MODULES.items():
        if model_type in types.split():
            reader: Callable[[Config], Model] = import_module(f".{module}", __name__).READERS[model_type]
            return reader
    raise UnknownNameError(f"model_type in {c.where}", model_type, [*known_types(), *REFUSED])


def _text_tower(c: Config) -> tuple[Config, tuple[str, ...]]:
    """The language model of a multimodal config; what it leaves out may stand outside."""
    tower = c.section("text_config")
    if tower is None:
        return c, ()
    outside = {key: c.values[key] for key in ("dtype", "torch_dtype", "tie_word_embeddings") if c.has(key)}
    note = f"text tower of {str(c.values.get('model_type'))[:40]}: vision and audio parts are not counted"
    return tower.defaulting(**outside), (note,)


def _dtype(c: Config) -> tuple[Literal["bf16", "fp16", "fp32"], tuple[str, ...]]:
    """Storage type of the weights once loaded, with notes where the file leaves a doubt."""
    notes: tuple[str, ...] = ()
    stored = c.section("quantization_config")
    if stored is not None:
        method = stored.word("quant_method", default="an unnamed method")[:40]
        notes = (f"the checkpoint is stored quantised ({method}); the model is planned from 16-bit weights",)
    if not (c.has("dtype") or c.has("torch_dtype")):
        return "fp32", (*notes, "the config names no dtype: fp32 assumed")
    name = c.word("dtype", "torch_dtype").removeprefix("torch.")
    if name not in DTYPES:
        raise c.error("dtype", name, "one of " + ", ".join(DTYPES))
    return DTYPES[name], notes
