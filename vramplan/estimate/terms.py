"""What the memory consists of: the terms of the binding moment, which add up to the allocated peak to the byte."""

from __future__ import annotations

from collections.abc import Iterable

from ..recipe import BYTES_PER_ELEMENT
from ..step.memory import lifetimes, saved_storages, sum_bytes, walk_back
from ..step.setting import Setting
from ..step.tape import Storage
from ..step.weights import Part, adapters, quantized, total, unquantized
from .phases import Moment, StepMemory
from .result import Group, PhaseName, Source, Term
from .tiers import Tiers

ALL: tuple[PhaseName, ...] = ("load", "forward", "loss", "backward", "optimizer_step")
STEP: tuple[PhaseName, ...] = ALL[1:]


def terms(step: StepMemory, tier: Tiers) -> tuple[Term, ...]:
    """Every term, statics first. Those of the allocator and the context lie on top of the allocated peak."""
    moment = max(step.moments, key=lambda m: m.bytes)
    parts = [*_weights(step.c), *_states(step, moment), *_activations(step, moment), *_tape(step, moment)]
    parts.append(
        _term(
            "cuBLAS workspaces", "workspace", step.static.workspace, STEP, "exact", "2 workspaces of the matrix library"
        )
    )
    parts += _elsewhere(step, moment)
    cached = tier.reserved_bytes - tier.allocated_bytes
    parts.append(
        _term("cached blocks", "allocator", cached, STEP, "assumed", "buffers that phases do not share (tiers)")
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
        each = "1 B" if c.quant == "int8" else "1/2 B"
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


def _states(step: StepMemory, moment: Moment) -> list[Term]:
    c, static = step.c, step.static
    found: list[Term] = []
    if c.recipe.has_adapters:
        elements = sum(p.count * p.elements for p in adapters(c))
        formula = (
            f"{elements:,} x {BYTES_PER_ELEMENT[c.adapter_dtype]} B (rank {c.rank} x (inputs + outputs), each target)"
        )
        found.append(_term("LoRA adapters", "adapters", static.adapters, ALL, "exact", formula))
    found.append(
        _term("optimizer states", "optimizer", static.optimizer.state_bytes, STEP, "exact", static.optimizer.formula)
    )
    if moment.phase == "optimizer_step":
        found.append(
            _term(
                "optimizer temporary",
                "optimizer",
                moment.extra,
                ("optimizer_step",),
                "exact",
                "one tensor per parameter",
            )
        )
    phases: tuple[PhaseName, ...] = STEP if c.recipe.grad_accum > 1 else ("backward", "optimizer_step")
    own = _tape_weight_grads(moment)
    formula = f"{sum(p.count for p in _trainable(step)):,} tensors in their own dtype"
    found.append(_term("gradients", "gradients", moment.gradients + own, phases, "exact", formula))
    return found


def _trainable(step: StepMemory) -> list[Part]:
    return unquantized(step.c) if step.c.trains_base else adapters(step.c)


def _tape_weight_grads(moment: Moment) -> int:
    """Weight gradients that the running tape has made by the time of the peak."""
    if moment.tape is None or moment.direction == "forward":
        return 0
    grads = 0
    for op in moment.tape.ops[moment.at :]:
        grads += op.weight_grads or 0
    return grads


def _activations(step: StepMemory, moment: Moment) -> list[Term]:
    c = step.c
    size = BYTES_PER_ELEMENT[step.layers[0].x.dtype]
    found = [
        _term("batch", "activations", step.static.inputs, STEP, "exact", f"{c.tokens:,} tokens x 8 B, ids and labels"),
        _term("buffers", "weights", step.static.buffers, ALL, "exact", f"{c.model.layers} layers"),
    ]
    if c.recipe.checkpointing:
        formula = f"{c.model.layers} layers x {c.tokens:,} tokens x {c.model.hidden_size:,} x {size} B"
        name = "checkpoints"
    else:
        formula = f"{c.model.layers} layers, what autograd saves in each"
        name = "saved activations"
    found.append(_term(name, "activations", moment.activations, ("forward", "loss", "backward"), "exact", formula))
    if moment.phase == "backward" and moment.extra:
        found.append(
            _term("held by the loop", "logits", moment.extra, ("backward",), "exact", "outputs kept in a variable")
        )
    return found


def _tape(step: StepMemory, moment: Moment) -> list[Term]:
    """The running layer or loss, split into what is saved, gradients in flight and kernel workspace."""
    tape, x = moment.tape, moment.x
    if tape is None or x is None:
        if moment.phase in ("optimizer_step", "load"):
            return (
                []
                if moment.phase != "load"
                else [_term("quantising", "workspace", moment.extra, ("load",), "exact", "")]
            )
        return []
    in_loss = tape is step.tail.tape
    place = "loss" if in_loss else "layer"
    group: Group = "logits" if in_loss else "activations"
    saved = saved_storages(tape.ops)
    workspace = 0
    if moment.direction == "forward":
        alive = _alive_forward(moment, saved)
        gradients = 0
        workspace = tape.ops[moment.at].workspace if tape.ops else 0
    else:
        state = next(s for s in walk_back(tape, saved) if s.index == moment.at)
        alive = [s for s, holders in state.holders.items() if holders]
        workspace = tape.ops[moment.at].grad_workspace if moment.at < len(tape.ops) else 0
        gradients = moment.tape_bytes - sum_bytes(alive) - workspace - _tape_weight_grads(moment)
    phases: tuple[PhaseName, ...] = (moment.phase,)
    found = [
        _term(f"{place}: {name}", group, size, phases, "exact", f"{c} tensor{'s' if c > 1 else ''}")
        for name, (size, c) in _by_name(alive).items()
    ]
    rest = moment.tape_bytes - sum_bytes(alive) - workspace - gradients - _tape_weight_grads(moment)
    found.append(_term(f"{place}: gradients in flight", group, gradients + rest, phases, "exact", "of activations"))
    found.append(_term(f"{place}: kernel workspace", "workspace", workspace, phases, "exact", _op_name(moment)))
    return found


def _op_name(moment: Moment) -> str:
    assert moment.tape is not None
    ops = moment.tape.ops
    return ops[moment.at].name if moment.at < len(ops) else ""


def _alive_forward(moment: Moment, saved: dict[Storage, int]) -> list[Storage]:
    assert moment.tape is not None and moment.x is not None
    births, deaths = lifetimes(moment.tape, moment.x, saved)
    alive = {moment.x.storage: None}
    for index in range(moment.at + 1):
        alive.update(dict.fromkeys(births[index]))
        if index < moment.at:
            for storage in deaths[index]:
                alive.pop(storage, None)
    return list(alive)


def _by_name(storages: Iterable[Storage]) -> dict[str, tuple[int, int]]:
    """Bytes and number of storages by the op that made them, largest first."""
    groups: dict[str, tuple[int, int]] = {}
    for storage in storages:
        size, count = groups.get(storage.name, (0, 0))
        groups[storage.name] = (size + storage.bytes, count + 1)
    return dict(sorted(groups.items(), key=lambda item: -item[1][0]))


def _elsewhere(step: StepMemory, binding: Moment) -> list[Term]:
    """Peaks of other phases, for those who ask what logits or the optimizer step would take."""
    found: list[Term] = []
    loss = max(step.head.forward_peak, step.head.loss_peak, step.head.backward_peak)
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
        found.append(
            _term(
                "optimizer temporary", "optimizer", temporary, ("optimizer_step",), "exact", "one tensor per parameter"
            )
        )
    return found
