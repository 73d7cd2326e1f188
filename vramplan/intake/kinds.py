"""Whose configuration a file is, told by its keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..catalog.tool_keys import tool_keys
from ..errors import VramplanError, one_line
from .adapter import read_adapter
from .axolotl import read_axolotl
from .document import Document
from .keys import Keys
from .launchers import read_accelerate, read_deepspeed
from .llama_factory import read_llama_factory
from .part import Part
from .quantization import read_bitsandbytes, read_model_config
from .result import SourceFile
from .script import read_script
from .trainer import read_trainer
from .trl import read_handbook, read_trl

Reader = Callable[[Document, Keys], tuple[Part, SourceFile]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A tool's file: keys that only it has, and who reads it."""

    name: str
    marks: frozenset[str]
    tools: tuple[str, ...]
    read: Reader


def _kind(name: str, marks: str, tools: str, read: Reader) -> Kind:
    return Kind(name, frozenset(marks.split()), tuple(tools.split()), read)


KINDS = (
    _kind("PEFT adapter_config", "peft_type base_model_name_or_path", "peft", read_adapter),
    _kind("accelerate", "distributed_type compute_environment", "accelerate", read_accelerate),
    _kind("DeepSpeed", "zero_optimization train_micro_batch_size_per_gpu train_batch_size", "deepspeed",
          read_deepspeed),
    _kind("bitsandbytes", "bnb_4bit_compute_dtype bnb_4bit_use_double_quant llm_int8_threshold", "bitsandbytes",
          read_bitsandbytes),
    _kind("axolotl", "base_model micro_batch_size sequence_len lora_target_linear sample_packing", "axolotl",
          read_axolotl),
    _kind("LLaMA-Factory", "finetuning_type cutoff_len lora_target quantization_bit lora_rank dataset_dir stage "
          "template model_class", "transformers llama-factory", read_llama_factory),
    _kind("alignment-handbook", "dataset_mixer dataset_mixture auto_insert_empty_system_msg use_flash_attention_2",
          "transformers trl alignment-handbook", read_handbook),
    _kind("TRL", "dataset_name max_length max_seq_length use_peft load_in_4bit load_in_8bit lora_r lora_target_modules "
          "use_bnb_nested_quant model_init_kwargs dataset_text_field assistant_only_loss completion_only_loss "
          "attn_implementation model_name_or_path beta num_generations", "transformers trl", read_trl),
    _kind("TrainingArguments", "per_device_train_batch_size gradient_accumulation_steps num_train_epochs optim "
          "output_dir gradient_checkpointing max_steps per_gpu_train_batch_size", "transformers", read_trainer),
)  # fmt: skip
"""The most particular first. Of kinds whose marks a file bears, the one that knows most of its keys, else the first."""
_MODEL = frozenset(("architectures", "hidden_size", "n_embd", "d_model", "num_hidden_layers", "quantization_config"))


def read_file(document: Document) -> tuple[Part, SourceFile]:
    """Read one file by whichever tool's it is. Raises VramplanError for one that is nobody's."""
    keys = Keys(document)
    if document.path.endswith(".py"):
        return read_script(document)
    if "model_type" in document.values and _MODEL & document.values.keys() and "base_model" not in document.values:
        return read_model_config(document, keys)
    names = {key for key in document.values if isinstance(key, str)}
    bearing = [kind for kind in KINDS if kind.marks & names]
    if not bearing:
        raise VramplanError(_nobodys(document.path, document.values))
    return max(bearing, key=lambda kind: _known(kind, names)).read(document, keys)


def _known(kind: Kind, names: set[str]) -> int:
    return len(names & frozenset[str]().union(*(tool_keys(tool) for tool in kind.tools)))


def _nobodys(path: str, values: Mapping[str, Any]) -> str:
    held = ", ".join(one_line(key, 40) for key in list(values)[:5])
    kinds = ", ".join(kind.name for kind in KINDS)
    return f"{path}: nobody's configuration, its keys are {held or 'none'}\n  known: {kinds}, a model's config.json"
