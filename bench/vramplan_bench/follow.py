"""Runs a few steps of a session with every storage followed: on fake tensors as on a card, or really on the CPU."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from vramplan.recipe import ResolvedRecipe
from vramplan.record import Effective

from .bnb8bit import int8_as_on_cuda
from .build import build_config
from .cuda_semantics import cuda_semantics
from .effective import read_back
from .fake import fake_tensors
from .imitation import Card, CudaImitation
from .liger import liger_package, unpatched
from .loading import causal_lm_class, empty_weights, random_weights
from .loop import Loop
from .losses import LIGER_LOSSES, triton_stand_ins
from .optimizers import paged_states
from .roles import Facts, Roles, facts_of
from .session import open_session
from .timeline import AliveGroup, Part, Peak, alive_after, grouped, peaks
from .tracker import StorageTracker
from .watch import decoder_layers, follow_layers, module_names

STEPS = 3
"""One in which optimizers make their states, then two full ones."""
END = Part("end", STEPS + 1, "")
"""After the last step."""


Progress = Callable[[str], None]
"""Told in a few words what is being done."""


def silent(words: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedRun:
    """Steps of a model of one depth, with the stream of events."""

    layers: int
    tracker: StorageTracker
    parts: Mapping[Part, Peak]
    roles: Mapping[int, str]
    facts: Facts
    effective: Effective
    vocabulary: int
    seconds: float

    def alive(self, part: Part) -> tuple[AliveGroup, ...]:
        """What is held at the peak of a part."""
        return grouped(alive_after(self.tracker, self.parts[part].event), self.roles, self.vocabulary)


def follow(
    config: Mapping[str, Any],
    recipe: ResolvedRecipe,
    loop: Loop,
    layers: int,
    *,
    card: Card | None,
    fake: bool = True,
    progress: Progress = silent,
) -> FollowedRun:
    """Train `layers` layers for `STEPS` steps. `card` None = as on the CPU, nothing mended; not `fake` = really."""
    begin = time.perf_counter()
    tracker = StorageTracker(CudaImitation(card) if card else None)
    with ExitStack() as stack:
        if fake:
            stack.enter_context(fake_tensors())
        if card is not None:
            stack.enter_context(cuda_semantics(recipe.attention, card.compute_capability, expand_kv=loop.expands_kv))
            stack.enter_context(triton_stand_ins(tracker))
            stack.enter_context(paged_states(tracker))
            stack.enter_context(int8_as_on_cuda())
        if loop.liger or recipe.loss in LIGER_LOSSES:
            stack.enter_context(liger_package(tracker, fake=fake))
            stack.enter_context(unpatched(causal_lm_class(build_config(config))))
        stack.enter_context(tracker.following())
        progress(f"{layers} layers: building")
        session = open_session(
            config,
            recipe,
            loop,
            device=torch.device("cpu"),
            make=empty_weights if fake else random_weights,
            probe=tracker,
            layers=layers,
        )
        stack.enter_context(module_names(session.model, tracker))
        follow_layers(decoder_layers(session.base, layers), tracker)
        roles = Roles(tracker, session)
        gc.collect()
        for step in range(1, STEPS + 1):
            progress(f"{layers} layers: step {step} of {STEPS}")
            tracker.set_phase("between", step)
            session.runner.run(tracker)
        tracker.set_phase("end", STEPS + 1)
        roles.note_lasting()
        facts = facts_of(session, tracker, roles.found)
        effective = read_back(session)
    return FollowedRun(
        layers=layers,
        tracker=tracker,
        parts=peaks(tracker),
        roles=roles.found,
        facts=facts,
        effective=effective,
        vocabulary=int(session.config.get_text_config().vocab_size),
        seconds=time.perf_counter() - begin,
    )
