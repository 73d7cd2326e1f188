"""Several files as one: what each tells, where they contradict each other, what the tools do where all are silent."""

from __future__ import annotations

import os
from dataclasses import fields
from os import PathLike, fspath
from typing import Any

from ..errors import VramplanError
from ..recipe import LIMITS, Method
from .document import Document, read_document
from .kinds import read_file
from .launchers import deepspeed_files, near
from .part import Part, Told, contradiction
from .result import Intake, Knobs, SourceFile, Unsettled

MOST_FILES = 16


def read_recipe(*paths: str | PathLike[str]) -> Intake:
    """Read configuration files and say what they ask for together.

    Kinds are told by content: TrainingArguments (transformers), TRL, alignment-handbook, axolotl, LLaMA-Factory, PEFT's
    adapter_config.json, a model's config.json, bitsandbytes, accelerate, DeepSpeed. A DeepSpeed file that another names
    is read where it exists. Raises VramplanError with file, line and key for what cannot be read; contradictions are
    listed in `unsettled`, since an explicit option may settle them.
    """
    if not paths:
        raise VramplanError("no file to read a recipe from")
    if len(paths) > MOST_FILES:
        raise VramplanError(f"{len(paths)} files: more than one fine-tune has ({MOST_FILES} at most)")
    documents: list[Document] = []
    waiting = [fspath(path) for path in paths]
    seen: set[str] = set()
    while waiting:
        document = read_document(waiting.pop(0))
        if os.path.realpath(document.path) not in seen:
            seen.add(os.path.realpath(document.path))
            documents.append(document)
            waiting += [found for name in deepspeed_files(document) if (found := near(document, name))]
    return merge_documents(documents)


def merge_documents(documents: list[Document]) -> Intake:
    """What documents that are read already ask for together."""
    read = [read_file(document) for document in documents]
    parts = [part for part, _ in read]
    unsettled = [doubt for part in parts for doubt in _missing(part, parts)]
    return _merge(parts, tuple(file for _, file in read), unsettled)


def _missing(part: Part, parts: list[Part]) -> list[Unsettled]:
    """Files that `part` names and that nobody gave."""
    if any(p.kind == "DeepSpeed" for p in parts):
        return []
    return [
        Unsettled(
            knobs=(knob,), text=f"{part.document.path}: names {path!r}, which is not there; give it with --from too"
        )
        for knob, path in part.references
    ]


def _merge(parts: list[Part], files: tuple[SourceFile, ...], unsettled: list[Unsettled]) -> Intake:
    unsettled = [*unsettled, *(u for part in parts for u in part.unsettled)]
    told: dict[str, Told] = {}
    for part in parts:
        for knob, value in part.told.items():
            first = told.setdefault(knob, value)
            if first.value != value.value and not _same(knob, first.value, value.value):
                unsettled.append(contradiction(knob, first, value))
    _defaults(parts, told)
    methods, doubts = _methods(told)
    unsettled += [*doubts, *_batches(told)]
    names = [f.name for f in fields(Knobs)]
    for knob, limit in LIMITS.items():
        if knob in told and told[knob].value > limit:
            raise VramplanError(f"{told[knob].where}: {told[knob].value} is not a whole number from 1 to {limit}")
    _check_dropout(told)
    if methods == ("full",):
        told = {knob: value for knob, value in told.items() if knob not in ("rank", "targets", "lora_dropout")}
    return Intake(
        files=files,
        knobs=Knobs(**{name: told[name].value for name in names if name in told}),
        sources=_sources(told, names),
        methods=methods,
        model=_value(told, "model"),
        stack=_value(told, "stack"),
        warnings=tuple(warning for part in parts for warning in part.warnings),
        unsettled=tuple(unsettled),
    )


def _sources(told: dict[str, Told], names: list[str]) -> dict[str, str]:
    found = {name: told[name].where for name in (*names, "model", "stack") if name in told}
    method = told.get("adapts") or told.get("quant")
    return found | ({"method": method.where} if method else {})


def _value(told: dict[str, Told], knob: str) -> Any:
    return told[knob].value if knob in told else None


def _same(knob: str, a: object, b: object) -> bool:
    """`ddp` and `none` are one where one process is meant; models may be written as folder and as its config.json."""
    if knob == "model":
        return str(a).removesuffix("/config.json").rstrip("/") == str(b).removesuffix("/config.json").rstrip("/")
    return False


def _defaults(parts: list[Part], told: dict[str, Told]) -> None:
    """Defaults of the tools fill what no file tells; a launcher's come before a trainer's."""
    launchers = [part for part in parts if part.kind in ("accelerate", "DeepSpeed", "PEFT")]
    for part in [*launchers, *(part for part in parts if part not in launchers)]:
        for knob, value in part.defaults.items():
            told.setdefault(knob, value)


def _methods(told: dict[str, Told]) -> tuple[tuple[Method, ...], list[Unsettled]]:
    """Ways of training that adapters and quantisation leave. LoRA on 8-bit weights counts as LoRA."""
    adapts, quant = _value(told, "adapts"), _value(told, "quant")
    quantized = quant not in (None, "none")
    if adapts is False and quantized:
        text = f"{told['quant'].where}: quantised weights cannot be trained, and there is no adapter"
        return (), [Unsettled(knobs=("method", "quant"), text=f"{text} ({told['adapts'].where})")]
    if adapts is False:
        return ("full",), []
    if quantized:
        return (("lora",) if quant == "int8" else ("qlora",)), []
    if adapts:
        return (("lora",) if quant == "none" else ("lora", "qlora")), []
    return (("full", "lora") if quant == "none" else ()), []


def _batches(told: dict[str, Told]) -> list[Unsettled]:
    """DeepSpeed's train_batch_size is micro-batch x accumulation x GPUs, or DeepSpeed refuses."""
    whole, batch, steps, gpus = (_value(told, knob) for knob in ("train_batch", "batch", "grad_accum", "gpus"))
    if whole is None or batch is None:
        return []
    product = batch * (steps or 1) * (gpus or 1)
    if whole == product or (gpus is None and whole % product == 0):
        return []
    text = f"{told['train_batch'].where}: {whole} sequences a step, but {batch} x {steps or 1} accumulated"
    return [Unsettled(knobs=("batch", "grad_accum"), text=text + (f" x {gpus} GPUs" if gpus else ""))]


def _check_dropout(told: dict[str, Told]) -> None:
    dropout = _value(told, "lora_dropout")
    if dropout is not None and not 0 <= dropout < 1:
        raise VramplanError(f"{told['lora_dropout'].where}: {dropout} is not a number from 0 to below 1")
