"""`vramplan bench dry`, as a function: a model's name and a question become dry runs with the allocator's verdict."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

from vramplan.catalog import find_config, find_gpu, find_stack
from vramplan.errors import UnsupportedError, VramplanError
from vramplan.gpu import Gpu
from vramplan.recipe import Method, Recipe, ResolvedRecipe
from vramplan.record import PhaseRecord, Record, Request, StepRecord
from vramplan.resolve import resolve
from vramplan.stack import Stack

NEEDED = ("torch", "transformers", "peft", "accelerate")
FEW_LAYERS = 24
"""Up to here every layer is run; deeper models are told by two depths and a line."""
INSTALL = "pip install 'vramplan[bench]'"


def require_packages(more: tuple[str, ...] = ()) -> None:
    """UnsupportedError that names the missing package and the extra that brings it."""
    missing = [package for package in (*NEEDED, *more) if find_spec(package) is None]
    if missing:
        raise UnsupportedError(f"the rig needs {missing[0]}, which is not installed: {INSTALL}")


def quiet_libraries() -> None:
    """Progress bars and remarks of the libraries would drown the answer."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.filterwarnings("ignore")
    import transformers

    for name in ("bitsandbytes", "torch", "peft", "accelerate", "liger_kernel"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


@dataclass(frozen=True, slots=True, kw_only=True)
class DryAnswer:
    """The dry runs of one model on one card."""

    model: str
    gpu: Gpu | None
    records: tuple[Record, ...]
    results: tuple[Any, ...]
    """`DryResult`s, in the order of `records`."""
    replays: tuple[Any, ...]
    """`Replay`, or None where not all layers ran."""


def dry_answer(
    model: str,
    gpu: str | None,
    recipe: Recipe,
    methods: tuple[Method, ...],
    stack: str,
    *,
    online: bool = False,
    layers: int | None = None,
    full_depth: bool = False,
    expandable_segments: bool = False,
    progress: Any = None,
) -> DryAnswer:
    """Dry-run `methods` of fine-tuning `model`. Raises VramplanError with one line where that cannot be done."""
    identity, config = find_config(model, online=online)
    card = find_gpu(gpu) if gpu is not None else None
    chosen = find_stack(stack)
    resolved = [resolve(recipe, method, chosen, card, strict=len(methods) == 1) for method in methods]
    require_packages()
    quiet_libraries()
    runs = [
        _one(
            config,
            one,
            card,
            chosen,
            layers=layers,
            full_depth=full_depth or shallow(config, layers),
            expandable_segments=expandable_segments,
            progress=progress,
        )
        for one in resolved
    ]
    return DryAnswer(
        model=identity,
        gpu=card,
        records=tuple(_record(identity, card, one, *run) for one, run in zip(resolved, runs, strict=True)),
        results=tuple(result for result, _ in runs),
        replays=tuple(replayed for _, replayed in runs),
    )


def shallow(config: Mapping[str, Any], layers: int | None) -> bool:
    """Whether all layers run in a few seconds, so that the allocator's answer comes unasked."""
    from .build import build_config, depth_of

    return (layers or depth_of(build_config(config))) <= FEW_LAYERS


def _one(
    config: Mapping[str, Any],
    recipe: ResolvedRecipe,
    gpu: Gpu | None,
    stack: Stack,
    *,
    layers: int | None,
    full_depth: bool,
    expandable_segments: bool,
    progress: Any,
) -> tuple[Any, Any]:
    """The dry run of one recipe, and the allocator's replay of it where all layers ran."""
    from vramplan.estimator.tiers import context_bytes

    from .dry import dry_run
    from .follow import STEPS, silent
    from .imitation import card_of
    from .replay import replay

    try:
        result = dry_run(
            config,
            recipe,
            card=card_of(gpu),
            loop=stack,
            layers=layers,
            full_depth=full_depth,
            progress=progress or silent,
        )
    except VramplanError:
        raise
    except Exception as error:
        if os.environ.get("VRAMPLAN_DEBUG"):
            raise
        # The step is other people's code: what it cannot do is an answer, not a fault of ours.
        words = " ".join(str(error).split())[:200]
        what = f"{config.get('model_type')}, {recipe.method} with targets {recipe.targets or 'none'}"
        raise UnsupportedError(f"the installed libraries cannot run {what}: {type(error).__name__}: {words}") from error
    if len(result.depths) > 1:
        return result, None
    replayed = replay(
        result.run.tracker,
        step=STEPS,
        capacity_bytes=gpu.capacity_bytes - context_bytes(gpu)[0] if gpu else None,
        expandable_segments=expandable_segments,
        warmup_bytes=result.facts.weights_bytes,
    )
    return result, replayed


def _record(model: str, gpu: Gpu | None, recipe: ResolvedRecipe, result: Any, replayed: Any) -> Record:
    absent = {"device_bytes": "a dry run has no device", "tokens_per_s": "a dry run has no time"}
    if replayed is None:
        absent["reserved_bytes"] = "the allocator is replayed where all layers run (--full-depth)"
    failed = replayed.failure if replayed is not None else None
    phases = [
        PhaseRecord(name=n, step=0 if n == "load" else 3, allocated_bytes=b) for n, b in result.phase_peaks.items()
    ]
    phases += [PhaseRecord(name=n, step=1, allocated_bytes=b) for n, b in result.first_step_peaks.items()]
    return Record(
        kind="dry",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        request=Request(model=model, layers=result.layers, gpu=gpu.key if gpu else None, recipe=recipe.as_dict()),
        effective=result.effective,
        phases=tuple(phases),
        steps=tuple(
            StepRecord(step=step, allocated_bytes=max(peaks.values()))
            for step, peaks in ((1, result.first_step_peaks), (3, _of_step(result.phase_peaks)))
        ),
        allocated_bytes=result.peak_bytes if replayed is None else replayed.allocated_bytes,
        reserved_bytes=None if replayed is None else replayed.reserved_bytes,
        device_bytes=None,
        tokens_per_s=None,
        outcome="oom" if failed else "ok",
        reason=f"out of memory in {failed.phase}, {failed.operator}: {failed.requested_bytes} bytes"
        if failed
        else None,
        absent=absent,
    )


def _of_step(phases: Mapping[str, int]) -> dict[str, int]:
    return {name: size for name, size in phases.items() if name != "load"}
