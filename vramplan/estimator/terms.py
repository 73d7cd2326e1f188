"""What the memory consists of: the terms of the binding moment, which add up to the allocated peak to the byte."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from ..recipe import BYTES_PER_ELEMENT
from ..step.setting import Setting
from ..step.weights import Part, adapters, quantized, total, unquantized
from .composition import Alive, alive_at
from .moment import Moment
from .phases import StepMemory
from .result import Group, PhaseName, Source, Term
from .tiers import Tiers

ALL: tuple[PhaseName, ...] = ("load", "forward", "loss", "backward", "optimizer_step")
STEP: tuple[PhaseName, ...] = ALL[1:]
RUN: tuple[PhaseName, ...] = ALL[1:4]
"""While there is a batch."""
TEMPORARY = "optimizer temporary"
HELD = "held by the loop"


def terms(step: StepMemory, tier: Tiers) -> tuple[Term, ...]:
    """Every term, statics first. Those of the allocator and the context lie on top of the allocated peak."""
    moment = max(step.moments, key=lambda m: m.bytes)
    alive = alive_at(moment)
    weights = _weights(step.c)
    if step.c.recipe.gpus > 1:
        from .shared_terms import passing_terms, weight_terms

        weights = [*weight_terms(step), *passing_terms(step, moment)]
    parts = [*weights, *_states(step, moment, alive), *_activations(step, moment), *_running(step, moment, alive)]
    parts.append(
        _term(
            "cuBLAS workspaces", "workspace", step.static.workspace, STEP, "exact", "2 workspaces of the matrix library"
        )
    )
    parts += _elsewhere(step, moment)
    cached = tier.reserved_bytes - tier.allocated_bytes
    parts.append(
        _term(
            "cached blocks", "allocator", cached, STEP, tier.cached_source, "buffers that phases do not share (tiers)"
        )
    )
    parts.append(
        _term("CUDA context", "context", tier.context_bytes, ALL, tier.context_source, "driver, kernels, libraries")
    )
    return tuple(term for term in parts if term.bytes)


def _term(name: str, group: Group, size: int, phases: tuple[PhaseName, ...], source: Source, formula: str) -> Term:
    return Term(name=name, group=group, bytes=size, phases=phases, source=source, formula=formula)


def _weights(c: Setting) -> list[Term]:
    found: list[Term] = []
    matrices = quantized(c)
    if matrices:
        payload = [p for p in matrices if p.name.endswith((" packed", " int8"))]
        constants = [p for p in matrices if p not in payload]
        n = sum(m.weights * count for m, count in c.model.linears() if c.quantizes(m))
        each = "1 B" if c.quant.endswith("int8") else "1/2 B"
        found.append(_term(f"{c.quant} weights", "weights", total(payload), ALL, "exact", f"{n:,} weights x {each}"))
        found.append(_term(f"{c.quant} constants", "weights", total(constants), ALL, "exact", _constants(c)))
    for name, group in _grouped(unquantized(c)).items():
        elements = sum(p.count * p.elements for p in group)
        dtype = group[0].dtype
        formula = f"{elements:,} x {BYTES_PER_ELEMENT[dtype]} B ({dtype})"
        found.append(_term(name, "weights", total(group), ALL, "exact", formula))
    return found


def _constants(c: Setting) -> str:
    matrices = sum(count for m, count in c.model.linears() if c.quantizes(m))
    if c.quant == "int8":
        return f"{matrices} matrices: 4 B a row"
    if c.quant.startswith("gptq"):
        return f"{matrices} matrices: a scale and a zero per 128 weights, 4 B an input"
    if c.quant.endswith("-dq"):
        return f"{matrices} matrices: 1 B per 64 weights + 4 B per 16,384 + tables of 1,092 B"
    return f"{matrices} matrices: 4 B per 64 weights + a table of 64 B"


def _grouped(parts: Iterable[Part]) -> dict[str, list[Part]]:
    """Unquantised parts under the names that people think in."""
    names = {"embedding": "embedding", "head": "output matrix", "head bias": "output matrix", "positions": "positions"}
    groups: dict[str, list[Part]] = {}
    for part in parts:
        if part.name.startswith(("experts", "router")):
            name = "experts and routers"
        elif part.name in ("norms", "biases", "sinks", "multipliers"):
            name = "norms and biases"
        else:
            name = names.get(part.name, "matrices")
        groups.setdefault(f"{name} ({part.dtype})", []).append(part)
    return groups


def _states(step: StepMemory, moment: Moment, alive: Alive) -> list[Term]:
    c, static = step.c, step.static
    found: list[Term] = []
    if c.recipe.has_adapters:
        elements = sum(p.count * p.elements for p in adapters(c))
        formula = (
            f"{elements:,} x {BYTES_PER_ELEMENT[c.adapter_dtype]} B (rank {c.rank} x (inputs + outputs), each target)"
        )
        phases = STEP if moment.phase == "load" else ALL  # loading peaks before they are there
        found.append(_term("LoRA adapters", "adapters", static.adapters, phases, "exact", formula))
    found.append(
        _term("optimizer states", "optimizer", static.optimizer.state_bytes, STEP, "exact", static.optimizer.formula)
    )
    if moment.phase == "optimizer_step":
        held = step.left_over
        formula = "one tensor per parameter"
        found.append(_term(TEMPORARY, "optimizer", moment.extra - held, ("optimizer_step",), "exact", formula))
        found.append(_term(HELD, "logits", held, ("optimizer_step",), "exact", "outputs kept in a variable"))
    phases = STEP if c.recipe.grad_accum > 1 else ("backward", "optimizer_step")
    formula = f"{sum(p.count for p in _trainable(step)):,} tensors in their own dtype"
    found.append(
        _term("gradients", "gradients", moment.gradients + alive.weight_gradient_bytes, phases, "exact", formula)
    )
    return found


def _trainable(step: StepMemory) -> list[Part]:
    return unquantized(step.c) if step.c.trains_base else adapters(step.c)


def _activations(step: StepMemory, moment: Moment) -> list[Term]:
    c = step.c
    size = BYTES_PER_ELEMENT[step.layers[0].x.dtype]
    found = [
        _term("batch", "activations", step.static.inputs, RUN, "exact", f"{c.tokens:,} tokens x 8 B, ids and labels"),
        _term("attention mask", "activations", step.static.mask, RUN, "exact", f"{c.batch} x {c.seq_len:,}² entries"),
        _term(
            "rotary tables", "activations", step.static.tables, RUN, "exact", f"cos and sin of {c.seq_len:,} positions"
        ),
        _term("buffers", "weights", step.static.buffers, ALL, "exact", f"{c.model.layers} layers"),
    ]
    if c.recipe.checkpointing:
        formula = f"{c.model.layers} layers x {c.tokens:,} tokens x {c.model.hidden_size:,} x {size} B"
        name = "checkpoints"
    else:
        formula = f"{c.model.layers} layers, what autograd saves in each"
        name = "saved activations"
    found.append(_term(name, "activations", moment.activations, RUN, "exact", formula))
    if moment.phase in ("forward", "loss") and moment.extra:
        formula = "weights that autocast cast, attention weights of the layer before"
        found.append(_term("held by the forward", "activations", moment.extra, (moment.phase,), "exact", formula))
    if moment.phase == "backward" and moment.extra:
        found.append(_term(HELD, "logits", moment.extra, ("backward",), "exact", "outputs kept in a variable"))
    return found


def _running(step: StepMemory, moment: Moment, alive: Alive) -> list[Term]:
    """The running layer or loss: what is saved, gradients in flight, kernel workspace."""
    if moment.phase == "load":
        return [_term("copies while loading", "workspace", moment.extra, ("load",), "exact", "quantising, upcasting")]
    if moment.tape is None:
        return []
    in_loss = moment.tape is step.tail.tape
    place, group = ("loss", "logits") if in_loss else ("layer", "activations")
    phases: tuple[PhaseName, ...] = (moment.phase,)
    tokens = step.c.tokens
    found = [
        _term(f"{place}: {name}", cast(Group, group), size, phases, "exact", _tensors(size, count, tokens))
        for name, (size, count) in alive.by_name().items()
    ]
    flight = alive.gradient_bytes
    found.append(
        _term(f"{place}: gradients in flight", cast(Group, group), flight, phases, "exact", _tensors(flight, 1, tokens))
    )
    text = f"taken by `{alive.op_name}` while it runs"
    found.append(_term(f"{place}: kernel workspace", "workspace", alive.workspace_bytes, phases, "exact", text))
    return found


def _tensors(size: int, count: int, tokens: int) -> str:
    """Bytes as tokens x bytes a token, where they are so."""
    several = f"{count} x " if count > 1 else ""
    per_token, rest = divmod(size, tokens * count)
    return f"{several}{size // count:,} B" if rest or not per_token else f"{several}{tokens:,} tokens x {per_token:,} B"


def _elsewhere(step: StepMemory, binding: Moment) -> list[Term]:
    """Peaks of other phases, for those who ask what logits or the optimizer step would take."""
    found: list[Term] = []
    head = step.head
    loss = max(head.forward_peak, head.returned_peak, head.loss_peak, head.backward_peak)
    if binding.tape is not step.tail.tape and binding.phase != "loss":
        formula = f"{step.c.tokens:,} tokens x {step.c.model.vocab_size:,} entries, {step.c.recipe.loss} loss"
        found.append(_term("logits and loss", "logits", loss, ("loss",), "exact", formula))
    if binding.phase not in ("backward", "forward"):
        layer = max(max(item.fold.forward_peak, item.fold.backward_peak) for item in step.layers)
        found.append(
            _term("one layer at work", "activations", layer, ("backward",), "exact", "recomputed and differentiated")
        )
    temporary = step.static.optimizer.temporary_bytes
    if binding.phase != "optimizer_step" and temporary:
        found.append(_term(TEMPORARY, "optimizer", temporary, ("optimizer_step",), "exact", "one tensor per parameter"))
    return found
