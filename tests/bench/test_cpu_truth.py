"""The dry run does not dream: the same step really run on the CPU shows the same storages."""

from __future__ import annotations

from typing import Any

import pytest

from vramplan.catalog import find_stack
from vramplan.recipe import Method, Recipe
from vramplan.resolve import resolve

from .conftest import tiny

pytestmark = pytest.mark.rig

CASES: list[tuple[str, Method]] = [
    (family, method)
    for family in ("llama", "qwen2", "qwen3", "gemma2", "phi3", "gpt_neox", "gpt2", "mixtral")
    for method in ("full", "lora", "qlora")
]  # fmt: skip


def both(family: str, method: Method, **knobs: Any) -> tuple[Any, Any]:
    """The step dry and real, neither mended to look like CUDA."""
    from vramplan_bench.follow import follow
    from vramplan_bench.loop import Loop

    recipe = resolve(
        Recipe(method=method, batch=2, seq_len=32, loss="standard", **knobs), method, find_stack("hf-trainer")
    )
    loop = Loop(fp32_outputs=True, clips_gradients=True)
    dry, real = (follow(tiny(family), recipe, loop, 2, card=None, fake=fake) for fake in (True, False))
    return dry, real


@pytest.mark.parametrize(("family", "method"), CASES)
def test_every_phase_peak_is_equal(family: str, method: Method) -> None:
    from vramplan_bench.follow import STEPS
    from vramplan_bench.timeline import phase_peaks

    dry, real = both(family, method)
    for step in (0, 1, STEPS):
        expected = phase_peaks(real.parts, step)
        assert phase_peaks(dry.parts, step) == pytest.approx(expected, rel=0.005), f"step {step}"
    assert dry.facts == real.facts


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_peaks_are_equal_without_checkpoints_and_with_dropout(method: Method) -> None:
    from vramplan_bench.timeline import phase_peaks

    knobs = {"checkpointing": False} | ({} if method == "full" else {"lora_dropout": 0.1})
    dry, real = both("llama", method, **knobs)
    assert phase_peaks(dry.parts, 3) == phase_peaks(real.parts, 3)


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_a_whole_step_is_equal_event_for_event(method: Method) -> None:
    dry, real = both("llama", method)
    assert _last_step(dry) == _last_step(real)


def _last_step(run: Any) -> list[tuple[int, ...]]:
    """Sizes taken and given back; what is given back in one go has no order (autocast's cache is a hash table)."""
    from vramplan_bench.follow import STEPS

    start = next(mark.start for mark in run.tracker.marks if mark.step == STEPS)
    stream: list[tuple[int, ...]] = []
    released: list[int] = []
    for event in run.tracker.events[start:]:
        size = run.tracker.blocks[abs(event) - 1].bytes
        if event < 0:
            released.append(size)
            continue
        stream += [tuple(sorted(released)), (size,)]
        released = []
    return stream
