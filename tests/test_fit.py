"""What a card holds: exact against trying everything, in the estimate's own sense of `fits`."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vramplan.catalog import find_gpu, find_model, find_stack, models
from vramplan.decide import fit, largest_models
from vramplan.errors import VramplanError
from vramplan.estimator import answer, memory_tiers
from vramplan.estimator.search import Evaluator
from vramplan.gpu import Gpu
from vramplan.model import Model
from vramplan.recipe import LIMITS, METHODS, Recipe
from vramplan.resolve import resolve

NAMES = ("gpt2", "bloom-560m", "llama-1b", "Qwen/Qwen2.5-0.5B")
LORA = ("lora", "qlora")


@cache
def model_called(name: str) -> Model:
    return find_model(name)


def card_of(gib: float) -> Gpu:
    """A card of another size: everything else of an A100."""
    return replace(find_gpu("a100-80"), memory_total_mib=int(gib * 1024))


def fits(e: Evaluator, **changes: Any) -> bool:
    changed = replace(e.recipe, **changes)
    return memory_tiers(e.model, changed, e.stack, e.gpu)[1] == "fits"


def brute_force(e: Evaluator, knob: str) -> int:
    """The largest value that fits, of all there are."""
    return max((n for n in range(1, LIMITS[knob] + 1) if fits(e, **{knob: n})), default=0)


CEILING = 150


@settings(max_examples=12)
@given(
    name=st.sampled_from(NAMES),
    method=st.sampled_from(METHODS),
    gib=st.floats(2, 12),
    optimizer=st.sampled_from((None, "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit")),
    seq_len=st.sampled_from((64, 512)),
)
def test_limits_are_what_trying_everything_finds(
    name: str, method: Any, gib: float, optimizer: Any, seq_len: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        for knob in ("batch", "seq_len", "rank"):
            patched.setitem(LIMITS, knob, CEILING)
        gpu, stack = card_of(gib), find_stack("trl")
        recipe = Recipe(method=method, optimizer=optimizer, seq_len=min(seq_len, CEILING), batch=2)
        card = fit(model_called(name), gpu, recipe, what=("batch", "seq-len", "rank"))
        found = card.fits[0]
        e = Evaluator(model_called(name), resolve(recipe, method, stack, gpu), stack, gpu)
        assert found.largest_batch == brute_force(e, "batch")
        assert found.longest_seq_len == brute_force(e, "seq_len")
        assert found.highest_rank == (brute_force(e, "rank") if method in LORA else None)


def test_the_rank_where_memory_falls_with_it() -> None:
    """8-bit states begin at 4,096 elements: rank 6 of width 768 takes less than rank 5 where nothing else is there to
    see, so a search that halves would miss ranks; this one tries each stretch."""
    gpu, stack = find_gpu("a100-80"), find_stack("trl")
    model = model_called("gpt2")
    e = Evaluator(model, resolve(Recipe(optimizer="paged_adamw_32bit"), "lora", stack, gpu), stack, gpu)
    needs = [e.need(rank=n) for n in range(1, 200)]
    falls = [n for n in range(1, 199) if needs[n] < needs[n - 1]]
    assert falls, "the premise: paged states make memory fall somewhere"
    for n in falls:
        limit = (needs[n] + needs[n - 1]) // 2
        with pytest.MonkeyPatch.context() as patched:
            patched.setitem(LIMITS, "rank", 199)
            assert e.highest_rank(limit) == max(r for r in range(1, 200) if needs[r - 1] <= limit)


def test_the_frontier_agrees_with_the_estimate() -> None:
    card = fit("llama-8b", "rtx4090")
    assert [f.recipe.method for f in card.fits] == ["full", "lora", "qlora"]
    for found in card.fits:
        lengths = [point.seq_len for point in found.frontier]
        assert lengths == sorted(set(lengths))
        batches = [point.largest_batch for point in found.frontier]
        assert batches == sorted(batches, reverse=True)
        for point in found.frontier:
            asked = Recipe(method=found.recipe.method, seq_len=point.seq_len)
            assert answer(card.model, card.gpu, asked, methods=(asked.method,)).estimates[0].largest_micro_batch == (
                point.largest_batch
            )
        largest = {point.seq_len: point.largest_batch for point in found.frontier}
        for cell in found.cells:
            assert (cell.verdict == "fits") == (cell.batch <= largest[cell.seq_len])
            assert (cell.verdict == "fits") == (cell.need_bytes <= card.gpu.capacity_bytes)


def test_only_what_is_asked() -> None:
    found = fit("llama-8b", "rtx4090", Recipe(method="qlora"), what=("rank",)).fits[0]
    assert (found.largest_batch, found.longest_seq_len, found.frontier, found.cells) == (None, None, (), ())
    assert found.highest_rank
    assert fit("llama-8b", "rtx4090", Recipe(method="full"), what=("rank",)).fits[0].highest_rank is None


def test_nothing_fits() -> None:
    card = fit("llama-70b", "t4")
    assert not card.anything_fits
    assert all(f.largest_batch == 0 and f.longest_seq_len == 0 for f in card.fits)


def test_the_largest_models() -> None:
    """Every model tried one by one gives the same list."""
    gpu, stack = find_gpu("l4"), find_stack("trl")
    card = largest_models("l4", Recipe(method="lora", seq_len=1024), count=5)
    (held,) = card.methods
    recipe = resolve(Recipe(seq_len=1024), "lora", stack, gpu)
    fitting = []
    for entry in models():
        try:
            model = entry.model()
            if memory_tiers(model, recipe, stack, gpu)[1] == "fits":
                fitting.append((model.parameters, model.id))
        except VramplanError:
            continue
    assert held.held == len(fitting)
    best = sorted(fitting, key=lambda row: -row[0])[:5]
    assert [(m.parameters, m.id) for m in held.models] == best


def test_errors() -> None:
    with pytest.raises(VramplanError, match="nearest"):
        fit("lama-8b", "t4")
    with pytest.raises(VramplanError, match="'sequence'"):
        fit("llama-8b", "t4", what=("sequence",))  # type: ignore[arg-type]
    with pytest.raises(VramplanError, match="quantised weights"):
        fit("llama-8b", "t4", Recipe(method="full", quant="nf4"))
