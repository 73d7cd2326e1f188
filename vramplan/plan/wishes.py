"""What a plan must respect: money, time, and what a person wants of the training itself."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ..errors import InvalidValueError, UnknownNameError, VramplanError
from ..recipe import LIMITS, METHODS, Method

EFFECTIVE_BATCH = 16
"""Sequences of an optimizer step where nothing is said: an assumption, printed with the answer."""
COUNTS = (1, 2, 4, 8)
"""Cards that a machine is looked at with: one machine holds at most eight."""
MOST_CARDS = 8
LONGEST_DEADLINE_S = 10 * 366 * 86_400
MOST_BUDGET_USD = Decimal(10**9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """Constraints on a plan. Money and time are kept by the expected cost and time, not by their ranges."""

    budget_usd: Decimal | None = None
    deadline_s: int | None = None
    """From now to the last checkpoint."""
    methods: tuple[Method, ...] = METHODS
    no_quantization: bool = False
    effective_batch: int | None = None
    """Sequences of an optimizer step, at least; None = 16, assumed."""
    batch: int | None = None
    """Sequences per GPU and forward pass; None = searched."""
    grad_accum: int | None = None
    """Micro-batches of a step; None = as many as the effective batch needs."""
    counts: tuple[int, ...] = COUNTS
    """Numbers of cards that may work together."""

    def __post_init__(self) -> None:
        for method in self.methods:
            if method not in METHODS:
                raise UnknownNameError("method", str(method), METHODS, hint="one of " + ", ".join(METHODS))
        if self.no_quantization and self.methods == ("qlora",):
            raise VramplanError("--no-quantization with --method qlora, which quantises; leave one of them out")
        budget, deadline = self.budget_usd, self.deadline_s
        if budget is not None and not (budget.is_finite() and 0 < budget <= MOST_BUDGET_USD):
            raise InvalidValueError("--budget", str(budget), "an amount above 0, in USD")
        if deadline is not None and not (type(deadline) is int and 0 < deadline <= LONGEST_DEADLINE_S):
            raise InvalidValueError("--deadline", deadline, "a time from now, above 0 and up to ten years")
        for name, limit in (("effective_batch", LIMITS["batch"]), ("batch", LIMITS["batch"]),
                            ("grad_accum", LIMITS["grad_accum"])):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not (type(value) is int and 1 <= value <= limit):
                raise InvalidValueError(name, value, f"a whole number from 1 to {limit:,}")
        if not self.counts or any(not (type(n) is int and 1 <= n <= MOST_CARDS) for n in self.counts):
            asked = ", ".join(map(str, self.counts))
            raise InvalidValueError("--gpus", asked, f"from 1 to {MOST_CARDS}: the cards of one machine")

    @property
    def sequences_per_step(self) -> int:
        return self.effective_batch or EFFECTIVE_BATCH

    def batches(self, gpus: int) -> tuple[int, ...]:
        """Micro-batches to try: powers of two that do not overshoot the step."""
        if self.batch is not None:
            return (self.batch,)
        most = max(1, self.sequences_per_step // gpus)
        return tuple(2**n for n in range(most.bit_length()))

    def accumulation(self, batch: int, gpus: int) -> int:
        """The fewest micro-batches that reach the step."""
        return self.grad_accum or -(-self.sequences_per_step // (batch * gpus))
