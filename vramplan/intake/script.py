"""Training scripts in Python: literal arguments of calls to TRL, transformers, PEFT, bitsandbytes. Nothing is run."""

from __future__ import annotations

import ast
import warnings
from typing import Any

from ..errors import VramplanError
from .adapter import lora
from .document import Document, Lines
from .keys import Keys
from .part import Part, Told
from .quantization import bitsandbytes, tell_bits
from .result import SourceFile
from .trainer import tell_attention, tell_dtype, trainer
from .trl import VERSION as TRL
from .trl import tell_length, tell_loss

CALLS = {
    "SFTConfig", "TrainingArguments", "Seq2SeqTrainingArguments", "LoraConfig", "BitsAndBytesConfig",
    "from_pretrained", "get_peft_model", "prepare_model_for_kbit_training", "SFTTrainer",
}  # fmt: skip
"""What is looked at; of `from_pretrained` only the model's."""
LARGEST_SCRIPT_BYTES = 2**20


class NotLiteral:
    """An argument that is worked out when the script runs."""


def parse_script(path: str, text: str) -> tuple[dict[str, Any], Lines]:
    """Call -> keyword -> value, as if the script were a file of tables; module constants are put in for their names."""
    if len(text) > LARGEST_SCRIPT_BYTES:
        raise VramplanError(f"{path}: larger than {LARGEST_SCRIPT_BYTES // 1024} KiB, so no training script")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in somebody else's script
            tree = ast.parse(text)
    except SyntaxError as error:
        raise VramplanError(f"{path}:{error.lineno}: not Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise VramplanError(f"{path}: not Python that can be read: {str(error)[:80]}") from None
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    values: dict[str, Any] = {}
    lines: dict[tuple[str, ...], int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := _call(node)):
            table = values.setdefault(name, {})
            lines[name,] = node.lineno
            for key, expression in _arguments(node, name).items():
                table[key] = _literal(expression, constants)
                lines[name, key] = expression.lineno
    if "ADAPTER_DTYPE" in constants:
        values["ADAPTER_DTYPE"] = _literal(constants["ADAPTER_DTYPE"], {})
    if not values.keys() & {"SFTConfig", "TrainingArguments", "Seq2SeqTrainingArguments", "LoraConfig"}:
        raise VramplanError(f"{path}: a script without SFTConfig, TrainingArguments or LoraConfig")
    return values, lines


def _call(node: ast.Call) -> str:
    """The name that a call is known by; a tokenizer's from_pretrained is none of ours."""
    called = node.func
    name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
    if name not in CALLS:
        return ""
    owner = called.value.id if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) else ""
    if owner in ("FastLanguageModel", "FastModel"):
        return "unsloth"
    return "" if name == "from_pretrained" and "Model" not in owner else name


def _arguments(node: ast.Call, name: str) -> dict[str, ast.expr]:
    given = {word.arg: word.value for word in node.keywords if word.arg}
    if node.args and name in ("from_pretrained", "unsloth", "SFTTrainer"):
        given.setdefault("model", node.args[0])
    return given


def _literal(node: ast.expr, constants: dict[str, ast.expr]) -> Any:
    """The value that is written there; `torch.bfloat16` reads as "bfloat16"."""
    if isinstance(node, ast.Name) and node.id in constants:
        return _literal(constants[node.id], {})
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch":
        return node.attr
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return NotLiteral()


def read_script(document: Document) -> tuple[Part, SourceFile]:
    """A script's calls, with the defaults of the classes that it calls."""
    part = Part(kind="Python", document=document)
    keys, worked_out = _literals(document)
    sft, arguments = keys.table("SFTConfig"), keys.table("TrainingArguments")
    arguments = arguments or keys.table("Seq2SeqTrainingArguments")
    if sft is not None:
        trainer(part, sft)
        tell_length(part, sft)
        tell_loss(part, sft)
        part.default(TRL, stack="trl", batch=8, seq_len=1024)
        part.told.setdefault("autocast", Told("bf16", f"default of {TRL}"))
    elif arguments is not None:
        trainer(part, arguments)
        part.default("transformers 5.23", stack="hf-trainer", batch=8, checkpointing=False, autocast="none")
    _model(part, keys)
    _adapters(part, keys)
    if part.value("stack") == "liger" and sft is not None:
        part.default(TRL, loss="chunked")
    tables = [table for table in (sft, arguments, keys.table("LoraConfig")) if table is not None]
    for call, key in worked_out:
        if any(table.at == (call,) and key in table.asked for table in tables):
            part.warnings.append(f"{document.where(call, key)}: worked out when the script runs, so left open")
    understood = tuple(f"{table.at[0]}.{key}" for table in tables for key in table.values if key in table.asked)
    idle = tuple(f"{table.at[0]}.{key}" for table in tables for key in table.values if key not in table.asked)
    file = SourceFile(path=document.path, kind="Python", understood=understood, without_influence=idle, unknown=())
    return part, file


def _literals(document: Document) -> tuple[Keys, list[tuple[str, str]]]:
    """The calls with their literal arguments, and the arguments that are none."""
    calls = {name: table for name, table in document.values.items() if isinstance(table, dict)}
    literal = {
        name: {key: value for key, value in table.items() if not isinstance(value, NotLiteral)}
        for name, table in calls.items()
    }
    others = {name: value for name, value in document.values.items() if name not in calls}
    worked_out = [(name, key) for name, table in calls.items() for key in table if key not in literal[name]]
    return Keys(document, literal | others), worked_out


def _model(part: Part, keys: Keys) -> None:
    for name in ("SFTTrainer", "from_pretrained", "unsloth"):
        table = keys.table(name)
        if table is None:
            continue
        for key in ("pretrained_model_name_or_path", "model_name", "model"):
            if isinstance(table.raw(key), str):
                part.tell("model", table.word(key), table, key)
        for key in ("torch_dtype", "dtype"):
            tell_dtype(part, table, key)
        tell_attention(part, table, "attn_implementation")
        if name == "unsloth":
            # unsloth/models/llama.py: nf4, quantised doubly
            tell_bits(part, table, kind="nf4", double=True)
        else:
            # BitsAndBytesConfig's own defaults
            tell_bits(part, table, kind="fp4", double=False)
    unsloth = keys.table("unsloth")
    if unsloth is not None:
        part.told["stack"] = Told("unsloth", keys.where("unsloth"))
        part.tell("seq_len", unsloth.count("max_seq_length"), unsloth, "max_seq_length")
        if "r" in unsloth:
            lora(part, unsloth)


def _adapters(part: Part, keys: Keys) -> None:
    config, bits = keys.table("LoraConfig"), keys.table("BitsAndBytesConfig")
    if config is not None:
        lora(part, config)
    adapts = config is not None or "unsloth" in keys.values or "get_peft_model" in keys.values
    part.default("a script", adapts=adapts, quant="none")
    if bits is not None:
        bitsandbytes(part, bits)
    if "prepare_model_for_kbit_training" in keys.values:
        part.told["kbit_prep"] = Told(True, keys.where("prepare_model_for_kbit_training"))
    if "ADAPTER_DTYPE" in keys.values:
        tell_dtype(part, keys, "ADAPTER_DTYPE", knob="adapter_dtype")
    elif part.value("quant") == "int8" and "SFTConfig" in keys.values:
        part.default(TRL, adapter_dtype="bf16")
