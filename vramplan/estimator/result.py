"""What an estimate answers: plain data that every renderer reads. Bytes per GPU unless a name says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ..gpu import Gpu
from ..model import Model
from ..recipe import Method, ResolvedRecipe

if TYPE_CHECKING:
    from decimal import Decimal

    from ..price import Price
    from ..profile import Profile

Group = Literal[
    "weights", "adapters", "gradients", "optimizer", "activations", "logits", "workspace", "context", "allocator"
]
Source = Literal["exact", "fitted", "assumed"]
"""`exact` follows from shapes and library code; `fitted` from measured records; `assumed` has neither behind it."""
Verdict = Literal["fits", "tight", "does_not_fit"]
PhaseName = Literal["load", "forward", "loss", "backward", "optimizer_step"]
Bound = Literal["matrix", "memory", "launches", "dequantization", "communication"]
"""What the time of a step goes into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One part of the memory of a step: its size at the binding phase if it lives there, else its own peak."""

    name: str
    group: Group
    bytes: int
    phases: tuple[PhaseName, ...]
    source: Source
    formula: str
    """The formula with this recipe's numbers in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Peak of allocated bytes while a phase of the step runs."""

    name: PhaseName
    allocated_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The three tiers of a step (docs/formulas.md), with the terms and phases behind them."""

    allocated_bytes: int
    reserved_bytes: int
    device_bytes: int
    device_interval_bytes: tuple[int, int]
    binding_phase: PhaseName
    phases: tuple[Phase, ...]
    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterCounts:
    total: int
    """Of the base model and the adapters."""
    trainable: int
    quantized: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lever:
    """One change of the recipe and what it would save on the device."""

    knob: str
    value: str
    saved_bytes: int
    device_bytes: int
    makes_it_fit: bool | None
    """None where no GPU was named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedTerm:
    """One part of the time of a step."""

    name: str
    bound: Bound
    duration_s: float
    source: Source
    formula: str
    """The formula with this step's numbers in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Time of one optimizer step: `grad_accum` micro-batches and the optimizer. Tokens are those of full length."""

    tokens_per_s_per_gpu: float
    interval: tuple[float, float]
    """Of tokens_per_s_per_gpu: about nine in ten runs lie inside."""
    step_time_s: float
    bound_by: Bound
    """What takes the largest part of the step."""
    source: Source
    """`fitted` with a profile, `assumed` where the efficiencies are those of published runs."""
    shares: Mapping[Bound, float] = field(default_factory=dict)
    """Part of the step time by what it goes into; they add up to 1."""
    flops_per_token: float = 0.0
    """Executed, recomputation included."""
    mfu: float | None = None
    """Part of the card's dense peak, recomputation not counted."""
    terms: tuple[SpeedTerm, ...] = ()
    """Worked out for `explain`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRate:
    """Money for speed, by one dated price."""

    usd_per_hour: Decimal
    """Per GPU."""
    usd_per_million_tokens: Decimal
    interval: tuple[Decimal, Decimal]
    """Of usd_per_million_tokens, from the interval of the speed."""
    price: Price
    stale: bool = False
    """The price is older than `price.STALE_AFTER_DAYS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One method of training one model on one card."""

    recipe: ResolvedRecipe
    parameters: ParameterCounts
    memory: Memory
    verdict: Verdict | None
    headroom_bytes: int | None
    largest_micro_batch: int | None
    """0 = not even one sequence fits; None = no GPU was named."""
    longest_seq_len: int | None
    notes: tuple[str, ...]
    levers: tuple[Lever, ...] = ()
    """Single changes, most saved bytes first; worked out for `explain` and where nothing fits."""
    speed: Speed | None = None
    """None where no GPU was named, or its peak or bandwidth is not known (a note says so)."""
    cost: CostRate | None = None
    """None without a speed or a price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to one question: a model, a card (or none), and an estimate per method asked for."""

    model: Model
    gpu: Gpu | None
    estimates: tuple[Estimate, ...]
    smallest_gpus: tuple[Gpu, ...] = ()
    """Where nothing fits: the smallest cards of the catalogue that hold the leanest method asked for."""
    smallest_gpus_method: Method | None = None
    profile: Profile | None = None
    """Measurements that these estimates rest on."""

    @property
    def any_fits(self) -> bool:
        return any(e.verdict in ("fits", "tight", None) for e in self.estimates)
