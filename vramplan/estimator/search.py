"""Search over the estimate: the largest batch and length that fit, the smallest cards, the changes that save most."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..recipe import LIMITS, ResolvedRecipe
from ..step.optimizer import MIN_8BIT_ELEMENTS, MIN_PAGED_ELEMENTS
from ..step.setting import Setting
from ..step.weights import adapters
from ..units import ceil_div
from .phases import StepMemory
from .result import Lever
from .tiers import Tiers, tiers

if TYPE_CHECKING:
    from ..gpu import Gpu
    from ..model import Model
    from ..profile import Profile
    from ..stack import Stack


def largest_that_fits(need: Callable[[int], int], limit: int, ceiling: int) -> int:
    """Largest n in 0..ceiling with need(n) <= limit, for a `need` that never falls; 0 = not even 1.

    Interpolates between a size that fits and one that does not: a handful of calls where bisection takes twenty.
    """
    low, low_need = 1, need(1)
    if low_need > limit:
        return 0
    high, high_need = _first_too_large(need, limit, ceiling, low_need)
    if high > ceiling:
        return ceiling
    turn = 0
    while high - low > 1:
        share = (limit - low_need) / (high_need - low_need)
        middle = low + int((high - low) * share) if turn % 3 < 2 else (low + high) // 2
        middle = min(max(middle + turn % 2, low + 1), high - 1)
        value = need(middle)
        if value <= limit:
            low, low_need = middle, value
        else:
            high, high_need = middle, value
        turn += 1
    return low


def _first_too_large(need: Callable[[int], int], limit: int, ceiling: int, one: int) -> tuple[int, int]:
    """Some n that does not fit, near the edge if need is about linear, and its need; n > ceiling where all fit."""
    probe = min(64, ceiling)
    slope = max(1, (need(probe) - one) // max(1, probe - 1))
    n = min(ceiling, max(2, 1 + (limit - one) // slope + 2))
    while True:
        value = need(n)
        if value > limit:
            return n, value
        if n == ceiling:
            return ceiling + 1, value
        n = min(ceiling, 2 * n)


class Evaluator:
    """Evaluates variants of one resolved recipe on one card."""

    def __init__(
        self, model: Model, recipe: ResolvedRecipe, stack: Stack, gpu: Gpu | None, profile: Profile | None = None
    ) -> None:
        self.model, self.recipe, self.stack, self.gpu, self.profile = model, recipe, stack, gpu, profile

    def with_changes(self, **changes: Any) -> Evaluator:
        """The same question with some knobs changed."""
        return Evaluator(self.model, replace(self.recipe, **changes), self.stack, self.gpu, self.profile)

    def tiers(self, **changes: Any) -> Tiers:
        """The three tiers with some knobs changed."""
        setting = Setting(self.model, replace(self.recipe, **changes), self.stack, self.gpu)
        return tiers(StepMemory(setting), self.gpu, self.profile)

    def need(self, **changes: Any) -> int:
        """Bytes on the device at the edge, the cautious end, with some knobs changed."""
        return self.tiers(**changes).edge_high_bytes

    def largest_micro_batch(self, capacity_bytes: int) -> int:
        return largest_that_fits(lambda n: self.need(batch=n), capacity_bytes, LIMITS["batch"])

    def longest_seq_len(self, capacity_bytes: int) -> int:
        return largest_that_fits(lambda n: self.need(seq_len=n), capacity_bytes, LIMITS["seq_len"])

    def highest_rank(self, capacity_bytes: int) -> int:
        """Largest LoRA rank that fits: searched between the ranks at which an adapter's states change their form, where
        memory can fall (8-bit states from 4,096 elements, paged ones from 100,000), the highest stretch first."""
        ceiling = LIMITS["rank"]
        starts = [1, *(rank for rank in self._changes_of_form() if rank <= ceiling)]
        for first, behind in zip(reversed(starts), reversed([*starts[1:], ceiling + 1]), strict=True):
            found = largest_that_fits(self._need_of_rank(first), capacity_bytes, behind - first)
            if found:
                return first - 1 + found
        return 0

    def _need_of_rank(self, first: int) -> Callable[[int], int]:
        """The need of the first, second ... rank from `first` on."""
        return lambda n: self.need(rank=first - 1 + n)

    def _changes_of_form(self) -> list[int]:
        """Ranks above 1 at which some adapter reaches a size from which optimizers keep its states differently."""
        one = Setting(self.model, replace(self.recipe, rank=1), self.stack, self.gpu)
        sizes = {part.elements for part in adapters(one)}
        least = {ceil_div(limit, size) for limit in (MIN_8BIT_ELEMENTS, MIN_PAGED_ELEMENTS) for size in sizes}
        return sorted(least - {1})

    def levers(self, capacity_bytes: int | None) -> tuple[Lever, ...]:
        """Single changes that save memory, most first."""
        now = self.need()
        found: list[Lever] = []
        for knob, value in _changes(self.recipe):
            after = self.need(**{knob: value})
            if after < now:
                fits = None if capacity_bytes is None else after <= capacity_bytes
                text = {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)
                found.append(
                    Lever(knob=knob, value=text, saved_bytes=now - after, device_bytes=after, makes_it_fit=fits)
                )
        return tuple(sorted(found, key=lambda lever: -lever.saved_bytes))


def _changes(r: ResolvedRecipe) -> Iterable[tuple[str, Any]]:
    """Changes worth a thought for a recipe; those that do not save are dropped by the caller."""
    if not r.checkpointing:
        yield "checkpointing", True
    for batch in {1, r.batch // 2} - {0, r.batch}:
        yield "batch", batch
    if r.seq_len > 256:
        yield "seq_len", r.seq_len // 2
    if r.gpus > 1 and r.sharding != "fsdp" and r.quant != "int8":
        yield "sharding", "fsdp"
    for loss in ("chunked", "fused-linear"):
        if r.loss not in ("chunked", "fused-linear"):
            yield "loss", loss
    if r.attention == "eager":
        yield "attention", "sdpa"
    if r.kbit_prep:
        yield "kbit_prep", False
    if r.quant in ("nf4", "fp4"):
        yield "quant", f"{r.quant}-dq"
    for optimizer in ("adamw_8bit", "paged_adamw_8bit"):
        if r.optimizer.startswith("adamw") and r.optimizer != optimizer:
            yield "optimizer", optimizer
    if r.has_adapters:
        if r.rank > 8:
            yield "rank", 8
        if r.adapter_dtype == "fp32":
            yield "adapter_dtype", "fp16" if r.dtype == "fp16" else "bf16"
        if r.lora_dropout:
            yield "lora_dropout", 0.0
        if r.targets != "attention":
            yield "targets", "attention"
    if r.dtype == "fp32" and r.autocast != "fp16":
        yield "dtype", "bf16"


def smallest_cards(cards: Iterable[Gpu], fits: Callable[[Gpu], bool], count: int = 3) -> tuple[Gpu, ...]:
    """The first cards, by memory, on which `fits`; of those, the ones of the smallest sizes."""
    found: list[Gpu] = []
    for gpu in sorted(cards, key=lambda card: card.capacity_bytes):
        if fits(gpu):
            found.append(gpu)
            if len(found) == count:
                break
    return tuple(found)
