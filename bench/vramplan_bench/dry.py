"""The dry run: the real step on tensors without storage.

Mechanism: `FakeTensorMode` on device `cpu`, with the differences to CUDA mended (`cuda_semantics`, `kernels`,
`bnb4bit`, `tracker`). A C++ extension with a fake device guard would allow fake `cuda:0`, but needs a compiler and
headers of the very torch build; this works wherever torch imports, and the same code runs on a real CPU, where its
accounting is checked.
"""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._subclasses import FakeTensorMode

from vramplan.recipe import ResolvedRecipe

from .bnb4bit import GemmExpansion, fake_params4bit
from .build import DTYPES, build_config, build_model, depth
from .cuda_semantics import cuda_semantics
from .kernels import cublas_workspace_bytes, inner_bytes
from .loop import LOOPS, Loop, run_step
from .optimizers import build_optimizer
from .tracker import Block, StorageTracker

PHASES = ("load", "forward", "loss", "backward", "optimizer_step")


@dataclass(frozen=True, slots=True, kw_only=True)
class AliveGroup:
    """Storages alive at the peak that one kind of operator of one kind of module made."""

    group: str
    operator: str
    module: str
    """Module path with layer numbers replaced by `*`."""
    phase: str
    shape: tuple[int, ...]
    dtype: str
    count: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DryResult:
    """What a dry run found. Bytes of one GPU, each storage rounded up to 512."""

    parameter_bytes: int
    trainable_bytes: int
    quantized_elements: int
    optimizer_state_bytes: int
    workspace_bytes: int
    phase_peaks: dict[str, int]
    """Peak of allocated bytes, by phase, workspace included (load without)."""
    first_step_peaks: dict[str, int]
    steady_bytes: int
    """Between steps: weights, adapters, optimizer states."""
    peak_bytes: int
    binding_phase: str
    alive_at_peak: tuple[AliveGroup, ...]
    seconds: float
    events: int
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The card that the dry run imitates."""

    compute_capability: tuple[int, int] = (8, 0)
    multiprocessors: int = 108


A100 = Card()
H100 = Card(compute_capability=(9, 0), multiprocessors=132)
T4 = Card(compute_capability=(7, 5), multiprocessors=40)


def dry_run(
    config: Mapping[str, Any],
    recipe: ResolvedRecipe,
    *,
    card: Card = A100,
    loop: Loop | None = None,
    layers: int | None = None,
    steps: int = 3,
) -> DryResult:
    """Run `steps` real training steps of `recipe` on fake tensors; the last one is the one reported.

    `config` is the mapping of a `config.json` (model_type, hidden_size ...); `layers` replaces its depth (None = all).
    `loop` defaults to the one of `recipe.stack` (`vramplan_bench.loop.LOOPS`), else the raw loop.
    """
    begin = time.perf_counter()
    tracker = StorageTracker(inner_bytes, _expansions(card))
    chosen = loop or LOOPS.get(recipe.stack, LOOPS["raw"])
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    device = torch.device("cpu")
    with fake, tracker, fake_params4bit(), cuda_semantics(recipe.attention, card.compute_capability), _module_names(tracker) as name_all:
        settings = build_config(config, layers)
        model = build_model(settings, recipe, device, reentrant=chosen.reentrant)
        name_all(model)
        _follow_loss(model, tracker)
        optimizer = build_optimizer(recipe.optimizer, model.parameters())
        gc.collect()
        make_batch = _batches(settings, recipe, chosen)
        autocast = None if recipe.autocast == "none" else DTYPES[recipe.autocast]
        for step in range(1, steps + 1):
            tracker.set_phase("between", step)
            run_step(model, optimizer, make_batch, chosen, tracker, autocast=autocast, device_type="cpu",
                     grad_accum=recipe.grad_accum)  # fmt: skip
            if step == 1:
                gc.collect()
        tracker.set_phase("end", steps + 1)
        roles = _roles(model, optimizer, tracker)
    return _report(tracker, model, roles, card, steps, time.perf_counter() - begin)


def _expansions(card: Card) -> dict[Any, Callable[..., Any]]:
    try:
        import bitsandbytes  # noqa: F401  (registers its operators)
    except ImportError:
        return {}
    gemm = GemmExpansion(card.compute_capability, card.multiprocessors)
    return {torch.ops.bitsandbytes.gemm_4bit.default: gemm}


def _batches(config: Any, recipe: ResolvedRecipe, loop: Loop) -> Callable[[], dict[str, torch.Tensor]]:
    def make() -> dict[str, torch.Tensor]:
        shape = (int(recipe.batch), int(recipe.seq_len))
        ids = torch.zeros(shape, dtype=torch.long)
        batch = {"input_ids": ids, "labels": ids.clone()}
        if loop.attention_mask:
            batch["attention_mask"] = torch.ones(shape, dtype=torch.long)
        return batch

    return make


@contextmanager
def _module_names(tracker: StorageTracker) -> Iterator[Callable[[torch.nn.Module], None]]:
    """Tell the tracker which module runs."""
    names: dict[int, str] = {}
    stack: list[str] = []

    def enter(module: torch.nn.Module, _: Any) -> None:
        stack.append(tracker.module)
        tracker.module = names.get(id(module), tracker.module)

    def leave(module: torch.nn.Module, *_: Any) -> None:
        tracker.module = stack.pop()

    def name_all(model: torch.nn.Module) -> None:
        names.update((id(module), name) for name, module in model.named_modules())

    with ExitStack() as handles:
        handles.callback(torch.nn.modules.module.register_module_forward_pre_hook(enter).remove)
        handles.callback(torch.nn.modules.module.register_module_forward_hook(leave, always_call=True).remove)
        yield name_all


def _follow_loss(model: Any, tracker: StorageTracker) -> None:
    """The phase `loss` begins where the model hands its logits to the loss function."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    plain = base.loss_function

    def followed(*args: Any, **kwargs: Any) -> Any:
        with tracker.phase("loss"):
            return plain(*args, **kwargs)

    base.loss_function = followed


def _roles(model: torch.nn.Module, optimizer: Any, tracker: StorageTracker) -> dict[int, str]:
    """Block index -> weights, adapters or optimizer, for the tensors that live between steps."""
    roles: dict[int, str] = {}

    def note(tensor: Any, role: str) -> None:
        if isinstance(tensor, torch.Tensor):
            index = tracker.block_of(tensor)
            if index is not None:
                roles[index] = role

    for name, parameter in model.named_parameters():
        note(parameter, "adapters" if "lora_" in name else "weights")
        state = getattr(parameter, "quant_state", None)
        while state is not None:
            for part in (state.absmax, state.code, state.offset):
                note(part, "weights")
            state = state.state2
    for buffer in model.buffers():
        note(buffer, "weights")
    for state in optimizer.state.values():
        for value in state.values():
            note(value, "optimizer")
    return roles


def _report(
    tracker: StorageTracker, model: torch.nn.Module, roles: dict[int, str], card: Card, steps: int, seconds: float
) -> DryResult:
    peaks: dict[tuple[str, int], int] = defaultdict(int)
    current = 0
    marks = iter(tracker.marks)
    upcoming = next(marks, None)
    phase, step = "load", 0
    best, best_at, steady = -1, 0, 0
    for position, event in enumerate(tracker.events):
        while upcoming is not None and upcoming.start <= position:
            phase, step = upcoming.phase, upcoming.step
            if phase == "between" and step == steps:
                steady = current
            upcoming = next(marks, None)
        current += tracker.blocks[abs(event) - 1].bytes * (1 if event > 0 else -1)
        key = (phase, step)
        peaks[key] = max(peaks[key], current)
        if step == steps and current > best and phase in PHASES:
            best, best_at = current, position
    workspace = 2 * cublas_workspace_bytes(card.compute_capability)
    of_last = {p: peaks[p, steps] + workspace for p in PHASES if (p, steps) in peaks}
    of_first = {p: peaks[p, 1] + workspace for p in PHASES if (p, 1) in peaks}
    of_last = {"load": peaks["load", 0], **of_last}
    alive = _alive(tracker, best_at, roles)
    binding = max(of_last, key=lambda p: of_last[p])
    parameters = {id(p): p for p in model.parameters()}.values()
    return DryResult(
        parameter_bytes=_bytes_of(tracker, roles, ("weights", "adapters")),
        trainable_bytes=sum(p.numel() * p.element_size() for p in parameters if p.requires_grad),
        quantized_elements=sum(2 * p.numel() for p in parameters if getattr(p, "quant_state", None) is not None),
        optimizer_state_bytes=_bytes_of(tracker, roles, ("optimizer",)),
        workspace_bytes=workspace,
        phase_peaks=of_last,
        first_step_peaks=of_first,
        steady_bytes=steady,
        peak_bytes=max(of_last.values()),
        binding_phase=binding,
        alive_at_peak=alive,
        seconds=seconds,
        events=len(tracker.events),
    )


def _bytes_of(tracker: StorageTracker, roles: Mapping[int, str], wanted: tuple[str, ...]) -> int:
    return sum(tracker.blocks[index].bytes for index, role in roles.items() if role in wanted)


def _alive(tracker: StorageTracker, at: int, roles: Mapping[int, str]) -> tuple[AliveGroup, ...]:
    """Storages alive after event `at`, those of equal layers counted together, largest first."""
    alive: dict[int, Block] = {}
    for event in tracker.events[: at + 1]:
        if event > 0:
            alive[event - 1] = tracker.blocks[event - 1]
        else:
            alive.pop(-event - 1)
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, block in alive.items():
        module = ".".join("*" if part.isdigit() else part for part in block.module.split("."))
        role = roles.get(index) or f"{block.phase}"
        operator = block.operator + (f" in {block.node}" if block.node else "")
        if role in ("weights", "adapters", "optimizer"):
            module, operator = "", ""
        groups[role, operator, module, block.phase, block.shape, block.dtype].append(block.bytes)
    listed = [
        AliveGroup(group=key[0], operator=key[1], module=key[2], phase=key[3], shape=key[4], dtype=key[5],
                   count=len(sizes), bytes=sum(sizes))
        for key, sizes in groups.items()
    ]  # fmt: skip
    return tuple(sorted(listed, key=lambda g: -g.bytes))
