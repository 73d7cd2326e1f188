"""The dry run: the real step on tensors without storage, every allocation followed.

One first step, in which optimizers make their states, then two full ones; the last is the one reported. Equal layers
make every peak linear in depth, so two shallow models tell any depth (`depth.py`); `full_depth` runs all layers.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from vramplan.recipe import ResolvedRecipe
from vramplan.stack import Stack

from .build import build_config, depth_of
from .cuda_semantics import cuda_semantics
from .depth import Line, shallow_depths
from .fake import fake_tensors
from .imitation import A100, Card, CudaImitation
from .loading import empty_weights
from .loop import Loop, loop_of
from .losses import triton_stand_ins
from .roles import Facts, Roles, facts_of
from .session import open_session
from .timeline import PHASES, AliveGroup, Part, Peak, alive_after, grouped, peaks, phase_peaks
from .tracker import StorageTracker
from .watch import decoder_layers, follow_layers, module_names

STEPS = 3
_END = Part("end", STEPS + 1, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """One dry run of a model of one depth, with its stream of events."""

    layers: int
    tracker: StorageTracker
    parts: Mapping[Part, Peak]
    roles: Mapping[int, str]
    facts: Facts
    logits_elements: int
    seconds: float

    def alive(self, part: Part) -> tuple[AliveGroup, ...]:
        """What is held at the peak of a part."""
        return grouped(alive_after(self.tracker, self.parts[part].event), self.roles, self.logits_elements)


@dataclass(frozen=True, slots=True, kw_only=True)
class DryResult:
    """What a dry run found. Bytes of one GPU, each storage rounded up to 512."""

    layers: int
    depths: tuple[int, ...]
    """Depths that really ran; more than one = a line through them gave the rest."""
    facts: Facts
    phase_peaks: Mapping[str, int]
    """Peak of allocated bytes by phase, of the load and of the last step."""
    first_step_peaks: Mapping[str, int]
    steady_bytes: int
    """Between steps: weights, adapters, optimizer states, workspaces."""
    peak_bytes: int
    binding_phase: str
    alive_at_peak: tuple[AliveGroup, ...]
    seconds: float
    events: int

    @property
    def parameter_bytes(self) -> int:
        """Weights and adapters, as allocated."""
        return self.facts.weights_bytes + self.facts.adapters_bytes

    @property
    def optimizer_state_bytes(self) -> int:
        return self.facts.optimizer_bytes

    @property
    def workspace_bytes(self) -> int:
        """cuBLAS workspaces."""
        return self.facts.workspace_bytes


def dry_run(
    config: Mapping[str, Any],
    recipe: ResolvedRecipe,
    *,
    card: Card = A100,
    loop: Loop | Stack | None = None,
    layers: int | None = None,
    full_depth: bool = False,
) -> DryResult:
    """Run training steps of `recipe` on fake tensors, as on `card`, and report allocated bytes.

    `config` is the mapping of a `config.json` (model_type, hidden_size ...); `layers` replaces its depth. `loop`: a
    `vramplan_bench.loop.Loop`, or the stack that has it (None: Trainer-like, see `Loop`).
    """
    chosen = loop_of(loop) if isinstance(loop, Stack) else loop or Loop()
    settings = build_config(config, layers)
    total = depth_of(settings)
    depths = () if full_depth else shallow_depths(settings, int(recipe.seq_len))
    if not depths:
        return _one_depth(run_depth(config, recipe, chosen, card, total))
    low, high = (run_depth(config, recipe, chosen, card, depth) for depth in depths)
    return _extrapolated(low, high, total)


def run_depth(config: Mapping[str, Any], recipe: ResolvedRecipe, loop: Loop, card: Card | None, layers: int) -> DryRun:
    """A dry run of `layers` layers. `card` None = as on the CPU, with nothing mended (for the check against it)."""
    begin = time.perf_counter()
    tracker = StorageTracker(CudaImitation(card) if card else None)
    with ExitStack() as stack:
        stack.enter_context(fake_tensors())
        if card is not None:
            stack.enter_context(
                cuda_semantics(recipe.attention, card.compute_capability, expand_kv=loop.expands_kv)
            )
            stack.enter_context(triton_stand_ins(tracker))
        stack.enter_context(tracker.following())
        session = open_session(
            config, recipe, loop, device=torch.device("cpu"), make=empty_weights, probe=tracker, layers=layers
        )
        stack.enter_context(module_names(session.model, tracker))
        follow_layers(decoder_layers(session.base, layers), tracker)
        roles = Roles(tracker, session)
        gc.collect()
        for step in range(1, STEPS + 1):
            tracker.set_phase("between", step)
            session.runner.run(tracker)
        tracker.set_phase("end", STEPS + 1)
        roles.note_lasting()
        facts = facts_of(session, tracker, roles.found)
    vocabulary = session.config.get_text_config().vocab_size
    return DryRun(
        layers=layers,
        tracker=tracker,
        parts=peaks(tracker),
        roles=roles.found,
        facts=facts,
        logits_elements=int(vocabulary * recipe.seq_len // 2),
        seconds=time.perf_counter() - begin,
    )


def _one_depth(run: DryRun) -> DryResult:
    counted = [part for part in run.parts if part.phase in PHASES and part.step in (0, STEPS)]
    part = max(counted, key=lambda p: run.parts[p].bytes)
    return DryResult(
        layers=run.layers,
        depths=(run.layers,),
        facts=run.facts,
        phase_peaks=phase_peaks(run.parts, 0) | phase_peaks(run.parts, STEPS),
        first_step_peaks=phase_peaks(run.parts, 1),
        steady_bytes=run.parts[_END].bytes,
        peak_bytes=run.parts[part].bytes,
        binding_phase=part.phase,
        alive_at_peak=run.alive(part),
        seconds=run.seconds,
        events=len(run.tracker.events),
    )


def _extrapolated(low: DryRun, high: DryRun, layers: int) -> DryResult:
    line = Line(low.layers, high.layers, layers)
    found = line.peaks(low.parts, high.parts)
    by_step: dict[int, dict[str, int]] = {}
    for (part, _), size in found.items():
        if part.phase in PHASES:
            of_step = by_step.setdefault(part.step, {})
            of_step[part.phase] = max(of_step.get(part.phase, 0), size)
    binding = max((pair for pair in found if pair[0].phase in PHASES and pair[0].step in (0, STEPS)), key=found.__getitem__)
    return DryResult(
        layers=layers,
        depths=(low.layers, high.layers),
        facts=line.facts(low.facts, high.facts),
        phase_peaks={phase: size for phase, size in (by_step[0] | by_step[STEPS]).items()},
        first_step_peaks=by_step[1],
        steady_bytes=line.at(low.parts[_END].bytes, high.parts[_END].bytes),
        peak_bytes=found[binding],
        binding_phase=binding[0].phase,
        alive_at_peak=line.groups(low.alive(binding[0]), high.alive(binding[1])),
        seconds=low.seconds + high.seconds,
        events=line.at(len(low.tracker.events), len(high.tracker.events)),
    )
