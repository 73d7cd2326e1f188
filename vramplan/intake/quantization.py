"""Quantised weights in configuration files: bitsandbytes' keys, and the quantization_config of a model."""

from __future__ import annotations

import os

from .document import Document
from .keys import Keys
from .part import Part
from .result import SourceFile


def tell_bits(part: Part, keys: Keys, *, kind: str | None, double: bool | None) -> None:
    """`load_in_4bit` and `load_in_8bit`, as TRL, axolotl and bitsandbytes have them; `kind` nf4 or fp4."""
    four, eight = keys.flag("load_in_4bit"), keys.flag("load_in_8bit")
    if four and eight:
        part.doubt(("quant",), f"{keys.where('load_in_4bit')} and load_in_8bit are both true")
    elif four:
        part.tell("quant", four_bit(kind, double), keys, "load_in_4bit")
    elif eight:
        part.tell("quant", "int8", keys, "load_in_8bit")


def four_bit(kind: str | None, double: bool | None) -> str:
    return f"{kind or 'nf4'}-dq" if double else kind or "nf4"


def read_bitsandbytes(document: Document, keys: Keys) -> tuple[Part, SourceFile]:
    """A BitsAndBytesConfig on its own."""
    part = Part(kind="bitsandbytes", document=document)
    bitsandbytes(part, keys)
    return part, part.file(keys, ("bitsandbytes",))


def bitsandbytes(part: Part, keys: Keys) -> None:
    """A BitsAndBytesConfig: fp4 without double quantisation unless it says otherwise (transformers 5.23:
    utils/quantization_config.py)."""
    kind = keys.word("bnb_4bit_quant_type") or "fp4"
    if kind not in ("nf4", "fp4"):
        raise keys.wrong("bnb_4bit_quant_type", "nf4 or fp4")
    tell_bits(part, keys, kind=kind, double=keys.flag("bnb_4bit_use_double_quant"))


def read_model_config(document: Document, keys: Keys) -> tuple[Part, SourceFile]:
    """A model's config.json: the model itself, and how its weights are quantised."""
    part = Part(kind="model", document=document)
    part.tell(
        "model", os.path.relpath(document.path) if document.path.startswith("~") else document.path, keys, "model_type"
    )
    table = keys.table("quantization_config")
    if table is not None:
        _quantized_model(part, table)
    names = tuple(key for key in keys.values if isinstance(key, str))
    asked = tuple(key for key in ("quantization_config",) if key in names)
    idle = tuple(key for key in names if key not in asked)
    return part, SourceFile(path=document.path, kind="model", understood=asked, without_influence=idle, unknown=())


def _quantized_model(part: Part, keys: Keys) -> None:
    method = keys.word("quant_method") or "bitsandbytes"
    if method == "bitsandbytes":
        bitsandbytes(part, keys)
    elif method == "gptq" and keys.count("bits") in (4, 8):
        part.tell("quant", f"gptq-int{keys.count('bits')}", keys, "bits")
    else:
        part.doubt(("quant",), f"{keys.where('quant_method')}: weights in {method!r} are not described")
