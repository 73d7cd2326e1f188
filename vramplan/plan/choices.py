"""Recipes worth trying: every combination of what a person left open, for one method."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

from ..recipe import Method, Recipe, ResolvedRecipe
from ..resolve import QUANTS, resolve

if TYPE_CHECKING:
    from ..gpu import Gpu
    from ..stack import Stack
    from .wishes import Wishes

OPEN: dict[str, tuple[Any, ...]] = {
    "checkpointing": (None, True, False),
    "optimizer": (None, "adamw_8bit", "paged_adamw_8bit"),
    "loss": (None, "fused-linear"),
}
"""Knob -> values tried where the recipe leaves it open, as the stack has it (None) first. All train what the default
trains: AdamW's states kept in other ways, Liger's kernel of the same loss (where the stack has no loss of its own: TRL
runs its chunked one whatever is asked for, sft_trainer.py, add_fused_lm_head). Formats of quantisation take the same
time here, so the stack's own is tried alone."""
OF_ADAPTERS = {"optimizer": (None, "paged_adamw_8bit")}
"""An adapter's states are small: between the stack's and those that leave the card nothing is to be gained."""


IN_PARTS = {"checkpointing": (None, True, False)}
"""Of a model in parts: optimizers and losses that know nothing of parts are left out."""


def choices(recipe: Recipe, method: Method, stack: Stack, gpu: Gpu, wishes: Wishes) -> tuple[ResolvedRecipe, ...]:
    """The recipes of one method to try on a card, each once. Raises UnsupportedError for what cannot be described."""
    found: dict[ResolvedRecipe, None] = {}
    able = [other for other in wishes.methods if recipe.quant is None or recipe.quant in QUANTS[other]]
    for variant in _variants(recipe, method, stack):
        resolved = resolve(variant, method, stack, gpu, strict=not able or len(wishes.methods) == 1)
        if method in able and not (wishes.no_quantization and resolved.quantizes):
            found[resolved] = None
    return tuple(found)


def _variants(recipe: Recipe, method: Method, stack: Stack) -> Iterator[Recipe]:
    tried = IN_PARTS if recipe.gpus > 1 else OPEN if method == "full" else OPEN | OF_ADAPTERS
    decided = ("loss",) if stack.default(method, "loss") not in (None, "standard") else ()
    open_knobs = {k: values for k, values in tried.items() if getattr(recipe, k) is None and k not in decided}
    for combination in product(*open_knobs.values()):
        yield replace(recipe, method=method, **dict(zip(open_knobs, combination, strict=True)))
