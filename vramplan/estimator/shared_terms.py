"""Terms of a job on several GPUs: what one of them holds of the weights, and what passes through it."""

from __future__ import annotations

from ..recipe import BYTES_PER_ELEMENT
from ..step.weights import quantized, unquantized
from .moment import Moment
from .phases import StepMemory
from .result import Group, PhaseName, Source, Term

EVERYWHERE: tuple[PhaseName, ...] = ("load", "forward", "loss", "backward", "optimizer_step")


def weight_terms(step: StepMemory) -> list[Term]:
    """Base weights on each GPU; they add up to what the step counts."""
    c, static = step.c, step.static
    count = f" / {c.recipe.gpus} GPUs" if c.recipe.sharding in ("zero3", "fsdp") else ", whole on each GPU"
    found: list[Term] = []
    if c.quant != "none":
        weights = sum(m.weights * number for m, number in c.model.linears() if c.quantizes(m))
        constants = sum(p.bytes for p in quantized(c) if not p.packed)
        formula = f"{weights:,} weights{count}, {constants:,} B of constants on each"
        found.append(_term(f"{c.quant} weights", "weights", static.quantized, EVERYWHERE, "exact", formula))
    elements: dict[str, int] = {}
    for part in unquantized(c.at_rest):
        elements[part.dtype] = elements.get(part.dtype, 0) + part.count * part.elements
    size = " + ".join(f"{number:,} x {BYTES_PER_ELEMENT[dtype]} B ({dtype})" for dtype, number in elements.items())
    found.append(_term("base weights", "weights", static.base, EVERYWHERE, "exact", size + count))
    return found


def passing_terms(step: StepMemory, moment: Moment) -> list[Term]:
    """Buckets and master weights that stay, and what is gathered or under way at the binding moment."""
    static, place = step.static, step.c.recipe.sharding
    during = EVERYWHERE[1:]
    source: Source = "assumed" if place.startswith("zero") else "exact"
    phases = (moment.phase,)
    formula = "weights of the units at work, whole, and gradients on their way to the other GPUs"
    return [
        _term("fp32 master weights", "optimizer", static.master, during, source,
              f"4 B x trained parameters / {step.c.recipe.gpus} GPUs"),
        _term("gradient buckets", "gradients", static.buckets, during, source, "buffers of the reduction"),
        _term("gathered weights", "weights", moment.shared, phases, source, formula),
    ]  # fmt: skip


def _term(name: str, group: Group, size: int, phases: tuple[PhaseName, ...], source: Source, formula: str) -> Term:
    return Term(name=name, group=group, bytes=size, phases=phases, source=source, formula=formula)
