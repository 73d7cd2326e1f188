"""From a measured run to the question that an estimate answers, or the reason why it cannot be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar, cast

from ..catalog import find_gpu, find_model, find_stack
from ..errors import UnsupportedError, VramplanError
from ..gpu import Gpu
from ..model import Model
from ..recipe import CHOICES, METHODS, Method, Optimizer, Recipe, ResolvedRecipe, Sharding
from ..resolve import resolve
from ..runs import Run
from ..stack import Stack
from ..units import MIB

Found = TypeVar("Found")

_KNOBS = {
    "rank": "rank", "targets": "targets", "quant": "quant", "dtype": "weights_dtype", "autocast": "autocast",
    "adapter_dtype": "adapter_dtype", "kbit_prep": "kbit_prep", "optimizer": "optimizer",
    "checkpointing": "checkpointing", "attention": "attention", "loss": "loss", "lora_dropout": "lora_dropout",
}  # fmt: skip
"""Knob of a recipe -> field of a run."""
_ALIKE = {"decoupled_adamw": "adamw"}
"""Optimizers under another name: composer's DecoupledAdamW has the states of AdamW."""
_OF_ADAPTERS = ("rank", "targets", "adapter_dtype", "lora_dropout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What was trained, on what, by what, how."""

    model: Model
    gpu: Gpu | None
    """With the memory that the run could use, where that is known."""
    stack: Stack
    recipe: ResolvedRecipe
    assumed: dict[str, str]
    """Knobs that the run leaves open -> the value that stands in: the stack's default."""


def question(run: Run) -> Question:
    """Raises VramplanError with the reason where the run cannot be described; nothing is guessed."""
    for reason in _obstacles(run):
        raise UnsupportedError(reason)
    stack = _known(find_stack, run.stack)
    model = _known(find_model, run.model)
    if run.layers not in (None, model.layers):
        model = _shallow(model, run.layers)
    gpu = _card(run)
    recipe = _recipe(run)
    resolved = resolve(recipe, recipe.method, stack, gpu)
    return Question(model=model, gpu=gpu, stack=stack, recipe=resolved, assumed=_assumed(run, resolved))


def _shallow(model: Model, layers: int) -> Model:
    """The model with its depth cut, as a rig does to save time; which layers are left is plain where all are equal."""
    if len(model.blocks) > 1:
        raise UnsupportedError(f"cut to {layers} of {model.layers} layers, which differ")
    return replace(model, blocks=(replace(model.blocks[0], count=layers),))


def _obstacles(run: Run) -> Iterator[str]:
    """What a recipe has no words for, the plainest reason first."""
    if run.gpus is None:
        yield "the number of GPUs is unknown"
    elif run.gpus > 1 and run.sharding in (None, "none"):
        yield "layers or tensors split over the GPUs: not described"
    if run.sharding not in (None, *CHOICES["sharding"]):
        yield f"sharding {run.sharding!r}: not described yet"
    if "sequence_parallel" in run.notes or "context_parallel" in run.notes:
        yield "sequences split over the GPUs: not described"
    for column in ("model", "stack", "method", "micro_batch", "seq_len"):
        if getattr(run, column) is None:
            yield f"{column} is unknown"
    if run.method not in METHODS:
        yield f"method {_brief(run.method)}: only full, lora and qlora are described"
    if run.quant is not None and run.quant not in CHOICES["quant"]:
        yield f"quant {run.quant!r}: not described yet"
    if run.checkpointing not in (None, "true", "false"):
        yield f"checkpointing {run.checkpointing!r}: not described yet"
    if run.autocast not in (None, *CHOICES["autocast"]):
        yield f"autocast {run.autocast!r}: not described yet"
    if run.optimizer is not None and run.optimizer.endswith("_in_backward"):
        yield "optimizer step inside backward: not described yet"
    if run.optimizer is not None and run.optimizer not in (*CHOICES["optimizer"], *_ALIKE):
        yield f"optimizer {_brief(run.optimizer)}: not described yet"


def speed_obstacle(run: Run) -> str:
    """Why a measured speed is not that of full sequences, which is all that is predicted; empty where it is."""
    if "is a cap" in run.notes or "unpadded tokens" in run.notes:
        return "speed of sequences shorter than seq_len, by an unknown amount"
    return ""


def _brief(word: str | None) -> str:
    shown = repr(word)
    return shown if len(shown) <= 40 else shown[:37] + "..."


def _recipe(run: Run) -> Recipe:
    assert run.micro_batch is not None and run.seq_len is not None
    known = {knob: getattr(run, column) for knob, column in _KNOBS.items()}
    known["optimizer"] = cast(Optimizer | None, _ALIKE.get(run.optimizer or "", run.optimizer))
    known["checkpointing"] = None if run.checkpointing is None else run.checkpointing == "true"
    return Recipe(
        method=cast(Method, run.method),
        batch=run.micro_batch,
        seq_len=run.seq_len,
        grad_accum=run.grad_accum or 1,
        gpus=run.gpus or 1,
        sharding=cast(Sharding, run.sharding or "none"),
        **known,
    )


def _assumed(run: Run, resolved: ResolvedRecipe) -> dict[str, str]:
    """Knobs that the run leaves open, those aside that its method does not have."""
    moot: tuple[str, ...] = () if resolved.has_adapters else _OF_ADAPTERS
    moot += () if resolved.quantizes else ("kbit_prep",)
    found = {
        knob: _said(getattr(resolved, knob))
        for knob, column in _KNOBS.items()
        if getattr(run, column) is None and knob not in moot
    }
    return found if run.grad_accum else found | {"grad_accum": "1"}


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _card(run: Run) -> Gpu | None:
    """The card, holding what the run could use. An unknown card leaves the verdict open, not the memory."""
    if run.gpu is None:
        return None
    gpu = _known(find_gpu, run.gpu)
    return gpu if run.capacity_bytes is None else replace(gpu, memory_total_mib=run.capacity_bytes // MIB)


def _known(find: Callable[[str], Found], name: str | None) -> Found:
    """What the catalogue has under `name`; looked for once, because a wrong name takes long to find neighbours for."""
    assert name is not None
    found = _looked_up(find, name)
    if isinstance(found, VramplanError):
        raise found
    return cast(Found, found)


@cache
def _looked_up(find: Callable[[str], object], name: str) -> object:
    try:
        return find(name)
    except VramplanError as error:
        return error
