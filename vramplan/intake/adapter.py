"""LoRA in configuration files: PEFT's adapter_config.json, and target modules as every tool writes them."""

from __future__ import annotations

import re

from ..errors import UnsupportedError
from .document import Document
from .keys import Keys
from .part import Part
from .pattern import names_of
from .result import SourceFile

PEFT_TARGETS = "q_proj,v_proj"
"""PEFT's choice where a file names no modules, for Llama and its like; a model with fused or renamed matrices gets the
corresponding ones (peft 0.21: utils/constants.py, TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING)."""
_NOT_DESCRIBED = {
    "use_dora": "DoRA's magnitudes and norms are not described; LoRA is",
    "modules_to_save": "modules trained whole beside the adapters are not described",
    "rank_pattern": "ranks that differ from module to module are not described",
    "layers_to_transform": "adapters on some layers only are not described: every layer has them here",
    "target_parameters": "adapters on single parameters are not described",
    "trainable_token_indices": "trained rows of the embedding are not described",
    "layer_replication": "replicated layers are not described",
    "lora_bias": "biases of the adapters are not described",
}


def read_adapter(document: Document, keys: Keys) -> tuple[Part, SourceFile]:
    """PEFT's LoraConfig as `save_pretrained` writes it (peft 0.21: tuners/lora/config.py)."""
    part = Part(kind="PEFT", document=document)
    kind = keys.word("peft_type")
    if kind and kind.upper() != "LORA":
        raise UnsupportedError(f"{keys.where('peft_type')}: {kind!r} is not described; only LORA is")
    part.tell("adapts", True, keys, "peft_type")
    part.tell("model", keys.word("base_model_name_or_path"), keys, "base_model_name_or_path")
    lora(part, keys)
    return part, part.file(keys, ("peft",))


def lora(part: Part, keys: Keys) -> None:
    """The keys of a LoraConfig, with PEFT's own defaults."""
    part.tell("rank", keys.count("r"), keys, "r")
    part.tell("lora_dropout", keys.number("lora_dropout"), keys, "lora_dropout")
    tell_targets(part, keys, "target_modules")
    part.default("peft 0.21", rank=8, lora_dropout=0.0, targets=PEFT_TARGETS)
    for key, why in _NOT_DESCRIBED.items():
        if keys.raw(key):
            part.warn(keys, key, why)
    if keys.word("bias") not in (None, "none"):
        part.warn(keys, "bias", "trained biases are not described")


def tell_targets(part: Part, keys: Keys, key: str, *, every: str = "all-linear") -> None:
    """Target modules as a list of names, names with commas, the tool's word for all linear ones, or a pattern that ends
    in names. What singles out layers leaves `targets` unsettled."""
    value = keys.raw(key)
    if isinstance(value, str) and re.search(r"[*\\()|^$]", value):
        names = names_of(value)
    else:
        names = keys.words(key)
        if names is None:
            return
    if not names or any(re.search(r"\.\d+\.|[*\\()|^$]", name) for name in names):
        part.doubt(("targets",), f"{keys.where(key)}: a pattern, or modules of some layers only: not described")
        return
    leaves = sorted({name.rpartition(".")[2] for name in names}) if every not in names else ["all-linear"]
    part.tell("targets", ",".join(leaves), keys, key)
