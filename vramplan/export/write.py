"""One recipe, written for one tool and read back."""

from __future__ import annotations

import textwrap
from dataclasses import fields, replace
from os import PathLike
from typing import Any, Protocol, cast, get_args

from ..catalog import as_gpu, as_model, as_stack, find_stack
from ..errors import UnknownNameError
from ..gpu import Gpu
from ..intake.document import parse_document
from ..intake.merge import merge_documents
from ..model import Model
from ..recipe import Method, Recipe, ResolvedRecipe
from ..resolve import resolve
from ..stack import Stack
from ..step.setting import target_names
from .names import Plan, check_counts
from .result import ExportedFile, ExportKind, Lost, Schedule

KINDS: tuple[ExportKind, ...] = get_args(ExportKind)
_NO_HABITS = {
    "name", "title", "versions", "source", "defaults", "method_defaults", "sources", "unsupported", "notes",
}  # fmt: skip
_HABITS = tuple(f.name for f in fields(Stack) if f.name not in _NO_HABITS)
"""What a stack does that no knob names."""
LAUNCHER = "the launcher's: `--to accelerate` writes it"


class Body(Protocol):
    """What a writer hands back: lines of YAML or of Python."""

    def text(self) -> str: ...


class Writer(Protocol):
    """A module of this package that writes for one tool."""

    NAME: str
    RUN: str
    WHY: dict[str, str]
    """Knob -> why the tool cannot have it otherwise."""

    def write(self, plan: Plan) -> Body: ...


def export(
    kind: ExportKind, model: Model, recipe: ResolvedRecipe, gpus: int | None = None, job: Schedule | None = None
) -> ExportedFile:
    """The configuration of `recipe` for the tool `kind`, deterministic, with what was assumed in comments.

    `gpus` is the recipe's own number unless given; `job` says how long to train. Raises UnknownNameError for a kind
    that nobody writes, VramplanError for a recipe of arrays.
    """
    if kind not in KINDS:
        raise UnknownNameError("kind of configuration", kind, KINDS, hint="one of " + ", ".join(KINDS))
    check_counts(recipe)
    writer = _writer(kind)
    plan = Plan(model, recipe, gpus or recipe.gpus, job or Schedule())
    body = writer.write(plan).text()
    lost, runs = _read_back(plan, writer, body)
    text = _header(plan, writer, lost) + "\n" + body
    return ExportedFile(kind=kind, name=writer.NAME, text=text, runs=runs, lost=lost)


def export_recipe(
    kind: ExportKind,
    model: Model | str | PathLike[str],
    recipe: Recipe,
    *,
    stack: Stack | str = "trl",
    gpu: Gpu | str | None = None,
    job: Schedule | None = None,
    online: bool = False,
) -> ExportedFile:
    """As `export`, from names: `recipe` is resolved for `stack`, and for `gpu` where one is named."""
    resolved = resolve_for_file(recipe, recipe.method, as_stack(stack), as_gpu(gpu))
    return export(kind, as_model(model, online=online), resolved, job=job)


def _writer(kind: ExportKind) -> Writer:
    from importlib import import_module

    return cast(Writer, import_module(f".{kind.replace('-', '_')}", __package__))


def _read_back(plan: Plan, writer: Writer, body: str) -> tuple[tuple[Lost, ...], ResolvedRecipe]:
    """Knobs that the file, read again, does not have as planned; and the plan with those as they are."""
    found = merge_documents([parse_document(writer.NAME, body)])
    stack = find_stack(found.stack or "trl")
    method = plan.recipe.method if not found.methods or plan.recipe.method in found.methods else found.methods[0]
    read = resolve_for_file(found.recipe(method), method, stack)
    says = getattr(writer, "SAYS", None) or tuple(f.name for f in fields(ResolvedRecipe))
    wanted = plan.recipe.as_dict() | {"gpus": plan.gpus}
    losses: list[Lost] = []
    changes: dict[str, Any] = {}
    for knob in says:
        planned, runs = wanted[knob], getattr(read, knob)
        if _same(plan, knob, planned, runs, stack):
            continue
        default = LAUNCHER if knob in ("gpus", "sharding") else "the tool's file has no word for it"
        why = writer.WHY.get(knob, default) if knob != "stack" else "kernels and loop are the tool's own"
        losses.append(Lost(knob=knob, value=str(planned), runs_as=str(runs), why=why))
        changes[knob] = runs
    return tuple(losses), replace(plan.recipe, **changes)


def resolve_for_file(recipe: Recipe, method: Method, stack: Stack, gpu: Gpu | None = None) -> ResolvedRecipe:
    """Every knob decided; a file may name more GPUs than an estimate describes."""
    one = resolve(replace(recipe, gpus=1, sharding="none"), method, stack, gpu)
    return replace(one, gpus=recipe.gpus, sharding=recipe.sharding)


def _same(plan: Plan, knob: str, planned: Any, runs: Any, stack: Stack) -> bool:
    """Equal, or without a difference for the step: other names of the same modules, stacks with the same habits,
    adapters on 8-bit weights as LoRA or QLoRA."""
    if planned == runs or (knob == "adapter_dtype" and not plan.recipe.has_adapters):
        return True
    if knob == "targets" and plan.recipe.has_adapters:
        return target_names(plan.model, planned) == target_names(plan.model, runs)
    if knob == "stack":
        own = find_stack(plan.recipe.stack)
        return all(getattr(own, habit) == getattr(stack, habit) for habit in _HABITS)
    return knob == "method" and plan.recipe.quant == "int8" and {planned, runs} == {"lora", "qlora"}


def _header(plan: Plan, writer: Writer, lost: tuple[Lost, ...]) -> str:
    r = plan.recipe
    size = f"{r.batch} x {r.seq_len} tokens a micro-batch, {r.grad_accum} accumulated, {plan.gpus} GPU"
    lines = [
        f"{plan.model_name}, {r.method}, planned by vramplan for stack {r.stack}.",
        size + ("s." if plan.gpus > 1 else "."),
        "Run: " + writer.RUN.format(name=writer.NAME),
    ]
    if lost:
        lines += ["", "Not as planned:"]
        for loss in lost:
            lines += textwrap.wrap(str(loss), 112, initial_indent="- ", subsequent_indent="  ")
    # One comment a line, whatever a path or a name holds.
    return "".join(f"# {' '.join(line.split()) if line[:2] != '  ' else line}".rstrip() + "\n" for line in lines)
