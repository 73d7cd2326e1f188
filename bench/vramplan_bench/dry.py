"""The dry run: the real step on tensors without storage, every allocation followed.

One first step, in which optimizers make their states, then two full ones; the last is the one reported. Equal layers
make every peak linear in depth, so two shallow models tell any depth (`depth.py`); `full_depth` runs all layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vramplan.recipe import ResolvedRecipe
from vramplan.record import Effective
from vramplan.stack import Stack

from .build import build_config, depth_of
from .depth import Line, shallow_line
from .follow import END, STEPS, FollowedRun, Progress, follow, silent
from .imitation import A100, Card
from .loop import Loop, loop_of
from .roles import Facts
from .timeline import PHASES, AliveGroup, phase_peaks


@dataclass(frozen=True, slots=True, kw_only=True)
class DryResult:
    """What a dry run found. Bytes of one GPU, each storage rounded up to 512."""

    layers: int
    depths: tuple[int, ...]
    """Depths that really ran; more than one = a line through them gave the rest."""
    facts: Facts
    effective: Effective
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
    run: FollowedRun
    """The deepest that ran, with its stream of events."""

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
    progress: Progress = silent,
) -> DryResult:
    """Run training steps of `recipe` on fake tensors, as on `card`, and report allocated bytes.

    `config` is the mapping of a `config.json` (model_type, hidden_size ...); `layers` replaces its depth. `loop`: a
    `vramplan_bench.loop.Loop`, or the stack that has it (None: Trainer-like, see `Loop`).
    """
    chosen = loop_of(loop) if isinstance(loop, Stack) else loop or Loop()
    settings = build_config(config, layers)
    total = depth_of(settings)
    line = None if full_depth else shallow_line(settings, int(recipe.seq_len))
    if line is None:
        return _one_depth(follow(config, recipe, chosen, total, card=card, progress=progress))
    low, high = (follow(config, recipe, chosen, depth, card=card, progress=progress) for depth in (line.low, line.high))
    return _extrapolated(low, high, line)


def _one_depth(run: FollowedRun) -> DryResult:
    counted = [part for part in run.parts if part.phase in PHASES and part.step in (0, STEPS)]
    part = max(counted, key=lambda p: run.parts[p].bytes)
    return DryResult(
        layers=run.layers,
        depths=(run.layers,),
        facts=run.facts,
        effective=run.effective,
        phase_peaks=phase_peaks(run.parts, 0) | phase_peaks(run.parts, STEPS),
        first_step_peaks=phase_peaks(run.parts, 1),
        steady_bytes=run.parts[END].bytes,
        peak_bytes=run.parts[part].bytes,
        binding_phase=part.phase,
        alive_at_peak=run.alive(part),
        seconds=run.seconds,
        events=len(run.tracker.events),
        run=run,
    )


def _extrapolated(low: FollowedRun, high: FollowedRun, line: Line) -> DryResult:
    found = line.peaks(low.parts, high.parts)
    by_step: dict[int, dict[str, int]] = {}
    for (part, _), size in found.items():
        if part.phase in PHASES:
            of_step = by_step.setdefault(part.step, {})
            of_step[part.phase] = max(of_step.get(part.phase, 0), size)
    binding = max(
        (pair for pair in found if pair[0].phase in PHASES and pair[0].step in (0, STEPS)), key=found.__getitem__
    )
    return DryResult(
        layers=line.total,
        depths=(low.layers, high.layers),
        facts=line.facts(low.facts, high.facts),
        effective=line.effective(low.effective, high.effective),
        phase_peaks=by_step[0] | by_step[STEPS],
        first_step_peaks=by_step[1],
        steady_bytes=line.at(low.parts[END].bytes, high.parts[END].bytes),
        peak_bytes=found[binding],
        binding_phase=binding[0].phase,
        alive_at_peak=line.groups(low.alive(binding[0]), high.alive(binding[1])),
        seconds=low.seconds + high.seconds,
        events=line.at(len(low.tracker.events), len(high.tracker.events)),
        run=high,
    )
